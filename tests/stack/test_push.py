"""A real Grafana, where there is one: the server at RAYMON_GRAFANA_URL, or the one installed, started for the test."""

import os

import pytest

from raymon.stack import dashboards, files, grafana_server
from raymon.stack.grafana import Grafana
from raymon.stack.running import StackOptions, stop_stack
from raymon.stack.starting import start_stack


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Yield (URL, login options) of a Grafana that holds none of our dashboards."""
    if url := os.environ.get("RAYMON_GRAFANA_URL"):
        yield url, []
        return
    if not grafana_server.find():
        pytest.skip("no RAYMON_GRAFANA_URL and no grafana-server on PATH")
    empty = tmp_path / "empty"
    empty.mkdir()
    provider = grafana_server.provider
    monkeypatch.setattr(grafana_server, "provider", lambda name, folder, uid, _path: provider(name, folder, uid, empty))
    stack = start_stack(StackOptions(tmp_path / "stack", prometheus_url="http://127.0.0.1:9090"))
    try:
        assert stack.grafana_url, stack.problems
        yield stack.grafana_url, ["--user", "admin", "--password-file", str(stack.directory / "grafana-admin-password")]
    finally:
        stop_stack(tmp_path / "stack")


def test_a_push_arrives_and_a_second_one_changes_nothing(server, capsys):
    url, login = server
    arguments = ["push", "--url", url, *login, "--folder-uid", "raymon-test", "--folder-title", "raymon test"]
    assert dashboards.main(arguments) == 0
    capsys.readouterr()
    assert dashboards.main(arguments) == 0
    assert capsys.readouterr().out.count(": unchanged") == len(files.dashboards()) + 1


@pytest.mark.skipif(not grafana_server.find(), reason="no grafana-server on PATH")
def test_up_provisions_dashboards_and_datasource(tmp_path):
    stack = start_stack(StackOptions(tmp_path, prometheus_url="http://127.0.0.1:9090"))
    try:
        grafana = Grafana(stack.grafana_url, ("admin", stack.password))
        assert grafana.datasource(files.datasource()["uid"])["url"] == "http://127.0.0.1:9090"
        for model in files.dashboards().values():
            assert grafana.dashboard(model["uid"])["meta"]["provisioned"] is True
    finally:
        stop_stack(tmp_path)

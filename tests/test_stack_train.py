"""`raymon train --stack`: Prometheus and Grafana stand before Ray starts, so that the Ray Dashboard finds them."""

import json
import re
import shutil
import sys
import urllib.request

import pytest
from support import ROOT, Command, Prometheus, free_port, poll, short_folder

from raymon import catalog
from raymon.stack import discovery, state
from raymon.stack.prometheus_server import Sources
from raymon.stack.running import Options, start_stack, stop_stack
from raymon.stack.training import follow, start_before_ray

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A PATH whose grafana-server is the stand-in."""
    server = tmp_path / "programs" / "grafana-server"
    server.parent.mkdir()
    server.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/fake_grafana_server.py" "$@"\n')
    server.chmod(0o755)
    found = f"{server.parent}:{shutil.which('prometheus').rpartition('/')[0]}:/usr/bin:/bin"
    monkeypatch.setenv("PATH", found)
    return found


def ask_dashboard(url):
    request = urllib.request.Request(url, headers=discovery.auth_headers())
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.loads(reply.read())


def test_the_box_of_the_ray_dashboard_is_gone_and_everything_ends_with_the_run(tmp_path, path):
    with short_folder() as ray_dir:
        flags = [
            "train", "--env", "CartPole-v1", "--workers", "1", "--total-env-steps", "1000000000", "--stack",
            "--no-page", "--ray-temp-dir", str(ray_dir), "--runs", str(tmp_path / "runs"),
        ]  # fmt: skip
        home = {"XDG_DATA_HOME": str(tmp_path / "data"), "PATH": path}
        with Command(*flags, cwd=ROOT, **home) as train:
            found = poll(lambda: re.search(r"Ray Dashboard +(http://\S+)", train.text()), 90, "Ray is up")
            parts = poll(lambda: state.read(tmp_path / "data" / "raymon").parts, 10, "the stack is written down")
            assert set(parts) == {"prometheus", "grafana"}
            for name in ("prometheus", "grafana"):
                told = poll(lambda name=name: ask_dashboard(f"{found[1]}/api/{name}_health"), 60, f"{name}'s health")
                assert told["result"] is True, told
            assert ask_dashboard(f"{found[1]}/api/grafana_health")["data"]["grafanaHost"] == parts["grafana"].url
            prometheus = Prometheus(parts["prometheus"].url)
            poll(lambda: prometheus.query(f"{catalog.UPDATES.name} > 0"), 90, "the run's metrics are stored")
            train.interrupt()
            assert train.wait(60) == 130, train.text()
        assert not any(part.running for part in parts.values())


def test_a_stack_that_ran_before_goes_on_and_keeps_its_sources(tmp_path, path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    before = start_stack(Options(sources=Sources(targets=("127.0.0.1:1",)), prometheus_port=free_port()))
    try:
        with start_before_ray(tmp_path / "ray") as stack:
            assert (stack.started, stack.restarted) == ((), ("grafana",)), "only Grafana's provisioning changed"
            assert stack.prometheus_url == before.prometheus_url
            kept = Sources.from_plain(state.read(before.directory).sources)
            assert (kept.targets, kept.temp_dirs) == (("127.0.0.1:1",), (tmp_path / "ray",))
            advice = follow(stack, ["http://10.0.0.1:8080/metrics"])
            assert "raymon up --target 10.0.0.1:8080" in advice
        assert {name for name in ("prometheus", "grafana") if state.read(before.directory).running(name)} == {
            "prometheus", "grafana"
        }  # fmt: skip
    finally:
        stop_stack()


def test_nodes_that_no_discovery_file_names_are_followed(tmp_path, path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with start_before_ray(tmp_path) as stack:
        own = stack.prometheus_url.removeprefix("http://")
        assert follow(stack, [f"{stack.prometheus_url}/metrics"]) == ""
        poll(lambda: Prometheus(stack.prometheus_url).query("up{job='ray'} == 1"), 30, "the node is scraped")
        (tmp_path / discovery.DISCOVERY_FILE).write_text(json.dumps([{"targets": [own, "10.0.0.9:1"]}]))
        config = (stack.directory / "prometheus.yml").read_text()
        assert follow(stack, ["http://10.0.0.9:1/metrics"]) == ""
        assert (stack.directory / "prometheus.yml").read_text() == config, "the file names it already"
    assert state.read(stack.directory).parts == {}

"""`raymon train --stack`: Prometheus and Grafana run before Ray starts, so that the Ray Dashboard finds them."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest
from support import ROOT, Command, Prometheus, free_port, poll, running_prometheus, short_folder

from raymon import catalog
from raymon.cluster import discovery
from raymon.cluster.auth import headers_for
from raymon.stack import state
from raymon.stack.prometheus_server import export_targets
from raymon.stack.running import StackOptions, stop_stack
from raymon.stack.sources import Sources
from raymon.stack.starting import start_stack
from raymon.stack.training import follow, start_before_ray

# What `raymon train --stack` does around a run, without Ray: the directory of the stack follows XDG_DATA_HOME.
RUN = """
import contextlib, signal, sys
from pathlib import Path
from raymon.stack.training import start_before_ray
with contextlib.suppress(KeyboardInterrupt), start_before_ray(Path(sys.argv[1])) as stack:
    print("the stack is up", *stack.problems, flush=True)
    signal.pause()
"""

PARTS = ("prometheus", "grafana", "export")

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A PATH whose grafana-server is the stand-in."""
    server = tmp_path / "programs" / "grafana-server"
    server.parent.mkdir()
    server.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/fake_grafana_server.py" "$@"\n')
    server.chmod(0o755)
    path = f"{server.parent}:{shutil.which('prometheus').rpartition('/')[0]}:/usr/bin:/bin"
    monkeypatch.setenv("PATH", path)
    return path


@pytest.fixture
def directory(tmp_path, path, monkeypatch):
    """The stack that every command and run of a test shares, on ports that no other test takes at a restart."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "data" / "raymon"
    ended = {name: state.Part(name, os.getpid(), "an earlier process", free_port(), "", []) for name in PARTS}
    state.write(folder, state.StackState(ended))
    yield folder
    stop_stack(folder)


@contextlib.contextmanager
def training(tmp_path):
    """A process that has the stack as a training run has it."""
    with Command(str(tmp_path / "ray"), cwd=ROOT, program=(sys.executable, "-c", RUN)) as run:
        poll(lambda: "the stack is up\n" in run.text(), 60, "the run has its stack")
        yield run


def end(run):
    run.interrupt()
    assert run.wait(60) == 0, run.text()


def raymon(*arguments):
    with Command(*arguments, cwd=ROOT) as command:
        assert command.wait(60) == 0, command.text()


def running(directory):
    """The pids of the parts that run."""
    return {name: part.pid for name, part in state.read(directory).parts.items() if part.running}


def ask_dashboard(url):
    request = urllib.request.Request(url, headers=headers_for(url, named=True))
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.loads(reply.read())


def test_the_ray_dashboard_finds_the_stack_of_a_run(tmp_path, path):
    with short_folder() as ray_dir:
        flags = [
            "train",
            "--env",
            "CartPole-v1",
            "--workers",
            "1",
            "--total-env-steps",
            "1000000000",
            "--stack",
            "--no-page",
            "--ray-temp-dir",
            str(ray_dir),
            "--runs",
            str(tmp_path / "runs"),
        ]
        home = {"XDG_DATA_HOME": str(tmp_path / "data"), "PATH": path}
        with Command(*flags, cwd=ROOT, **home) as train:
            match = poll(lambda: re.search(r"Ray Dashboard +(http://\S+)", train.text()), 90, "Ray is up")
            parts = poll(lambda: state.read(tmp_path / "data" / "raymon").parts, 10, "the stack is written down")
            assert set(parts) == set(PARTS)
            for name in ("prometheus", "grafana"):
                reply = poll(lambda name=name: ask_dashboard(f"{match[1]}/api/{name}_health"), 60, f"{name}'s health")
                assert reply["result"] is True, reply
            assert ask_dashboard(f"{match[1]}/api/grafana_health")["data"]["grafanaHost"] == parts["grafana"].url
            prometheus = Prometheus(parts["prometheus"].url)
            poll(lambda: prometheus.query(f"{catalog.UPDATES.name} > 0"), 90, "the run's metrics are stored")
            poll(lambda: prometheus.query(catalog.RUN_VERDICT.name), 60, "the verdict on the run is stored")
            train.interrupt()
            assert train.wait(60) == 130, train.text()
        assert not any(part.running for part in parts.values())


def test_a_prometheus_that_outlives_a_run_has_seen_it_end(directory, tmp_path):
    state_of = f'{catalog.RUN_STATE.name}{{run="seen",state=~"%s"}}'
    with short_folder() as ray_dir:
        raymon("up", "--no-grafana", "--no-export", "--ray-temp-dir", str(ray_dir))
        prometheus = Prometheus(state.read(directory).parts["prometheus"].url)
        flags = ("--workers", "1", "--total-env-steps", "1000000000", "--no-page", "--name", "seen", "--stack")
        places = ("--ray-temp-dir", str(ray_dir), "--runs", str(tmp_path / "runs"))
        with Command("train", *flags, *places, cwd=ROOT) as train:
            poll(lambda: prometheus.query(f"{state_of % 'training'} == 1"), 120, "the run is scraped")
            train.interrupt()
            assert train.wait(60) == 130, train.text()
        assert prometheus.query(f"last_over_time({state_of % 'finished|stopped|failed'}[5m]) == 1")


def test_a_stack_that_ran_before_goes_on_and_keeps_its_sources(tmp_path, path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    before = start_stack(
        StackOptions(sources=Sources(targets=("127.0.0.1:1",)), prometheus_port=free_port(), stays=True)
    )
    try:
        with start_before_ray(tmp_path / "ray") as stack:
            assert (stack.started, stack.restarted) == (("export",), ("grafana",)), (
                "only Grafana's provisioning changed"
            )
            assert stack.prometheus_url == before.prometheus_url
            kept = state.read(before.directory).sources
            assert (kept.targets, kept.temp_dirs) == (("127.0.0.1:1",), (tmp_path / "ray",))
            advice = follow(stack, ["http://10.0.0.1:8080/metrics"])
            assert "raymon up --target 10.0.0.1:8080" in advice
        assert set(running(before.directory)) == {"prometheus", "grafana"}
        assert json.loads(export_targets(before.directory).read_text()) == [], "the verdicts ended with the run"
    finally:
        stop_stack()


def test_a_run_and_a_plain_up_keep_earlier_options(directory, tmp_path):
    raymon("up", "--anonymous", "--target", "127.0.0.1:1", "--dashboard-url", "http://127.0.0.1:2")
    before = running(directory)
    raymon("up")
    assert running(directory) == before
    with start_before_ray(tmp_path / "ray"):
        assert "[auth.anonymous]\nenabled = true" in (directory / "grafana.ini").read_text()
    raymon("up", "--no-anonymous")
    kept = state.read(directory)
    assert not kept.anonymous
    sources = kept.sources
    assert (sources.targets, sources.dashboard_urls) == (("127.0.0.1:1",), ("http://127.0.0.1:2",))
    raymon("down")
    assert state.read(directory) == state.StackState()


def test_a_run_uses_the_prometheus_url_of_up(directory, tmp_path):
    (tmp_path / "other.yml").write_text("{}")
    with running_prometheus(tmp_path / "other.yml", tmp_path / "other") as other:
        raymon("up", "--prometheus-url", other.url, "--no-grafana")
        for _ in range(2):  # what was asked for outlives the runs
            with start_before_ray(tmp_path / "ray") as stack:
                assert (stack.prometheus_url, stack.started) == (other.url, ("grafana",))
                assert f"url: {other.url}\n" in (directory / "grafana/provisioning/datasources/raymon.yml").read_text()
                assert other.url in follow(stack, ["http://10.0.0.1:8080/metrics"])
        raymon("up", "--prometheus-port", str(free_port()), "--no-grafana", "--no-export")
        assert set(running(directory)) == {"prometheus"}, "whoever chooses its port wants one of their own"


def test_options_of_a_run_end_with_it(directory, tmp_path):
    with start_before_ray(tmp_path / "ray"):
        pass
    assert state.read(directory) == state.StackState()


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


def test_a_run_that_ends_leaves_the_stack_to_the_runs_that_go_on(directory, tmp_path):
    with training(tmp_path) as first, training(tmp_path) as second:
        before = running(directory)
        assert set(before) == set(PARTS)
        end(first)
        assert running(directory) == before
        end(second)
        assert running(directory) == {}


def test_raymon_up_keeps_parts_that_a_run_started(directory, tmp_path):
    with training(tmp_path) as run:
        before = running(directory)
        raymon("up", "--ray-temp-dir", str(tmp_path / "ray"))
        end(run)
        assert running(directory) == before
    raymon("down")
    assert running(directory) == {}


def test_a_run_stops_only_parts_that_nobody_else_uses(directory, tmp_path):
    raymon("up", "--no-grafana", "--no-export")
    before = running(directory)
    with training(tmp_path) as run:
        assert set(running(directory)) == set(PARTS)
        end(run)
    assert running(directory) == before


def test_a_run_that_was_killed_keeps_nothing_up(directory, tmp_path):
    with training(tmp_path) as killed, training(tmp_path) as last:
        killed.process.send_signal(signal.SIGKILL)
        killed.wait(10)
        end(last)
        assert running(directory) == {}


def test_a_run_does_not_stop_the_programs_that_followed_its_own(directory, tmp_path):
    with training(tmp_path) as run:
        raymon("down")
        with training(tmp_path) as killed:
            after = running(directory)
            killed.process.send_signal(signal.SIGKILL)
            killed.wait(10)
        end(run)
        assert running(directory) == after


def test_raymon_up_in_the_foreground_shares_the_stack_with_a_run(directory, tmp_path):
    with Command("up", "--foreground", "--no-export", "--target", "127.0.0.1:1", cwd=ROOT) as up:
        poll(lambda: "Ctrl-C stops what no other process uses" in up.text(), 60, "raymon up is up")
        first = running(directory)
        with training(tmp_path) as run:
            before = running(directory)
            assert before["grafana"] != first["grafana"], "its provisioning changed"
            with pytest.raises(subprocess.TimeoutExpired):
                up.process.wait(2.5)
            end(up)
            assert running(directory) == before
            with Command("up", "--foreground", "--no-export", cwd=ROOT) as joined:
                poll(lambda: "Ctrl-C stops what no other process uses" in joined.text(), 60, "raymon up has joined")
                end(run)
                assert set(running(directory)) == {"prometheus", "grafana"}
                end(joined)
    assert running(directory) == {}


@pytest.mark.parametrize("command", [(sys.executable, "-c", RUN, "/tmp/ray"), (sys.executable, "-m", "raymon", "up")])
def test_an_interrupted_start_leaves_nothing_behind(directory, tmp_path, command):
    server = tmp_path / "programs" / "grafana-server"
    server.write_text("#!/bin/sh\nexec sleep 600\n")
    with Command(cwd=ROOT, program=command) as interrupted:
        poll(lambda: {"prometheus", "grafana"} <= set(running(directory)), 60, "Grafana is about to start")
        parts = state.read(directory).parts
        interrupted.interrupt()
        interrupted.wait(60)
    assert not any(part.running for part in parts.values())
    assert state.read(directory).parts == {}


def test_an_interrupted_start_keeps_earlier_parts(directory, tmp_path):
    raymon("up", "--no-grafana", "--no-export")
    before = running(directory)
    (tmp_path / "programs" / "grafana-server").write_text("#!/bin/sh\nexec sleep 600\n")
    with Command("up", cwd=ROOT) as interrupted:
        poll(lambda: {"prometheus", "grafana"} <= set(running(directory)), 60, "Grafana is about to start")
        interrupted.interrupt()
        interrupted.wait(60)
    assert running(directory) == before

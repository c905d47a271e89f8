"""What is read of silent processes, and that an ended driver is noticed."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from health_views import run, worker
from support import poll

from raymon import catalog
from raymon.cluster.discovery import Raylet
from raymon.health import judge
from raymon.live import silent_process_reader
from raymon.live.silent_process_reader import SilentProcessReader
from raymon.live.silent_processes import ProcessRequest, process_requests, with_silent_processes
from raymon.live.subject import Process, Subject
from raymon.monitor.error_details import describe_loss
from raymon.monitor.native_stacks import dump_name
from raymon.monitor.private_files import create_file, private_folder
from raymon.monitor.process_evidence import ProcessEvidence
from raymon.monitor.standstill import Standstills

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
NODE = "10.0.0.1"


@pytest.fixture
def process(tmp_path, monkeypatch):
    """A process that has recorded in a session of this machine."""
    (tmp_path / "logs").mkdir()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
    with private_folder(tmp_path / "logs", create=True) as folder:
        os.close(create_file(folder, dump_name(child.pid)))
    here = [Raylet("10.0.0.1:1", tmp_path, tmp_path, "node", NODE)]
    monkeypatch.setattr(silent_process_reader.discovery, "raylets", lambda: tuple(here))
    monkeypatch.setattr(silent_process_reader, "PERIOD_SECONDS", 0.05)
    yield child, here
    child.kill()
    child.wait()


def test_ended_driver_is_noticed_although_its_cluster_ended_with_it(process):
    child, here = process
    reader = SilentProcessReader(lambda _: {})
    key = ("r", "driver", (NODE, child.pid))
    requests = [ProcessRequest(*key, first=True), ProcessRequest("r", "3", (NODE, 0))]
    assert reader.known(requests) == ()
    poll(lambda: reader.known(requests), 5, "the requests are answered")
    here.clear()
    child.kill()
    child.wait()
    silent = poll(lambda: next(iter(reader.known([ProcessRequest(*key)])), None), 5)
    reader.stop()
    assert silent.process == "gone"
    view = run(worker(), driver_pid=child.pid, exporter_age_seconds=60.0)
    assert judge(with_silent_processes(view, [silent], 100.0)).state == "killed"


def test_failed_driver_is_named_with_its_exception_and_line(process):
    child, _ = process
    end = {
        "at": 99.0,
        "exception": "ValueError",
        "lost_pid": 4711,
        "message": "loss is \x1b[31mnan",
        "frames": [["learn", "/home/me/train.py", 88, ""]],
    }
    left = ProcessEvidence(child.pid, "none", "", None, 99.0, end=end)
    view = run(worker("3"), state="failed", driver_node=NODE, driver_pid=child.pid)
    requests = process_requests([(view, judge(view))])
    readings = []
    reader = SilentProcessReader(lambda processes: readings.append(processes) or dict.fromkeys(processes, left))
    silent = poll(lambda: next(iter(reader.known(requests)), None), 5)
    sentence = judge(with_silent_processes(view, [silent], 100.0)).sentence
    assert sentence.startswith("Training failed: ValueError: loss is ")
    assert sentence.endswith("nan, in `learn (train.py:88)`; these are its last numbers.")
    named = replace(view, workers=(worker("3", pid=4711),))
    assert "; the actor was worker 3 (pid 4711); " in judge(with_silent_processes(named, [silent], 100.0)).sentence
    twice = replace(view, workers=(worker("3", pid=4711, node=NODE), worker("4", pid=4711, node="10.0.0.2")))
    assert "the actor was" not in judge(with_silent_processes(twice, [silent], 100.0)).sentence
    assert "\x1b" not in sentence
    assert reader.known(requests) == (silent,)
    time.sleep(0.2)
    reader.stop()
    assert len(readings) == 1, "it is read once"


def test_earlier_process_with_the_same_id_was_another_one(process):
    child, here = process
    reader = SilentProcessReader(lambda _: {})
    key = (NODE, child.pid)
    reader._readings["earlier", "2", key] = replace(silent_process_reader.process_state.read(child.pid), began=1)
    state = poll(lambda: reader._state(("r", "driver", key), here) or time.sleep(0.5), 5)
    assert state == "idle", "it lives"


def test_end_is_read_from_the_newest_session_with_the_process_id(tmp_path):
    reader = SilentProcessReader(lambda _: {})
    for session, at in (("earlier", 10.0), ("newest", 99.0)):
        end = {"at": at, "exception": "ValueError", "message": session}
        (tmp_path / session / "logs").mkdir(parents=True)
        Standstills().end_with([], tmp_path / session, end)
        reader._sessions.setdefault(NODE, {})[tmp_path / session] = None
    assert reader._exception((NODE, os.getpid()), None, 50.0).exception == "ValueError: newest"


def test_process_that_ended_stays_so_however_late_it_is_read_again(process, monkeypatch):
    child, _ = process
    child.kill()
    child.wait()
    monkeypatch.setattr(silent_process_reader, "KEPT_SECONDS", 0.0)
    reader = SilentProcessReader(lambda _: {})
    reader._exits[NODE, child.pid] = ""  # no cluster to ask
    request = ProcessRequest("r", "driver", (NODE, child.pid))
    silent = poll(lambda: next(iter(reader.known([request])), None), 5)
    reader.stop()
    assert silent.process == "gone"


@pytest.mark.parametrize(
    ("exception", "written", "state"),
    [
        ("ValueError", "training", "failed"),
        ("KeyboardInterrupt", "training", "stopped"),
        ("", "training", "stopped"),
        ("", "finished", "finished"),
        ("", "failed", "failed"),
    ],
)
def test_end_of_a_driver_whose_last_state_was_not_exported(process, exception, written, state):
    child, _ = process
    end = {"at": 99.0, "exception": exception, "message": "", "frames": [["learn", "/home/me/train.py", 88, ""]]}
    left = ProcessEvidence(child.pid, "none", "", None, 99.0, end={**end, "state": written})
    reader = SilentProcessReader(lambda processes: dict.fromkeys(processes, left))
    view = run(worker("3"), driver_node=NODE, driver_pid=child.pid, driver_heartbeat_age_seconds=9.0)
    key = ("r", "driver", (NODE, child.pid))
    poll(lambda: not reader.known([ProcessRequest(*key, first=True)]) and reader._noted, 5)
    child.kill()
    child.wait()
    silent = poll(lambda: next((each for each in reader.known([ProcessRequest(*key)]) if each.exit), None), 5)
    seen = with_silent_processes(view, [replace(silent, run=view.run)], 100.0)
    verdict = judge(seen)
    assert verdict.state == state
    assert exception != "ValueError" or "ValueError, in `learn (train.py:88)`" in verdict.sentence
    silently = verdict.sentence.startswith("The driver's process exited without an exception")
    assert silently == (not exception and written == "training")
    again = process_requests([(seen, verdict)])
    assert reader.known(again)[0].exit == silent.exit, "it does not change back"
    reader.stop()


@pytest.mark.parametrize(("node", "started", "beat"), [(NODE, 100.0, 100.5), ("10.0.0.2", 50.0, 150.0)])
def test_exception_that_did_not_end_this_run_is_not_its_end(process, node, started, beat):
    child, _ = process
    child.kill()
    child.wait()
    end = {"at": 99.0, "exception": "ValueError", "message": "", "frames": []}
    left = ProcessEvidence(child.pid, "none", "", None, 99.0, end=end)
    readings = []
    reader = SilentProcessReader(lambda processes: readings.append(1) or dict.fromkeys(processes, left))
    reader._exits[node, child.pid] = ""  # no cluster to ask
    view = run(worker("3"), driver_node=node, driver_pid=child.pid, driver_heartbeat_age_seconds=9.0)

    def exits(started, beat):
        subjects = {(view.run, "driver"): driver_that_wrote(started, beat)}
        known = reader.known(process_requests([(view, judge(view))], subjects))
        return [each.exit for each in known if each.exit]

    poll(lambda: exits(started, beat) or len(readings) > 2, 5)
    assert exits(started, beat) == [], "it was killed"
    poll(lambda: exits(50.0, 99.5) == ["ValueError"], 5, "its own exception")
    assert exits(started, beat) == [], "the next run in this process"
    reader.stop()


def driver_that_wrote(started, beat):
    driver = Subject("r", "driver", {})
    driver.processes["w"] = Process("w", NODE, 0.0)
    driver.processes["w"].gauges.update({(catalog.RUN_START.name,): started, (catalog.HEARTBEAT.name,): beat})
    return driver


def test_line_of_failures_is_read_although_other_rollouts_succeed():
    healthy = worker("1", node=NODE, pid=1)
    fails = worker("2", node=NODE, pid=2, rollouts_per_second=3.0, failures={"KeyError": 9.0}, failures_total=99.0)
    view = run(healthy, fails)
    requests = process_requests([(view, judge(view))])
    assert [request.process for request in requests] == [(NODE, 2)]


def test_losses_are_read_from_the_driver_although_nothing_stands_still(process):
    child, _ = process
    left = ProcessEvidence(child.pid, "none", "", None, 99.0, losses=(describe_loss("3", ValueError("bad\naction")),))
    reader = SilentProcessReader(lambda processes: dict.fromkeys(processes, left))
    view = run(worker("3"), driver_node=NODE, driver_pid=child.pid)
    poll(lambda: not reader.known(process_requests([(view, judge(view))])) and reader._noted, 5)
    assert reader.losses() == {}, "without a loss, nothing is read"
    view = replace(view, recent_losses={"error": 1})
    poll(lambda: reader.known(process_requests([(view, judge(view))])) or reader.losses(), 5)
    reader.stop()
    ((loss,),) = reader.losses().values()
    assert (loss.worker, loss.detail) == ("3", "ValueError: bad action")
    view = replace(view, driver_pid=1, recent_losses={})
    reader.known(process_requests([(view, judge(view))]))
    assert reader.losses() == {}, "another driver is another run of that name"


def test_frames_and_the_awaited_worker_reach_the_view(process):
    child, _ = process
    left = ProcessEvidence(child.pid, "python", "Env.step → recv (my_env.py:88)", 86.0, 99.0, waits_for=("3", "x"))
    reader = SilentProcessReader(lambda processes: dict.fromkeys(processes, left))
    view = run(worker("3", node=NODE, pid=child.pid), driver_node=NODE, driver_pid=child.pid)
    verdict = judge(view)
    assert [one.first for one in process_requests([(view, verdict)])] == [True], "nobody is silent"
    requests = [ProcessRequest("r", name, (NODE, child.pid)) for name in ("driver", "3")]
    known = poll(lambda: len(known := reader.known(requests)) == 2 and known, 5)
    reader.stop()
    seen = with_silent_processes(view, known, 100.0)
    assert seen.workers[0].where == "Env.step → recv (my_env.py:88)"
    assert (seen.driver_waits_for, seen.driver_silent_seconds) == (("3",), 14.0)


def test_processes_and_sessions_that_come_and_go_are_forgotten(process, monkeypatch):
    _, here = process
    monkeypatch.setattr(silent_process_reader, "MOST_KEPT", 3)
    monkeypatch.setattr(silent_process_reader, "MOST_SESSIONS", 2)
    reader = SilentProcessReader(lambda _: {})
    first = here[0]
    for restart in range(8):
        here[:] = [first, replace(first, session_dir=first.session_dir / str(restart))]
        reader._read([ProcessRequest("r", str(restart), (NODE, 10_000_000 + restart))])
        reader.known(())
    assert list(reader._noted) == [(NODE, 10_000_005 + restart) for restart in range(3)]
    assert len(reader._processes) == 3
    assert list(reader._sessions[NODE]) == [first.session_dir, first.session_dir / "7"], "those that run are kept"

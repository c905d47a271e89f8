"""The end of a process on this machine is noticed at once, and how it ended is read from what it left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from raymon.incident import local_deaths
from raymon.incident.evidence import tail
from raymon.incident.local_deaths import ProcessWatch, WatchedProcess, autopsy, worker_logs
from raymon.monitor.error_details import describe_end
from raymon.monitor.native_stacks import dump_name
from raymon.monitor.private_files import FOLDER
from raymon.monitor.standstill import LOGS, file_name

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="descriptors of processes are Linux's")
END = {"at": 1.0, "exception": "KeyError", "message": "'reward'", "frames": [["learn", "/home/me/t.py", 7, "get"]]}

CRASH = """*** SIGSEGV received at time=1 ***
Fatal Python error: Segmentation fault

Stack (most recent call first):
  File "/home/me/sim.py", line 9 in step
"""


@pytest.fixture
def session(tmp_path):
    (tmp_path / LOGS / FOLDER).mkdir(parents=True, mode=0o700)
    return tmp_path


def death(session, prepare, end=lambda child: child.kill(), kind="worker"):
    """Follow a child process, end it, and return what is said about its death and how long that took."""
    deaths, came = [], threading.Event()
    lines = ProcessWatch(lambda death: (deaths.append(death), came.set()))
    with subprocess.Popen(["sleep", "60"]) as child:
        prepare(session / LOGS / FOLDER, child.pid)
        for _ in range(2):  # what it writes is looked for again and again
            lines.follow([WatchedProcess(kind, "n", child.pid, session, "abc")])
        begin = time.monotonic()
        end(child)
        assert came.wait(10.0)
        seconds = time.monotonic() - begin
    lines.close()
    return deaths[0], seconds


def dumps(folder, pid):
    (folder / dump_name(pid)).write_text("{}\n")


def test_killed_process_is_noticed_within_half_a_second(session):
    ended, seconds = death(session, dumps)
    assert (ended.how, ended.kind, ended.node) == ("vanished", "worker", "n")
    assert seconds < 0.5


def test_orderly_end_has_removed_its_file(session):
    def end(child):
        (session / LOGS / FOLDER / dump_name(child.pid)).unlink()
        child.send_signal(signal.SIGTERM)

    assert death(session, dumps, end)[0].how == "exited"


def test_uncaught_exception_names_those_it_follows_from(session):
    content = {"monitors": [], "stacks": [], "waits_for": [], "written": 1.0, "where": ""}
    path = session / LOGS / FOLDER / file_name(4711)
    try:
        try:
            {}["reward"]
        except KeyError as error:
            raise RuntimeError("training failed") from error
    except RuntimeError as error:
        path.write_text(json.dumps({**content, "end": describe_end(error)}))
    process = WatchedProcess("driver", "n", 4711, session)
    assert autopsy(process, 1.0, False).detail.startswith("RuntimeError: training failed (from KeyError), in test_")
    path.write_text(json.dumps({**content, "end": {**END, "causes": 7}}))
    assert autopsy(process, 1.0, False).detail.startswith("KeyError: 'reward', in learn")


def ends(at):
    """Return how a process writes down that it ended at a moment."""
    content = {"monitors": [], "stacks": [], "waits_for": [], "written": at, "where": "", "end": {**END, "at": at}}
    return lambda folder, pid: (folder / file_name(pid)).write_text(json.dumps(content))


def test_uncaught_exception_has_its_message_and_line(session):
    now = time.time()
    ended, _ = death(session, ends(now))
    assert (ended.how, ended.at) == ("raised", now)
    assert ended.detail == "KeyError: 'reward', in learn → get (t.py:7)"


def test_end_of_an_earlier_process_with_the_same_id_is_not_its_own(session):
    ended, _ = death(session, ends(time.time() - 60.0), kind="driver")
    assert (ended.how, ended.detail) == ("vanished", "")


def test_driver_that_has_written_its_end_comes_before_its_workers(session):
    deaths, came = [], threading.Event()
    lines = ProcessWatch(lambda death: (deaths.append(death), came.set() if death.kind == "worker" else None))
    with subprocess.Popen(["sleep", "60"]) as driver, subprocess.Popen(["sleep", "60"]) as worker:
        ends(time.time())(session / LOGS / FOLDER, driver.pid)
        lines.follow(
            [WatchedProcess("driver", "n", driver.pid, session), WatchedProcess("worker", "n", worker.pid, session)]
        )
        worker.kill()
        assert came.wait(10.0)
        driver.kill()
    lines.close()
    assert [(death.kind, death.how) for death in deaths[:2]] == [("driver", "raised"), ("worker", "vanished")]


def test_crash_in_native_code_is_read_from_the_log(session):
    def prepare(folder, pid):
        dumps(folder, pid)
        (session / LOGS / "worker-abc-01000000-7.err").write_text(CRASH)

    ended, _ = death(session, prepare)
    assert (ended.how, ended.detail) == ("crashed", "SIGSEGV, Segmentation fault, in step (sim.py:9)")


def test_planted_logs_neither_block_nor_lead_elsewhere(session, planted):
    logs = session / LOGS
    secret = session / "secret"
    secret.write_text(CRASH)
    os.mkfifo(logs / "worker-abc-0.err")
    (logs / "worker-abc-1.err").symlink_to(secret)
    process = WatchedProcess("worker", "n", 2**22 + 1, session, "abc")
    assert autopsy(process, 1.0, wrote_dumps=False).detail == ""
    assert tail(logs / "worker-abc-0.err") == tail(logs / "worker-abc-1.err") == ""
    own = logs / "worker-abc-2.err"
    own.write_text(CRASH)
    assert autopsy(process, 1.0, wrote_dumps=False).detail.startswith("SIGSEGV")
    assert worker_logs(logs, "*") == worker_logs(logs, "../abc") == worker_logs(logs, "") == []
    planted(own)
    assert autopsy(process, 1.0, wrote_dumps=False).detail == ""
    assert tail(own) == ""


def test_raylet_of_another_user_is_not_followed(session, planted, monkeypatch):
    folder = session / "proc" / "12"
    folder.mkdir(parents=True)
    (folder / "comm").write_text("raylet\n")
    (folder / "cmdline").write_text(f"/x/raylet\0--session_dir={session}\0--node_ip_address=10.0.0.1")
    monkeypatch.setattr(local_deaths, "PROCESSES", session / "proc")
    assert [process.pid for process in local_deaths._ray_processes(session)] == [12]
    planted(folder)
    assert local_deaths._ray_processes(session) == []

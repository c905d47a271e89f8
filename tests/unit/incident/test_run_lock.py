"""The incidents of a run are collected by one process of a machine, and by another one after its end."""

import subprocess
import sys
from pathlib import Path

import pytest
from health_views import run, worker

from raymon.incident.run_lock import RunLock

TESTS = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from health_views import run, worker
from raymon.incident.run_lock import RunLock
lock = RunLock(run(worker("1", pid=int(sys.argv[1]), node="n")))
print(lock.take(), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_another_process_keeps_a_run_until_it_is_killed():
    view = run(worker("1", pid=987_654, node="n"))
    command = [sys.executable, "-c", HOLD, "987654"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TESTS) as other:
        assert other.stdout.readline() == "True\n"
        assert not RunLock(view).take()
        assert RunLock(run(worker("1", pid=987_655, node="n"))).take()
        other.kill()
        other.wait()
        mine = RunLock(view)
        assert mine.take()
        assert mine.take()
        mine.release()

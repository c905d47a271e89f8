"""One cause is collected once on a machine, and again after its collector is gone."""

import subprocess
import sys
from pathlib import Path

import pytest
from health_views import run, worker

from raymon.incident.cause_lock import CauseLock

TESTS = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from health_views import run, worker
from raymon.incident.cause_lock import CauseLock
lock = CauseLock(run(worker("1", pid=int(sys.argv[1]), node="n")), "no_progress", "")
print(lock.take(), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_another_process_keeps_a_cause_until_it_is_killed():
    view = run(worker("1", pid=987_654, node="n"))
    command = [sys.executable, "-c", HOLD, "987654"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TESTS) as other:
        assert other.stdout.readline() == "True\n"
        assert not CauseLock(view, "no_progress", "").take()
        assert CauseLock(view, "worker_stalled", "1").take()
        other.kill()
        other.wait()
        mine = CauseLock(view, "no_progress", "")
        assert mine.take()
        mine.release()

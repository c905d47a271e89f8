"""What the kernel says about a process."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support import poll

from raymon.live import process_state
from raymon.live.process_state import Reading, state_between

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")  # noqa: PTH110


def states(pid, seconds=0.7):
    before = process_state.read(pid)
    time.sleep(seconds)
    return state_between(before, process_state.read(pid))


def test_stopped_busy_idle_and_ended_processes_are_told_apart():
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    idle = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
    try:
        poll(lambda: states(idle.pid) == "idle", 20)
        poll(lambda: states(busy.pid) in ("busy", "starved"), 20)
        os.kill(busy.pid, signal.SIGSTOP)
        poll(lambda: states(busy.pid) == "stopped", 5)
    finally:
        for process in (busy, idle):
            process.kill()
            process.wait()
    assert process_state.read(busy.pid) is None
    assert state_between(None, None) == "gone"


@pytest.mark.parametrize(
    ("cpu", "waited", "faults", "state"),
    [(0.9, 0.0, 0, "busy"), (0.1, 0.9, 0, "starved"), (0.1, 0.0, 400, "swapping"), (0.0, 0.0, 0, "idle")],
)
def test_state_follows_from_the_difference_of_two_readings(cpu, waited, faults, state):
    before = Reading(10.0, "S", 5, 100.0, 7.0, 30)
    assert state_between(before, Reading(11.0, "S", 5, 100.0 + cpu, 7.0 + waited, 30 + faults)) == state
    assert state_between(before, Reading(11.0, "R", 6, 0.0, 0.0, 0)) == "gone", "a later process with the same id"
    assert state_between(before, Reading(10.1, "R", 5, 100.1, 7.0, 30)) == ""

"""Whose faulthandler's timer is: one that the program armed before it imported raymon is left alone."""

import faulthandler
import subprocess
import sys

import pytest

from raymon.monitor import native_stacks

PROGRAM = """
import faulthandler, sys, time
from pathlib import Path
import zmq
socket = zmq.Context().socket(zmq.PUB)  # its threads block all signals, too
users = open(sys.argv[1] + "/users", "w")
if sys.argv[2] == "armed":
    faulthandler.dump_traceback_later(1.0, repeat=True, file=users)
from raymon.monitor.native_stacks import NativeWatch
watch = NativeWatch()
for _ in range(2):  # a thread that blocks all signals must be there twice
    watch.rearm(Path(sys.argv[1]))
users.truncate(0)
deadline = time.monotonic() + 20.0
while sys.argv[2] == "armed" and not Path(sys.argv[1], "users").stat().st_size and time.monotonic() < deadline:
    time.sleep(0.1)
print("raymons" if watch._file >= 0 else "users", Path(sys.argv[1], "users").stat().st_size > 0)
watch.stop()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the thread is recognized in /proc")
@pytest.mark.parametrize(("program", "timer"), [("armed", "users True"), ("idle", "raymons False")])
def test_timer_armed_before_the_import_is_left_alone(tmp_path, program, timer):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), program]
    reply = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert reply.stdout.strip() == timer
    assert ("uses faulthandler's timer" in reply.stderr) is (program == "armed")


@pytest.mark.parametrize(
    ("seen", "known", "armed"),
    [
        ([set()], [True], False),
        ([{"7"}, set()], [False, True], False),  # a thread that was just beginning
        ([{"7"}, {"8"}], [False, True], False),
        ([{"7"}, {"7", "8"}], [False, True], True),
    ],
)
def test_a_timer_is_recognized_by_a_thread_that_stays(monkeypatch, seen, known, armed):
    looks = iter(seen)
    monkeypatch.setattr(native_stacks, "_timer_threads", lambda: next(looks))
    monkeypatch.setattr(faulthandler, "dump_traceback_later", faulthandler.dump_traceback_later)
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", faulthandler.cancel_dump_traceback_later)
    timer = native_stacks._UsersTimer()
    assert [timer.look() for _ in seen] == known
    assert timer.look()
    assert timer.armed is armed

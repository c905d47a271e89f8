"""What a process uses, measured by itself."""

import mmap
import os
import subprocess
import sys

import raymon
from raymon import catalog
from raymon.monitor import resource_usage

BUSY = """
import time
from raymon.monitor import resource_usage
end = time.monotonic() + 0.5
while time.monotonic() < end:
    pass
print(resource_usage.cpu_wait_seconds())
"""


def test_two_busy_processes_on_one_core_wait_for_it():
    """As many seconds as both ran are missing to the time that passed."""
    core = min(os.sched_getaffinity(0))
    command = ["taskset", "--cpu-list", str(core), sys.executable, "-c", BUSY]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    waited = [float(process.communicate(timeout=30)[0]) for process in pair]
    assert sum(waited) > 0.3


def test_shared_memory_is_not_the_own_memory_of_a_process():
    before = resource_usage.resident_bytes()
    with mmap.mmap(-1, 64 << 20) as shared:
        shared.write(b"x" * (64 << 20))
        with_shared = resource_usage.resident_bytes()
    assert with_shared - before < 16 << 20
    own = bytearray(os.urandom(32 << 20))
    assert resource_usage.resident_bytes() - before > 24 << 20, len(own)


def test_waiting_is_exported_from_the_first_noticeable_wait_on(monkeypatch):
    readings = iter([1.0, 1.0, 1.01, 1.51, 1.52])
    monkeypatch.setattr(resource_usage, "cpu_wait_seconds", lambda: next(readings))
    monitor = raymon.Monitor(worker=0, run="waits")
    key = (catalog.CPU_WAIT_SECONDS.name, ())
    increases = []
    for _ in range(4):
        monitor._measure_process()
        increases.append({key: more for key, _, more in monitor.accumulator.take().increases}.get(key))
    assert increases[:2] == [None, None]
    assert [round(more, 6) for more in increases[2:]] == [0.5, 0.01]

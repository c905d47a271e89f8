"""Resident memory and CPU time of this process, and its waiting for a core. Never raises, with or without /proc."""

import os
import resource
import sys
import time
from pathlib import Path
from typing import Final

_STATM: Final = Path("/proc/self/statm")
_STATUS: Final = Path("/proc/self/status")
_SCHEDSTAT: Final = Path("/proc/self/schedstat")


def resident_bytes() -> float | None:
    """Return this process's resident memory; its peak if the system reports only that; None if unknown.

    Shared memory does not count: every process that has touched Ray's object store has its pages, which are no leak.
    """
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize() - _shared_bytes()
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(peak if sys.platform == "darwin" else peak * 1024) or None


def _shared_bytes() -> int:
    """Return the resident shared memory; 0 if the kernel does not count it apart."""
    shared = next((line for line in _STATUS.read_bytes().splitlines() if line.startswith(b"RssShmem:")), b": 0 kB")
    return int(shared.split()[1]) * 1024


def cpu_seconds() -> float:
    """Return user plus system CPU time of this process so far."""
    return time.process_time()


def cpu_wait_seconds() -> float:
    """Return for how long the main thread, in which Ray runs an actor's methods, was ready to run and had no core.

    0 if the kernel does not count that.
    """
    try:
        return int(_SCHEDSTAT.read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def pid() -> int:
    """Return the process id on this node."""
    return os.getpid()

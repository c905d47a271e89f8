"""What a process costs its node, read by itself: resident memory and CPU time. Never raises, with or without /proc."""

import os
import resource
import sys
import time
from pathlib import Path
from typing import Final

_STATM: Final = Path("/proc/self/statm")


def resident_bytes() -> float | None:
    """Return the resident memory of this process now; its peak where the system tells no more; None if unknown."""
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(peak if sys.platform == "darwin" else peak * 1024) or None


def cpu_seconds() -> float:
    """Return user plus system CPU time of this process so far."""
    return time.process_time()


def pid() -> int:
    """Return the process id on this node."""
    return os.getpid()

"""Process trees and their CPU time, from /proc."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def below(pid: int) -> list[int]:
    """Return a process and its descendants."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        if fields := _fields(int(path.name)):
            parents.setdefault(int(fields[1]), []).append(int(path.name))
    pids = [pid]
    for each in pids:
        pids.extend(parents.get(each, ()))
    return pids


def title(pid: int) -> str:
    """Return a process's command line; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def begun(pid: int) -> str:
    """Return when a process began, in the kernel's ticks, to recognize a reused process id."""
    fields = _fields(pid)
    return fields[19] if fields else ""


class CpuSeconds:
    """CPU seconds of a process and its descendants; ended ones count with their last known value."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._seen: dict[int, float] = {}

    def look(self) -> None:
        """Update the CPU time of each process."""
        for pid in below(self._pid):
            if fields := _fields(pid):
                self._seen[pid] = (int(fields[11]) + int(fields[12])) / _TICKS

    def total(self) -> float:
        """Return the total CPU time."""
        return sum(self._seen.values())


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name; none if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []

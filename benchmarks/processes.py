"""Processes below one another, and the CPU time they used, from /proc."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def below(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        if fields := _fields(int(path.name)):
            parents.setdefault(int(fields[1]), []).append(int(path.name))
    found = [pid]
    for each in found:
        found.extend(parents.get(each, ()))
    return found


def title(pid: int) -> str:
    """Return a process's command line; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def begun(pid: int) -> str:
    """Return when a process began, in the kernel's ticks, so that a number used again is not mistaken for it."""
    fields = _fields(pid)
    return fields[19] if fields else ""


class CpuSeconds:
    """CPU seconds of a process and its descendants: look often, and what has ended is still counted as last seen."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._seen: dict[int, float] = {}

    def look(self) -> None:
        """Take down what each has used so far."""
        for pid in below(self._pid):
            if fields := _fields(pid):
                self._seen[pid] = (int(fields[11]) + int(fields[12])) / _TICKS

    def total(self) -> float:
        """Return the sum of what was seen."""
        return sum(self._seen.values())


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name; none when the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []

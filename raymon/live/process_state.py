"""What the kernel says about a process of this machine: stopped, starved of CPU, swapping, computing, or gone."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROCESSES: Final = Path("/proc")
_LEAST_SECONDS: Final = 0.5
"""Two readings must be so far apart to show what a process does."""
_BUSY_RATIO: Final = 0.5
_STARVED_RATIO: Final = 0.5
_MAJOR_FAULTS_PER_SECOND: Final = 50.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a process.

    Attributes:
        at: `time.monotonic()`.
        state: The kernel's letter: R running, S sleeping, D waiting for a disk, T stopped, Z ended.
        began: When it started, in the kernel's ticks; tells it from a later process with the same id.
        cpu_seconds: CPU it has used.
        waited_seconds: For how long its main thread was ready to run and got no CPU.
        faults: Pages it had to fetch from disk.
    """

    at: float
    state: str
    began: int
    cpu_seconds: float
    waited_seconds: float
    faults: int


def read(pid: int, processes: Path = _PROCESSES) -> Reading | None:
    """Return a reading of a process; None if there is none, or no `/proc`."""
    try:
        fields = (processes / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        ticks = os.sysconf("SC_CLK_TCK")
        cpu = (int(fields[11]) + int(fields[12])) / ticks
        reading = Reading(
            time.monotonic(), fields[0], int(fields[19]), cpu, _waited(processes / str(pid)), int(fields[9])
        )
    except (OSError, ValueError, IndexError):
        return None
    return reading


def started_at(pid: int) -> float:
    """Return the wall-clock second at which a process started, a second early at most; 0 if that is not known."""
    reading = read(pid)
    if reading is None:
        return 0.0
    seconds_after_boot = reading.began / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + seconds_after_boot - 1.0


def _waited(folder: Path) -> float:
    try:
        return int((folder / "schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):  # a kernel without scheduler statistics
        return 0.0


def state_between(before: Reading | None, now: Reading | None) -> str:
    """Return `gone`, `stopped`, `swapping`, `starved`, `busy` or `idle`; empty while one reading shows too little.

    Args:
        before: An earlier reading of the same process; None if this is the first.
        now: The latest reading; None if the process does not exist any more.
    """
    if now is None or now.state in "ZX" or (before is not None and now.began != before.began):
        return "gone"
    if now.state in "Tt":
        return "stopped"
    if before is None or (seconds := now.at - before.at) < _LEAST_SECONDS:
        return ""
    if (now.faults - before.faults) / seconds > _MAJOR_FAULTS_PER_SECOND:
        return "swapping"
    if (now.cpu_seconds - before.cpu_seconds) / seconds >= _BUSY_RATIO:
        return "busy"
    if (now.waited_seconds - before.waited_seconds) / seconds > _STARVED_RATIO:
        return "starved"
    return "idle"

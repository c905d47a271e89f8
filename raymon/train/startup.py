"""How long the parts of a start-up take, from the start of the process to the first update."""

import os
import time


class Stopwatch:
    """The parts of the start-up in seconds, by name."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {"Python and imports": seconds_since_process_start()}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Add the time since the last call under a name."""
        now = time.perf_counter()
        self.parts[name] = now - self._last
        self._last = now

    def sentence(self) -> str:
        """Return the sum and the parts."""
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.parts.items())
        return f"start-up {sum(self.parts.values()):.1f} s: {parts}"


def seconds_since_process_start() -> float:
    """Return the age of this process from /proc; 0 where there is none."""
    try:
        with open("/proc/self/stat", encoding="ascii") as file:  # noqa: PTH123  # a kernel file, read once
            ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    except (OSError, ValueError, IndexError):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")

"""Sampled stacks: the threads that matter, the functions that take the time, the difference between two processes.

Pure functions over the collapsed format. A share is a share of the wall time of the process's busiest thread. Waiting
is included: a simulator that sleeps is as slow as one that computes.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from raymon import ray_internals

MAIN: Final = "MainThread"
WORTH_RATIO: Final = 0.05
_LINE: Final = re.compile(r"(?P<stack>.+) (?P<count>[0-9]{1,12})")
_THREAD: Final = re.compile(r"thread \(.*?\): ?(?P<name>.*)")
_POSITION: Final = re.compile(r"^(?P<function>.*) \((?P<file>.*?)(?::(?P<line>\d+))?\)$")
_NUMBER: Final = re.compile(r"[-_ ]?\d+( \(.*\))?$")
_HOUSEKEEPING: Final = ("raymon-flush", "PythonGCThread")
_IDLE_FRAME: Final = re.compile(
    r"\((?:threading|queue|selectors|socket|ssl|asyncio/\w+|concurrent/futures/\w+|logging/\w+"
    r"|(?:.*/)?(?:ray|grpc|raymon/monitor|zmq|streamlit|tornado)/.*)\.py\b"
)
"""Innermost frames of idle threads of Ray, Python and raymon."""
_WAITS: Final = re.compile("^" + ray_internals.WAITING_FRAME)
"""Innermost frames in which a process waits for Ray: for the next call, or for a result."""
_IDLE_OWN: Final = re.compile(r"^ThreadedVector\._serve ")
"""Innermost frames of idle threads of raymon's own environments."""
_OUTER: Final = re.compile(rf"\((?:threading\.py|concurrent/|{ray_internals.OUTER_FILES})")
"""Frames of Ray and Python above the user's code; they are not shown."""


class SampledStack(NamedTuple):
    """Equal samples: thread, frames from the outermost to the innermost, number of samples.

    Threads of one pool (equal names but for a number) are merged into one, with the mean of their samples.
    """

    thread: str
    frames: tuple[str, ...]
    samples: float


class Place(NamedTuple):
    """Function and file of a frame, without the line."""

    function: str
    file: str

    def __str__(self) -> str:
        return f"{self.function} ({self.file})" if self.file else self.function


@dataclass(frozen=True, slots=True)
class Difference:
    """Seconds per unit of work that two processes spend in one function; `seconds` is larger than `baseline`."""

    place: Place
    seconds: float
    baseline: float


def parse(collapsed: str) -> list[SampledStack]:
    """Return the stacks of the threads that matter; skip lines in another format."""
    threads: dict[str, list[SampledStack]] = {}
    for line in collapsed.splitlines():
        matched = _LINE.fullmatch(line)
        if matched:
            thread, *frames = matched["stack"].split(";")
            named = _THREAD.fullmatch(thread)
            name = (named["name"] if named else "") or "thread"
            threads.setdefault(thread, []).append(SampledStack(name, tuple(frames), int(matched["count"])))
    pools: dict[str, list[list[SampledStack]]] = {}
    for stacks in threads.values():
        if _matters(stacks):
            pools.setdefault(_NUMBER.sub("-*", stacks[0].thread), []).append(stacks)
    return [stack for name, pool in pools.items() for stack in _mean(name, pool)]


def _mean(name: str, pool: list[list[SampledStack]]) -> list[SampledStack]:
    """Merge the stacks of a pool of threads into those of one thread."""
    if len(pool) == 1:
        return pool[0]
    summed: Counter[tuple[str, ...]] = Counter()
    for stacks in pool:
        for stack in stacks:
            summed[stack.frames] += int(stack.samples)
    return [SampledStack(f"{name} (mean of {len(pool)})", frames, n / len(pool)) for frames, n in summed.items()]


def _matters(thread: Sequence[SampledStack]) -> bool:
    """Return whether a thread matters: the main thread always, an idle thread of Ray, Python or raymon never."""
    name = thread[0].thread
    if name == MAIN:
        return True
    if name in _HOUSEKEEPING:
        return False
    working = sum(stack.samples for stack in thread if stack.frames and not _is_idle(stack.frames[-1]))
    return working > 0.02 * sum(stack.samples for stack in thread)


def _is_idle(frame: str) -> bool:
    """Return whether a thread other than the main one is idle in this innermost frame."""
    return bool(_IDLE_FRAME.search(frame) or _IDLE_OWN.match(frame))


def waits(stack: SampledStack) -> bool:
    """Return whether the process waits for Ray in this stack, for a call or a result."""
    return bool(stack.frames) and bool(_WAITS.match(stack.frames[-1]))


def waits_or_idles(stack: SampledStack) -> bool:
    """Return whether the process waits for Ray in this stack, or the thread is idle."""
    return waits(stack) or bool(stack.frames and _IDLE_OWN.match(stack.frames[-1]))


def place(frame: str) -> Place:
    """Return the function and file of a frame such as `step (envs/simulated.py:88)`."""
    matched = _POSITION.match(frame)
    return Place(matched["function"], matched["file"]) if matched else Place(frame, "")


def samples_of(stacks: Sequence[SampledStack]) -> float:
    """Return the number of samples in the whole wall time: that of the thread with the most samples."""
    threads: dict[str, float] = {}
    for stack in stacks:
        threads[stack.thread] = threads.get(stack.thread, 0.0) + stack.samples
    return max(threads.values(), default=0.0)


def own(stacks: Sequence[SampledStack]) -> dict[Place, float]:
    """Return function -> share of the wall time spent in the function itself, largest first."""
    whole = samples_of(stacks) or 1.0
    counted: dict[Place, float] = {}
    for stack in stacks:
        if stack.frames:
            function = place(stack.frames[-1])
            counted[function] = counted.get(function, 0.0) + stack.samples
    return {function: counted[function] / whole for function in sorted(counted, key=lambda item: -counted[item])}


def working(stacks: Sequence[SampledStack]) -> dict[Place, float]:
    """Return the same as `own` without waiting and idle time; the shares are still of the whole wall time."""
    whole = samples_of(stacks) or 1.0
    busy = [stack for stack in stacks if not waits_or_idles(stack)]
    return {function: share * samples_of(busy) / whole for function, share in own(busy).items()}


def differences(
    slow: Sequence[SampledStack], typical: Sequence[SampledStack], slow_per_second: float, typical_per_second: float
) -> list[Difference]:
    """Compare two processes that do the same work at different speed, by time per unit of work.

    Args:
        slow: Stacks of the slow process.
        typical: Stacks of the process it is compared with.
        slow_per_second: Units of work per second of the slow process, such as environment steps.
        typical_per_second: The same of the other process.

    Returns:
        The functions in which the slow process spends more time, the largest difference first. Waiting for Ray and
        differences far below the largest are left out.
    """
    if slow_per_second <= 0 or typical_per_second <= 0:
        return []
    slow_shares, typical_shares = working(slow), working(typical)
    differences = [
        Difference(
            where, slow_shares.get(where, 0.0) / slow_per_second, typical_shares.get(where, 0.0) / typical_per_second
        )
        for where in slow_shares
    ]
    differences = sorted((d for d in differences if d.seconds > d.baseline), key=lambda d: d.baseline - d.seconds)
    return [
        d
        for d in differences
        if d.seconds - d.baseline >= WORTH_RATIO * (differences[0].seconds - differences[0].baseline)
    ]


@dataclass(slots=True)
class FlameNode:
    """A frame of a flame graph, its number of samples and the frames it called."""

    frame: str
    count: float
    inner: "dict[str, FlameNode]"


def tree(stacks: Sequence[SampledStack]) -> FlameNode:
    """Return the stacks as a tree whose first level is the threads, the main thread first."""
    root = FlameNode("all", 0, {})
    for stack in sorted(stacks, key=lambda s: s.thread != MAIN):
        root.count += stack.samples
        at = root
        for frame in (stack.thread, *(str(place(frame)) for frame in stack.frames)):
            at = at.inner.setdefault(frame, FlameNode(frame, 0, {}))
            at.count += stack.samples
    return root


def current_frames(dump: str) -> list[tuple[str, list[str]]]:
    """Parse the output of `py-spy dump` into (threads, frames), innermost frame first, the main thread first.

    Idle threads are left out, threads with equal frames are merged, and frames of Ray and Python above the user's code
    are cut off.
    """
    threads: dict[str, list[str]] = {}
    name = ""
    for line in dump.splitlines():
        if line.startswith("Thread "):
            name = line.partition('"')[2].rstrip('"') or line
            threads[name] = []
        elif line.startswith("    ") and name:
            threads[name].append(line.strip())
    places: dict[tuple[str, ...], list[str]] = {}
    for name, frames in sorted(threads.items(), key=lambda item: item[0] != MAIN):
        idle = not frames or name in _HOUSEKEEPING or (_WAITS.match(frames[0]) if name == MAIN else _is_idle(frames[0]))
        if not idle:
            outer = next((i for i, frame in enumerate(frames) if i and _OUTER.search(frame)), len(frames))
            places.setdefault(tuple(frames[:outer]), []).append(name)
    return [(_together(names), list(frames)) for frames, names in places.items()]


def _together(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")

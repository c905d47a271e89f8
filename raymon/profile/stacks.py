"""Sampled stacks: which threads count, which functions the time is in, and what one process does that another does not.

Pure functions over the collapsed format. Shares are of the wall time of a process's busiest threads, waiting included:
a simulator that sleeps is as slow as one that computes.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

MAIN: Final = "MainThread"
WORTH_RATIO: Final = 0.05
_LINE: Final = re.compile(r"(?P<stack>.+) (?P<count>\d+)")
_THREAD: Final = re.compile(r"thread \(.*?\): ?(?P<name>.*)")
_POSITION: Final = re.compile(r"^(?P<function>.*) \((?P<file>.*?)(?::(?P<line>\d+))?\)$")
_NUMBER: Final = re.compile(r"[-_ ]?\d+( \(.*\))?$")
_HOUSEKEEPING: Final = ("raymon-flush", "PythonGCThread")
_STANDING: Final = re.compile(
    r"\((?:threading|queue|selectors|socket|ssl|asyncio/\w+|concurrent/futures/\w+|logging/\w+"
    r"|(?:.*/)?(?:ray|grpc|raymon/monitor|zmq|streamlit|tornado)/.*)\.py\b"
)
"""Where a thread of the machinery stands when it has nothing to do."""
_WAITS: Final = re.compile(r"^(?:\w+\.)*(?:main_loop|run_task_loop|_?wait_ready|wait) \((?:.*/)?ray/_private/")
"""Innermost frames in which a process waits for Ray: for the next call, or for a result."""
_RESTS: Final = re.compile(r"^ThreadedVector\._serve ")
"""Innermost frames in which a thread of ours has nothing to do."""
_OUTER: Final = re.compile(r"\((?:threading\.py|concurrent/|(?:.*/)?ray/(?:_private|util/tracing)/)")
"""Frames by which Ray or Python gets to the user's code: of no interest to who looks for a fault in it."""


class Stack(NamedTuple):
    """Samples that agree: thread, frames from the outermost to the innermost, how many.

    Threads of one pool, whose names differ by a number only, are one; its samples are the mean of theirs.
    """

    thread: str
    frames: tuple[str, ...]
    samples: float


class Place(NamedTuple):
    """A frame taken apart: `function (file)` without its line."""

    function: str
    file: str

    def __str__(self) -> str:
        return f"{self.function} ({self.file})" if self.file else self.function


@dataclass(frozen=True, slots=True)
class Difference:
    """What one process spends in a function beyond another, in seconds per unit of work."""

    place: Place
    seconds: float
    against: float


def parse(collapsed: str) -> list[Stack]:
    """Return the stacks of the threads that count; lines that are none are left out."""
    threads: dict[str, list[Stack]] = {}
    for line in collapsed.splitlines():
        matched = _LINE.fullmatch(line)
        if matched:
            thread, *frames = matched["stack"].split(";")
            named = _THREAD.fullmatch(thread)
            name = (named["name"] if named else "") or "thread"
            threads.setdefault(thread, []).append(Stack(name, tuple(frames), int(matched["count"])))
    pools: dict[str, list[list[Stack]]] = {}
    for stacks in threads.values():
        if _counts(stacks):
            pools.setdefault(_NUMBER.sub("-*", stacks[0].thread), []).append(stacks)
    return [stack for name, pool in pools.items() for stack in _mean(name, pool)]


def _mean(name: str, pool: list[list[Stack]]) -> list[Stack]:
    """Return the stacks of a pool of threads as those of one."""
    if len(pool) == 1:
        return pool[0]
    summed: Counter[tuple[str, ...]] = Counter()
    for stacks in pool:
        for stack in stacks:
            summed[stack.frames] += int(stack.samples)
    return [Stack(f"{name} (mean of {len(pool)})", frames, n / len(pool)) for frames, n in summed.items()]


def _counts(thread: Sequence[Stack]) -> bool:
    """Tell whether a thread does anything of its own: the main thread always, machinery that stands idle never."""
    name = thread[0].thread
    if name == MAIN:
        return True
    if name in _HOUSEKEEPING:
        return False
    working = sum(stack.samples for stack in thread if stack.frames and not _idles(stack.frames[-1]))
    return working > 0.02 * sum(stack.samples for stack in thread)


def _idles(frame: str) -> bool:
    """Tell whether a thread other than the main one has nothing to do in this innermost frame."""
    return bool(_STANDING.search(frame) or _RESTS.match(frame))


def waits(stack: Stack) -> bool:
    """Tell whether the process waits for Ray in this stack, for a call or a result."""
    return bool(stack.frames) and bool(_WAITS.match(stack.frames[-1]))


def rests(stack: Stack) -> bool:
    """Tell whether the process waits for Ray in this stack, or a thread of it has nothing to do."""
    return waits(stack) or bool(stack.frames and _RESTS.match(stack.frames[-1]))


def place(frame: str) -> Place:
    """Return the function and file of a frame such as `step (envs/simulated.py:88)`."""
    matched = _POSITION.match(frame)
    return Place(matched["function"], matched["file"]) if matched else Place(frame, "")


def samples_of(stacks: Sequence[Stack]) -> float:
    """Return the samples that are the whole of the wall time: those of the thread that has most."""
    threads: dict[str, float] = {}
    for stack in stacks:
        threads[stack.thread] = threads.get(stack.thread, 0.0) + stack.samples
    return max(threads.values(), default=0.0)


def own(stacks: Sequence[Stack]) -> dict[Place, float]:
    """Return the share of the wall time that is spent in each function itself, largest first."""
    whole = samples_of(stacks) or 1.0
    counted: dict[Place, float] = {}
    for stack in stacks:
        if stack.frames:
            found = place(stack.frames[-1])
            counted[found] = counted.get(found, 0.0) + stack.samples
    return {found: counted[found] / whole for found in sorted(counted, key=lambda item: -counted[item])}


def working(stacks: Sequence[Stack]) -> dict[Place, float]:
    """Return the same without the time in which the process waits or rests; the shares are still of all its time."""
    whole = samples_of(stacks) or 1.0
    busy = [stack for stack in stacks if not rests(stack)]
    return {found: share * samples_of(busy) / whole for found, share in own(busy).items()}


def differences(
    slow: Sequence[Stack], usual: Sequence[Stack], slow_per_second: float, usual_per_second: float
) -> list[Difference]:
    """Compare two processes that do the same work at different speed, by the time a unit of work takes.

    Args:
        slow: The stacks of the one in question.
        usual: Those of the one it is compared with.
        slow_per_second: Its units of work a second, such as environment steps.
        usual_per_second: The other's.

    Returns:
        The functions in which the slow one itself spends more, the largest difference first; time in which it waits for
        Ray is left out, and so are differences that are small beside the largest.
    """
    if slow_per_second <= 0 or usual_per_second <= 0:
        return []
    mine, other = working(slow), working(usual)
    found = [
        Difference(where, mine.get(where, 0.0) / slow_per_second, other.get(where, 0.0) / usual_per_second)
        for where in mine
    ]
    found = sorted((d for d in found if d.seconds > d.against), key=lambda d: d.against - d.seconds)
    return [d for d in found if d.seconds - d.against >= WORTH_RATIO * (found[0].seconds - found[0].against)]


@dataclass(slots=True)
class Node:
    """A frame of a flame graph: its samples, and the frames it called."""

    frame: str
    count: float
    inner: "dict[str, Node]"


def tree(stacks: Sequence[Stack]) -> Node:
    """Return the stacks as a tree; the first level is the threads, the main one first."""
    root = Node("all", 0, {})
    for stack in sorted(stacks, key=lambda s: s.thread != MAIN):
        root.count += stack.samples
        at = root
        for frame in (stack.thread, *(str(place(frame)) for frame in stack.frames)):
            at = at.inner.setdefault(frame, Node(frame, 0, {}))
            at.count += stack.samples
    return root


def standing(dump: str) -> list[tuple[str, list[str]]]:
    """Return where a process stands, from what `py-spy dump` prints: threads with their frames, the innermost first.

    Only threads that are in the middle of something; those that stand in the same place are named together, and the
    frames end where Ray or Python called. The main thread comes first.
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
        idle = not frames or name in _HOUSEKEEPING or (_WAITS.match(frames[0]) if name == MAIN else _idles(frames[0]))
        if not idle:
            outer = next((i for i, frame in enumerate(frames) if i and _OUTER.search(frame)), len(frames))
            places.setdefault(tuple(frames[:outer]), []).append(name)
    return [(_together(names), list(frames)) for frames, names in places.items()]


def _together(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")

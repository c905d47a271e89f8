"""Stacks as data: which frames belong to the user's code, and a one-line summary of where a thread is.

    >>> here = [Frame("main", "/home/me/train.py", 10, "step"), Frame("Env.step", "/home/me/my_env.py", 88, "recv")]
    >>> where(here)
    'Env.step → recv (my_env.py:88)'

Frames come from the process itself (`sys._current_frames`) or from a dump of faulthandler. Files are classified by
their path alone, so a reader in another virtual environment classifies them alike.
"""

import itertools
import linecache
import re
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from types import CodeType, CoroutineType, FrameType
from typing import Any, Final, NamedTuple

MOST_FRAMES: Final = 25
MOST_THREADS: Final = 8
_LONGEST_NAME: Final = 120
_LIBRARY: Final = re.compile(
    r"^<|/(?:site|dist)-packages/|/lib(?:64)?/python\d|/lib/python/|/raymon/(?:monitor|rllib)/"
    r"|/raymon/envs/threaded\.py$"
)
"""Files that are not the user's own: the standard library, installed packages, generated code, raymon's recording."""
_MACHINERY: Final = re.compile(
    r"^<|/(?:site|dist)-packages/ray/(?!rllib/)|/ray/_private/|/lib(?:64)?/python\d[^/]*/(?!(?:site|dist)-packages/)|/raymon/monitor/"
    r"|/raymon/envs/threaded\.py$"
)
"""Files of Python, Ray and raymon's recording; a thread without any other frame is idle."""
_POOL: Final = re.compile(r"/concurrent/futures/|/raymon/envs/threaded\.py$")
"""Files of threads that work for another thread, and of the functions in which that one waits for them."""
_CALL: Final = re.compile(r"([A-Za-z_]\w*)\s*\((?:[^()]|\([^()]*\))*\)?\s*$")
_RAISE: Final = re.compile(r"(?:^|:)\s*raise\b")
_DUMPED_THREAD: Final = re.compile(r"^(?:Current thread|Thread) (0x[0-9a-f]+)")
_DUMPED_FRAME: Final = re.compile(r'^\s+File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.+)$')
_OWN_THREADS: Final = "raymon-"
_WRAPPERS: Final = frozenset({"", "wrapper", "wrapped", "auto_init_wrapper", "_resume_span", "inner"})


class Frame(NamedTuple):
    """One frame: function with its class where known, file, line, and the function that the line calls."""

    function: str
    file: str
    line: int
    calls: str = ""


class Stack(NamedTuple):
    """A thread's or task's frames, the outermost first."""

    name: str
    frames: tuple[Frame, ...]


def is_users(file: str) -> bool:
    """Return whether a file is the user's own code, not Python's, an installed package's or raymon's."""
    return not _LIBRARY.search(file)


def is_machinery(file: str) -> bool:
    """Return whether a file is Python's, Ray's or of raymon's recording: a thread with no other frame is idle."""
    return bool(_MACHINERY.search(file))


def where(frames: Sequence[Frame]) -> str:
    """Return the innermost frame of the user's own code, else of a library, with the function it calls.

    Empty if every frame is Ray's, Python's or raymon's recording: such a thread is idle.
    """
    for accepts in (is_users, lambda file: not _MACHINERY.search(file)):
        for index in reversed(range(len(frames))):
            frame = frames[index]
            if accepts(frame.file):
                calls = frame.calls or next((name for each in frames[index + 1 :] if (name := _inner_name(each))), "")
                arrow = f" → {calls}" if calls else ""
                return f"{frame.function}{arrow} ({PurePath(frame.file).name}:{frame.line})"
    return ""


def first_place(stacks: Iterable[Stack]) -> str:
    """Return `where` of the first stack that is not idle.

    Stacks with a frame of the user's own code come first. Where the first thread waits for a pool of threads, the
    pool's first thread that is not idle tells more.
    """
    places = [(stack, place) for stack in stacks if (place := where(stack.frames))]
    own = [(stack, place) for stack, place in places if any(is_users(frame.file) for frame in stack.frames)]
    first, place = next(iter(own or places), (Stack("", ()), ""))
    if any(_POOL.search(frame.file) for frame in first.frames):
        place = next((inside for stack, inside in places if stack is not first and _POOL.search(_base(stack))), place)
    return place


def _base(stack: Stack) -> str:
    """Return the file of a stack's outermost frame that is not of the module threading."""
    return next((frame.file for frame in stack.frames if not frame.file.endswith("/threading.py")), "")


def current_stacks() -> list[Stack]:
    """Return the stacks of threads and suspended asyncio tasks, the main thread first, without raymon's."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    threads = sorted(sys._current_frames().items(), key=lambda item: item[0] != main)
    stacks = []
    for ident, innermost in threads:
        name = names.get(ident, f"thread {ident}")
        if not name.startswith(_OWN_THREADS):
            tasks = _suspended_tasks(innermost)
            if not (
                tasks and innermost.f_code.co_filename.endswith("selectors.py")
            ):  # otherwise the event loop is idle
                stacks.append(Stack(name, _outer_frames(innermost)))
            stacks += tasks
    return stacks[:MOST_THREADS]


def frames_of_error(error: BaseException) -> tuple[Frame, ...]:
    """Return the innermost frames of an exception's traceback, the outermost first."""
    trace, frames = error.__traceback__, []
    while trace is not None:
        frames.append(_frame(trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return tuple(frames[-MOST_FRAMES:])


def parse_dump(text: str) -> list[Stack]:
    """Return the stacks in a dump of faulthandler, in its order, the outermost frame first."""
    stacks: list[tuple[str, list[Frame]]] = []
    for line in text.splitlines():
        if thread := _DUMPED_THREAD.match(line):
            stacks.append((thread[1], []))
        elif stacks and (frame := _DUMPED_FRAME.match(line)):
            stacks[-1][1].append(Frame(frame["function"], frame["file"], int(frame["line"])))
    return [Stack(name, tuple(reversed(frames))) for name, frames in stacks]


def _outer_frames(innermost: FrameType) -> tuple[Frame, ...]:
    frames: list[Frame] = []
    inner, frame = "", innermost
    while len(frames) < MOST_FRAMES:
        frames.append(_frame(frame, frame.f_lineno, inner))
        if frame.f_back is None:
            break
        inner, frame = frame.f_code.co_name, frame.f_back
    return tuple(reversed(frames))


def _frame(frame: FrameType, line: int | None, inner: str = "") -> Frame:
    code = frame.f_code
    number = line or code.co_firstlineno
    calls = _called_in(frame, number, inner) if not _MACHINERY.search(code.co_filename) else ""
    name = getattr(code, "co_qualname", code.co_name).replace("<locals>.", "")  # co_qualname: Python 3.11 and newer
    return Frame(name[:_LONGEST_NAME], code.co_filename, number, calls)


def _called_in(frame: FrameType, line: int, inner: str) -> str:
    """Return the function that a line of source calls: that of the inner frame, else the one that the bytecode is at.

    A C function has no frame of its own, and Ray's functions are wrapped in others. A line that raises
    calls nothing. Where the bytecode does not tell (Python 3.10), it is the last one named in the line.
    """
    source = linecache.getline(frame.f_code.co_filename, line)
    text = source.split("#")[0].rstrip(" :\n")
    if inner and f"{inner}(" in text:
        return inner
    call = None if _RAISE.search(text) else _CALL.search(_running(frame.f_code, frame.f_lasti, line, source))
    call = call or (None if _RAISE.search(text) else _CALL.search(text))
    return call[1] if call else "" if inner in _WRAPPERS else inner


def _running(code: CodeType, at: int, line: int, source: str) -> str:
    """Return the part of a line of source that an instruction belongs to; empty if not known."""
    if not hasattr(code, "co_positions"):  # Python 3.10
        return ""
    first, last, left, right = next(itertools.islice(code.co_positions(), max(0, at) // 2, None), (None,) * 4)
    if not first == last == line or left is None or right is None:
        return ""
    return source.encode()[left:right].decode(errors="replace")


def _inner_name(frame: Frame) -> str:
    name = frame.function.rpartition(".")[2]
    return "" if name in _WRAPPERS else name


def _suspended_tasks(innermost: FrameType) -> list[Stack]:
    """Return the stacks of the tasks of a thread's event loop; what they await is in no thread's frames."""
    frame: FrameType | None = innermost
    while frame is not None and frame.f_code.co_name != "run_forever":
        frame = frame.f_back
    asyncio: Any = sys.modules.get("asyncio")
    if frame is None or asyncio is None:
        return []
    try:
        tasks = list(asyncio.all_tasks(frame.f_locals["self"]))
    except (KeyError, RuntimeError, TypeError):  # another kind of event loop, or one that changes right now
        return []
    stacks = [Stack(f"task {task.get_name()}", _awaiting_frames(task.get_coro())) for task in tasks]
    return [stack for stack in stacks if where(stack.frames)]


def _awaiting_frames(coroutine: object) -> tuple[Frame, ...]:
    frames: list[Frame] = []
    while isinstance(coroutine, CoroutineType) and len(frames) < MOST_FRAMES:
        if coroutine.cr_frame is not None:
            frames.append(_frame(coroutine.cr_frame, coroutine.cr_frame.f_lineno))
        coroutine = coroutine.cr_await
    return tuple(frames)

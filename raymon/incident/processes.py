"""What each process of a run is doing, from its files and, on this machine, from its stacks and the kernel.

A process that makes no progress writes its stacks (`raymon.live.evidence_files`). One that was stopped cannot, so the
stacks of the processes on this machine are read from outside too, with py-spy. Nothing pauses a process.
"""

import contextlib
import json
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from raymon.live.evidence_files import EvidenceFiles, Process
from raymon.monitor.frames import Frame, Stack, first_place, is_machinery
from raymon.monitor.process_evidence import ProcessEvidence
from raymon.profile.node import py_spy
from raymon.profile.stacks import MAIN, current_frames

MOST_PROCESSES: Final = 64
DUMP_SECONDS: Final = 3.0
_PARALLEL: Final = 8
_LONGEST_COMMAND: Final = 80
_STATES: Final = {"T": "stopped", "t": "stopped", "D": "disk", "Z": "gone", "X": "gone"}
"""Letters of the kernel for the state of a process, as far as they explain a hang."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What one process is doing.

    Attributes:
        where: Innermost frame of the user's own code, as `Env.step → recv (my_env.py:88)`; empty if unknown.
        state: `python` without progress, Python runs; `native` while native code holds the GIL; `stopped` by a signal;
            `disk` while the kernel waits for a device; `gone` if there is no such process; `none` otherwise.
        silent_since: Wall-clock second since when it makes no progress; None if it does, or if that is unknown.
        waits_for: Processes of the run or other actors whose results it waits for.
        frames: Frames of its main thread, innermost first.
        child: Command and process id of a child process, empty without one.
        idle: Whether its stacks were read and every thread waits for work.
        losses: Of a driver, the workers that it lost, as `ProcessEvidence.losses`.
        failure: Its last failed rollout, as `ProcessEvidence.failure`.
    """

    where: str = ""
    state: str = "none"
    silent_since: float | None = None
    waits_for: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    child: str = ""
    idle: bool = False
    losses: tuple[Mapping[str, Any], ...] = ()
    failure: Mapping[str, Any] | None = None

    @property
    def stuck(self) -> bool:
        """Return whether it makes no progress and does not merely wait for its next call."""
        return self.state in ("stopped", "gone", "disk") or (self.state != "none" and bool(self.where))


@dataclass(frozen=True, slots=True)
class Local:
    """What this machine says about one of its processes."""

    state: str = "none"
    stacks: tuple[Stack, ...] = ()
    frames: tuple[str, ...] = ()
    child: str = ""
    readable: bool = False


def standings(
    processes: Mapping[str, Process],
    here: Collection[str],
    files: EvidenceFiles,
    seconds: float = 4.0,
    request: bool = False,
) -> dict[str, Standing]:
    """Return where processes stand.

    Args:
        processes: Name, such as `driver` or `worker 3`, to node address and process id; the first `MOST_PROCESSES` are
            looked at.
        here: Addresses of the nodes on this machine.
        files: Reads what the processes left behind.
        seconds: How long that may take.
        request: Whether to request the stacks of processes on other nodes that are well, which takes a second more.
    """
    chosen = dict(list(processes.items())[:MOST_PROCESSES])
    local = {name: pid for name, (node, pid) in chosen.items() if node in here}
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="raymon-standing") as pool:
        evidence = pool.submit(files.read, chosen.values(), seconds, request)
        seen = dict(zip(local, pool.map(look, local.values()), strict=True))
        left = evidence.result()
    return {name: _standing(left.get(process), seen.get(name)) for name, process in chosen.items()}


def _standing(evidence: ProcessEvidence | None, local: Local | None) -> Standing:
    outside = local or Local()
    silent = evidence is not None and evidence.state != "none"
    read = evidence is not None and (silent or evidence.requested)
    state = outside.state
    if state in ("none", "disk") and evidence is not None and silent:
        state = evidence.state if state == "none" else state
    where = evidence.where if evidence is not None and read else ""
    if not where or state in ("stopped", "gone"):
        where = first_place(outside.stacks) or where
    frames = outside.frames or _frames(evidence.stacks if evidence is not None and read else ())
    since = evidence.silent_since if evidence is not None else None
    waits_for = tuple(map(_name, evidence.waits_for)) if evidence is not None and silent else ()
    idle = (outside.readable or (evidence is not None and evidence.requested)) and not frames
    losses, failure = (evidence.losses, evidence.failure) if evidence is not None else ((), None)
    return Standing(where, state, since, waits_for, frames, outside.child, idle, losses, failure)


def _name(awaited: str) -> str:
    """Return the name of an awaited process: workers have small numbers, other actors long ids."""
    return f"worker {awaited}" if len(awaited) < 16 else f"actor {awaited}"


def _frames(stacks: Iterable[Stack]) -> tuple[str, ...]:
    first = next(iter(stacks), None)
    if first is None:
        return ()
    return tuple(f"{frame.function} ({Path(frame.file).name}:{frame.line})" for frame in reversed(first.frames))


def look(pid: int) -> Local:
    """Return what this machine says about a process; never raises."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return Local("gone" if Path("/proc/self/stat").exists() else "none")
    except (OSError, IndexError):
        letter = "S"
    threads = dumped(pid)
    stacks = tuple(Stack(name, tuple(reversed(frames))) for name, frames in threads)
    return Local(_STATES.get(letter, "none"), stacks, tuple(_busiest(threads)), _child(pid), bool(threads))


def _busiest(threads: Sequence[tuple[str, list[Frame]]]) -> list[str]:
    """Return the frames, innermost first, of the main thread or of the first one that is not idle; empty if all are.

    Frames of Python, Ray and raymon's recording are left out below the first frame of other code.
    """
    busy = {name.split(" and ")[0] for name, _ in current_frames(_text(threads))}
    for name, frames in threads:
        if name in busy:
            inner = next((number for number, frame in enumerate(frames) if not is_machinery(frame.file)), len(frames))
            shown = [frame for number, frame in enumerate(frames) if number <= inner or not is_machinery(frame.file)]
            return [f"{frame.function} ({_short(frame.file)}:{frame.line})" for frame in shown]
    return []


def dumped(pid: int) -> list[tuple[str, list[Frame]]]:
    """Return name and frames, innermost first, of a process's threads, the main one first; empty if unreadable."""
    program = py_spy()
    if program is None:
        return []
    command = [program, "dump", "--json", "--full-filenames", "--nonblocking", "--pid", str(pid)]
    try:
        reply = subprocess.run(command, capture_output=True, timeout=DUMP_SECONDS, check=True).stdout
        threads = [(str(thread["thread_name"] or "thread"), _read(thread["frames"])) for thread in json.loads(reply)]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return []
    return sorted(threads, key=lambda thread: thread[0] != MAIN)


def _read(frames: Any) -> list[Frame]:  # noqa: ANN401  # any JSON; what is none raises
    return [Frame(str(frame["name"]), str(frame["filename"]), int(frame["line"] or 0)) for frame in frames]


def _text(threads: Iterable[tuple[str, list[Frame]]]) -> str:
    """Return threads in the format of `py-spy dump`."""
    lines = []
    for number, (name, frames) in enumerate(threads):
        lines.append(f'Thread {number} (idle): "{name}"')
        lines += [f"    {frame.function} ({_short(frame.file)}:{frame.line})" for frame in frames]
    return "\n".join(lines)


def _short(file: str) -> str:
    """Return a path from the package on, as py-spy shortens it."""
    for folder in ("/site-packages/", "/dist-packages/"):
        if folder in file:
            return file.rpartition(folder)[2]
    if "/lib/python3" in file:
        return file.rpartition("/lib/python3")[2].partition("/")[2]
    return Path(file).name


def _child(pid: int) -> str:
    """Return the command of the youngest child process, with its process id; empty without one."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError, ValueError):
            children += map(int, (task / "children").read_text().split())
    for child in sorted(children, reverse=True):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{child}/cmdline").read_bytes().decode(errors="replace").split("\0")
            if command := " ".join(words).strip():
                return f"{command[:_LONGEST_COMMAND]} (pid {child})"
    return ""

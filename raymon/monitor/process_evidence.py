"""Read the evidence a process left in the Ray session's folder: where it hangs, what it waits for, failures.

    >>> from pathlib import Path
    >>> from raymon.monitor import process_evidence
    >>> process_evidence.read(Path("/tmp/ray/session_latest"), pid=0) is None  # such a process wrote nothing
    True

Runs on the same node; `raymon.live.stacks` reads those of other nodes too. The files are trusted no more than any
other input.
"""

import json
import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from raymon.monitor.frames import Frame, Stack, first_place, parse_dump
from raymon.monitor.native_stacks import NATIVE_SECONDS, RESUMED, dump_name
from raymon.monitor.private_files import private_folder, read_file
from raymon.monitor.standstill import LOGS, file_name

MOST_BYTES: Final = 64_000
MOST_DUMP_BYTES: Final = 512_000
State = Literal["python", "native", "none"]


@dataclass(frozen=True)
class ProcessEvidence:
    """The evidence of one process.

    Attributes:
        pid: Process id on its node.
        state: `python` while it makes no progress and its Python threads run; `native` while native code holds the
            GIL, so that nothing else of the process runs; `none` while all is well.
        where: Innermost frame of the user's own code, as `Env.step → recv (my_env.py:88)`; empty if unknown.
        silent_since: Wall-clock second of the last progress of any of its monitors; None while all is well.
        written: Wall-clock second of the newest evidence.
        stacks: Stacks of its threads and asyncio tasks that are not idle.
        requested: Whether a viewer has just requested the stacks: they are there although all is well.
        waits_for: Workers (or actor ids of other actors) whose results it waits for.
        failure: The last failed rollout: `at`, `exception`, `message`, `frames`; None if none failed.
        end: The uncaught exception that ended a driver: `at`, `exception`, `message`, `frames`, `causes`; of one that
            another process raised also its `pid` and `remote_frames`. Without an exception, its last `state`. None if
            it has not ended, or was killed.
        losses: In a driver, the workers it lost, oldest first: `at`, `worker`, `reason`, `exception`, `message`,
            `exit_type`, `exit_detail`, `exit_code`, `signal`, `frames`.
    """

    pid: int
    state: State
    where: str
    silent_since: float | None
    written: float
    stacks: tuple[Stack, ...] = ()
    waits_for: tuple[str, ...] = ()
    failure: dict[str, Any] | None = None
    losses: tuple[dict[str, Any], ...] = field(default=())
    end: dict[str, Any] | None = None
    requested: bool = False


def read(session: Path, pid: int) -> ProcessEvidence | None:
    """Return the evidence of a process of this node; None if there is none that can be trusted."""
    try:
        with private_folder(session / LOGS) as folder:
            own, dump = _content(folder, file_name(pid), MOST_BYTES), _content(folder, dump_name(pid), MOST_DUMP_BYTES)
            written = os.stat(dump_name(pid), dir_fd=folder, follow_symlinks=False).st_mtime if dump else 0.0
    except OSError:
        return None
    return parse(pid, own, dump, written)


def parse(pid: int, content: bytes, dump: bytes, dumped_at: float) -> ProcessEvidence | None:
    """Return the evidence in the two files of a process; None if there is none.

    Args:
        pid: Process id on its node.
        content: The file `process-<pid>.json`; empty if it does not exist.
        dump: The file `native-<pid>.txt`; empty if it does not exist.
        dumped_at: Wall-clock second at which `dump` was written.
    """
    own, native = _own(pid, content), _native(pid, dump, dumped_at)
    if native is None or (own is not None and own.written > native.written):
        return own
    return native if own is None else replace(native, failure=own.failure, losses=own.losses)


def _content(folder: int, name: str, most_bytes: int) -> bytes:
    try:
        return read_file(folder, name, most_bytes)
    except OSError:
        return b""


def _own(pid: int, text: bytes) -> ProcessEvidence | None:
    try:
        content = json.loads(text)
        monitors = [dict(entry) for entry in content["monitors"]]
        since = [float(entry["silent_since"]) for entry in monitors if entry["silent_since"] is not None]
        stacks = tuple(_stack(value) for value in content["stacks"])
        waits_for = tuple(str(each["worker"] or each["actor"]) for each in content["waits_for"])
        failures = [dict(entry["failure"]) for entry in monitors if entry.get("failure")]
        losses = tuple(dict(loss) for entry in monitors for loss in entry.get("losses", ()))
        written = float(content["written"])
        if not all(map(math.isfinite, (written, *since))):
            return None
        return ProcessEvidence(
            pid,
            "python" if since else "none",
            str(content["where"]),
            min(since, default=None),
            written,
            stacks,
            waits_for,
            failures[-1] if failures else None,
            losses,
            dict(content["end"]) if content.get("end") else None,
            content.get("requested") is True,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _native(pid: int, content: bytes, written: float) -> ProcessEvidence | None:
    """Return the dump of a process whose native code still holds the GIL; None if the process runs."""
    header, _, dumps = content.decode(errors="replace").partition("\n")
    last = dumps.rpartition("Timeout (")[2]
    if not last or RESUMED in last:
        return None
    try:
        main = int(str(json.loads(header)["main"]), 16)
        dumped = parse_dump(last)
        stacks = [stack._replace(name="MainThread") for stack in dumped if int(stack.name, 16) == main]
        stacks += [stack for stack in dumped if int(stack.name, 16) != main]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return ProcessEvidence(pid, "native", first_place(stacks), written - NATIVE_SECONDS, written, tuple(stacks))


def _stack(value: Any) -> Stack:  # noqa: ANN401  # any JSON; invalid content raises
    name, frames = value
    return Stack(str(name), tuple(Frame(str(f), str(file), int(line), str(calls)) for f, file, line, calls in frames))

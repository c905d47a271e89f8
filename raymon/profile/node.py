"""The part of a profile that runs on a node: ask its processes to note their phases, sample their stacks, gather both.

Talks to the processes through the folder of the Ray session (`raymon.monitor.capture` answers there) and to py-spy,
which comes with Ray. Everything it makes on the node is removed again.
"""

import contextlib
import json
import math
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from raymon.monitor.capture import FOLDER, REQUEST

LEAD_SECONDS: Final = 1.6
"""Until every process has seen the request: they look once a second."""
PATIENCE_SECONDS: Final = 4.0
DUMP_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Gathered:
    """What one node gave.

    Attributes:
        traces: What each monitor noted, as `raymon.monitor.capture` hands it in.
        stacks: Process id to its sampled stacks, in the collapsed format: `thread;frame;frame count` a line.
        dumps: Process id to its threads at the end, as `py-spy dump` prints them.
        problems: Process id to why there are no stacks of it, and what to do.
    """

    traces: list[dict[str, Any]] = field(default_factory=list)
    stacks: dict[int, str] = field(default_factory=dict)
    dumps: dict[int, str] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)


def gather(session: Path, pids: Collection[int], sampled: Collection[int], seconds: float, rate: int) -> Gathered:
    """Profile processes of this node.

    Args:
        session: The folder of the Ray session on this node.
        pids: The processes that are expected to note their phases.
        sampled: Those of them whose stacks are sampled.
        seconds: For how long.
        rate: Samples a second.

    Raises:
        OSError: When the folder of the session cannot be written to.
    """
    with _request(session, LEAD_SECONDS + seconds) as folder:
        time.sleep(LEAD_SECONDS)
        stacks, problems = _sample(sampled, seconds, rate)
        dumps = {pid: told for pid in sampled if pid not in problems and (told := _dump(pid))}
        return Gathered(_await_traces(folder, set(pids)), stacks, dumps, problems)


@contextlib.contextmanager
def _request(session: Path, seconds: float) -> Iterator[Path]:
    """Let a request stand in the session's folder; yield the folder its answers come into."""
    name = secrets.token_hex(8)
    parent = session / FOLDER
    folder = parent / name
    folder.mkdir(parents=True)
    asked = parent / REQUEST
    try:
        partly = folder / "request.part"
        partly.write_text(json.dumps({"id": name, "until": time.time() + seconds, "by": os.getpid()}))
        partly.replace(asked)
        yield folder
    finally:
        with contextlib.suppress(OSError, ValueError, KeyError):
            if json.loads(asked.read_text())["id"] == name:
                asked.unlink()
        shutil.rmtree(folder, ignore_errors=True)


def _await_traces(folder: Path, pids: set[int]) -> list[dict[str, Any]]:
    """Return what the processes handed in, once all have or have had time to."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        answered = {int(path.stem.split("-")[0]) for path in folder.glob("*-*.json")}
        if pids <= answered:
            break
        time.sleep(0.1)
    traces = []
    for path in sorted(folder.glob("*-*.json")):
        with contextlib.suppress(OSError, ValueError):
            traces.append(json.loads(path.read_text()))
    return traces


def _sample(pids: Collection[int], seconds: float, rate: int) -> tuple[dict[int, str], dict[int, str]]:
    """Sample the stacks of processes, all at once; return stacks and problems by process id."""
    program = py_spy()
    if program is None:
        missing = "py-spy is not installed; it comes with `pip install 'ray[default]'`, or `pip install py-spy`"
        return {}, dict.fromkeys(pids, missing)
    stacks: dict[int, str] = {}
    problems: dict[int, str] = {}
    # Pausing a process for each sample costs it a quarter of its speed, and one that is stopped cannot be paused; not
    # pausing it costs one sample in a hundred, which py-spy finds torn and leaves out.
    how = (
        "--nonblocking",
        "--idle",
        "--threads",
        "--format",
        "raw",
        "--rate",
        str(rate),
        "--duration",
        str(math.ceil(seconds)),
    )
    with tempfile.TemporaryDirectory(prefix="raymon-profile-") as folder:
        running = {
            pid: subprocess.Popen(
                [program, "record", *how, "--output", f"{folder}/{pid}", "--pid", str(pid)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for pid in pids
        }
        for pid, child in running.items():
            try:
                _, said = child.communicate(timeout=seconds + DUMP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                _, said = child.communicate()
            told = Path(folder, str(pid))
            if told.exists():
                stacks[pid] = told.read_text(errors="replace")
            else:
                problems[pid] = _why(said)
    return stacks, problems


def _dump(pid: int) -> str:
    """Return the stacks of a process's threads now; empty when they cannot be had."""
    program = py_spy()
    if program is None:
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            [program, "dump", "--nonblocking", "--pid", str(pid)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DUMP_SECONDS,
            check=True,
        ).stdout
    return ""


def py_spy() -> str | None:
    """Return the py-spy to run: the one beside this Python, else the one on PATH."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


def _why(said: str) -> str:
    """Return in one sentence why py-spy gave nothing, and what to do."""
    if "ermission" in said:
        return (
            "this user may not read the process's memory; run `sudo sysctl kernel.yama.ptrace_scope=0` (it lasts until "
            "the next boot), or raymon as root; in a container allow SYS_PTRACE"
        )
    if "o such process" in said or "No such file" in said:
        return "the process has ended"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith("Error")), lines[0] if lines else "nothing")
    return f"py-spy said: {told[:300]}; the process may have ended"

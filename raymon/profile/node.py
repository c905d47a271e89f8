"""The part of a profile that runs on a node: request phases from its processes, sample their stacks, collect both.

Requests and answers are files in the folder of the Ray session (`raymon.monitor.capture` answers). Stacks are py-spy's,
which comes with Ray. Every file is removed at the end.
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

from raymon.monitor.capture import REQUEST
from raymon.monitor.private_files import FOLDER, private_folder, read_file, write_file

LEAD_SECONDS: Final = 1.6
"""Time until every process has seen the request; each looks once a second."""
PATIENCE_SECONDS: Final = 4.0
DUMP_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Gathered:
    """The results of one node.

    Attributes:
        traces: The phases of each monitor, as `raymon.monitor.capture` writes them.
        stacks: Process id -> sampled stacks in the collapsed format, one `thread;frame;frame count` per line.
        dumps: Process id -> output of `py-spy dump` at the end.
        problems: Process id -> why its stacks are missing, and what to do.
    """

    traces: list[dict[str, Any]] = field(default_factory=list)
    stacks: dict[int, str] = field(default_factory=dict)
    dumps: dict[int, str] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)


def gather(session: Path, pids: Collection[int], sampled: Collection[int], seconds: float, rate: int) -> Gathered:
    """Profile processes of this node.

    Args:
        session: The folder of the Ray session on this node.
        pids: The processes that are expected to record their phases.
        sampled: The processes whose stacks are sampled.
        seconds: Duration of the profile.
        rate: Samples per second.

    Raises:
        OSError: When the folder of the session cannot be written to.
    """
    with _request(session, LEAD_SECONDS + seconds) as folder:
        time.sleep(LEAD_SECONDS)
        stacks, problems = _sample(sampled, seconds, rate)
        dumps = {pid: dump for pid in sampled if pid not in problems and (dump := dump_stacks(pid))}
        return Gathered(_await_traces(folder, set(pids)), stacks, dumps, problems)


@contextlib.contextmanager
def _request(session: Path, seconds: float) -> Iterator[Path]:
    """Keep a request in the session's folder; yield the folder for the answers."""
    name = secrets.token_hex(8)
    with private_folder(session, create=True) as parent:
        os.mkdir(name, 0o700, dir_fd=parent)
        try:
            request = {"id": name, "until": time.time() + seconds, "by": os.getpid()}
            write_file(parent, REQUEST, json.dumps(request).encode())
            yield session / FOLDER / name
        finally:
            with contextlib.suppress(OSError, ValueError, KeyError):
                if json.loads(read_file(parent, REQUEST, 4096))["id"] == name:
                    os.unlink(REQUEST, dir_fd=parent)
            shutil.rmtree(session / FOLDER / name, ignore_errors=True)


def _await_traces(folder: Path, pids: set[int]) -> list[dict[str, Any]]:
    """Return the answers of the processes; wait for all of them, at most `PATIENCE_SECONDS`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        answered = {path.stem.split("-")[0] for path in folder.glob("*-*.json")}
        if {str(pid) for pid in pids} <= answered:
            break
        time.sleep(0.1)
    traces = []
    for path in sorted(folder.glob("*-*.json")):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            trace = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(trace, dict):
                traces.append(trace)
    return traces


def _sample(pids: Collection[int], seconds: float, rate: int) -> tuple[dict[int, str], dict[int, str]]:
    """Sample the stacks of all processes at once; return (stacks, problems) by process id."""
    program = py_spy()
    if program is None:
        missing = "py-spy is not installed; it comes with `pip install 'ray[default]'`, or `pip install py-spy`"
        return {}, dict.fromkeys(pids, missing)
    stacks: dict[int, str] = {}
    problems: dict[int, str] = {}
    # Pausing a process for each sample costs a quarter of its speed, and a stopped process cannot be paused. Without
    # pausing, py-spy drops about one inconsistent sample in a hundred.
    options = f"--nonblocking --idle --threads --format raw --rate {rate} --duration {math.ceil(seconds)}".split()
    with tempfile.TemporaryDirectory(prefix="raymon-profile-") as folder:
        running = {
            pid: subprocess.Popen(
                [program, "record", *options, "--output", f"{folder}/{pid}", "--pid", str(pid)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for pid in pids
        }
        for pid, child in running.items():
            try:
                _, stderr = child.communicate(timeout=seconds + DUMP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                _, stderr = child.communicate()
            output = Path(folder, str(pid))
            if output.exists():
                stacks[pid] = output.read_text(errors="replace")
            else:
                problems[pid] = _explain(stderr)
    return stacks, problems


def dump_stacks(pid: int, seconds: float = DUMP_SECONDS) -> str:
    """Return the current stacks of a process's threads, empty if py-spy cannot read them."""
    program = py_spy()
    if program is None:
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            [program, "dump", "--nonblocking", "--pid", str(pid)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=True,
        ).stdout
    return ""


def py_spy() -> str | None:
    """Return the path of py-spy: next to this Python, else on PATH."""
    sibling = Path(sys.executable).with_name("py-spy")
    return str(sibling) if sibling.exists() else shutil.which("py-spy")


def _explain(stderr: str) -> str:
    """Explain in one sentence why py-spy failed, and what to do."""
    if "ermission" in stderr:
        return (
            "this user may not read the process's memory; run `sudo sysctl kernel.yama.ptrace_scope=0` (it lasts until "
            "the next boot), or raymon as root; in a container allow SYS_PTRACE"
        )
    if "o such process" in stderr or "No such file" in stderr:
        return "the process has ended"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    message = next((line for line in lines if line.startswith("Error")), lines[0] if lines else "nothing")
    return f"py-spy failed: {message[:300]}; the process may have ended"

"""Child programs that outlive their parent: started detached, identified later by pid and start time, ended gently."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

USUAL_PLACES: Final = ("/usr/sbin", "/opt/homebrew/bin", "/usr/local/bin")
"""Where packages put daemons, which may be missing from PATH."""
STOP_SECONDS: Final = 30.0
"""How long a program gets to close its files after SIGTERM: Prometheus writes its head block, Grafana its database."""


def start_mark(pid: int) -> str:
    """Return what distinguishes a process from a later one of the same pid; empty when it is gone or a zombie."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            # the name in parentheses may hold spaces; state is field 3, the start in ticks since boot field 22
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in "ZX" else f"ticks {fields[19]}"
    listing = subprocess.run(
        ["ps", "-p", str(pid), "-o", "stat=,lstart="], capture_output=True, text=True, check=False, timeout=10
    ).stdout.strip()
    state, _, started = listing.partition(" ")
    return "" if not listing or state.startswith("Z") else f"started {started.strip()}"


def launch(command: list[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> int:
    """Start a program in a session of its own, its output appended to `log`; return its pid."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True, env=env, cwd=cwd
        )
    process.returncode = 0  # it is meant to outlive this object, which would warn otherwise
    return process.pid


def is_running(pid: int, mark: str) -> bool:
    """Return whether `pid` is still the process that `start_mark` described as `mark`."""
    reap(pid)
    return bool(mark) and start_mark(pid) == mark


def reap(pid: int) -> None:
    """Collect a child of ours that has ended, so that it does not stay as a zombie."""
    with contextlib.suppress(ChildProcessError, OSError):
        os.waitpid(pid, os.WNOHANG)


def stop(pid: int, mark: str, seconds: float = STOP_SECONDS) -> bool:
    """End a process if it is still the one we started: SIGTERM, and SIGKILL only after `seconds`.

    Returns:
        Whether it was running.
    """
    if not is_running(pid, mark):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while is_running(pid, mark):
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            deadline += seconds
        time.sleep(0.05)
    return True


def find_program(*names: str) -> str | None:
    """Return the first of these programs found on PATH or where packages put daemons, as an absolute path."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *USUAL_PLACES])
    for name in names:
        if program := shutil.which(name, path=path):
            return program
    return None


def tail(log: Path, lines: int = 5) -> str:
    """Return the last lines of a log, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""

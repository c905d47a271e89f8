"""Launch one part of the stack: choose its port, start its program, wait until it answers, record it."""

import contextlib
import shutil
import time
from pathlib import Path
from typing import Final

from raymon.cluster import ports
from raymon.cluster.http import get
from raymon.errors import UserError
from raymon.stack import process, state

READY_SECONDS: Final = 90.0
"""Time for a program to answer; Grafana's first start fills its database."""
_PORT_CONFLICT_SECONDS: Final = 0.2
"""If another program has the port and answers instead, ours has ended after this time."""


class StackError(UserError):
    """A part cannot be started or stopped."""

    exit_code = 1


def choose_port(wanted: int | None, before: state.Part | None, preferred: int) -> int:
    """Return a free port: the wanted one, else that of the earlier part, else the preferred or any other one.

    Raises:
        StackError: The wanted port is in use.
    """
    if wanted is None:
        return ports.choose_port(before.port if before and ports.is_free(before.port) else preferred)
    if not ports.is_free(wanted):
        raise StackError(
            f"port {wanted} is in use by another program; choose another, or leave the option out for any free one"
        )
    return wanted


def launch(
    name: str,
    command: list[str],
    directory: Path,
    port: int,
    known: state.StackState,
    ready: str,
    env: dict[str, str] | None = None,
    before: state.Part | None = None,
) -> str:
    """Start a program, record it as a part of the stack and wait until it answers; return its URL.

    Args:
        name: The part's name.
        command: The program and its arguments.
        directory: Folder of configuration, data and logs.
        port: The port of the loopback interface on which it listens.
        known: The state of the stack, which is updated and written.
        ready: The path that answers once the program is ready.
        env: Its environment; None for this process's own.
        before: The earlier part whose users it takes over.

    Raises:
        StackError: It ended at once or did not answer in time.
    """
    log = directory / f"{name}.log"
    _keep_short(log)
    pid = process.launch(command, log, env, cwd=directory)
    url = f"http://127.0.0.1:{port}"
    part = state.Part(name, pid, process.start_mark(pid), port, url, command)
    if before:
        part.users, part.stays = before.users, before.stays
    known.parts[name] = part
    try:
        part.join()
        state.write(directory, known)
        _await_answer(part, url + ready, log)
    except BaseException:  # stop it on Ctrl-C during its start, or if there is no room for its record
        process.stop(pid, part.mark)
        del known.parts[name]
        with contextlib.suppress(OSError):  # a record of an ended process does no harm
            state.write(directory, known)
        raise
    return url


def _await_answer(part: state.Part, url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while part.running:
        if get(url, timeout=2.0).ok:
            time.sleep(_PORT_CONFLICT_SECONDS)
            if part.running:
                return
        if time.monotonic() > deadline:
            raise StackError(f"it did not answer at {url} within {READY_SECONDS:g} s; see {log}")
        time.sleep(0.1)
    raise StackError(f"it ended at once; the end of {log}:\n{process.tail(log)}")


def _keep_short(log: Path, limit: int = 10_000_000) -> None:
    if log.exists() and log.stat().st_size > limit:
        shutil.move(log, log.with_suffix(".log.1"))

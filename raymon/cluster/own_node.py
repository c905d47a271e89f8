"""The Ray node that the driver runs on, and what is to be said and ended when it dies."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from raymon import ray_internals
from raymon.cluster import last_word
from raymon.errors import UserError

_END_SECONDS: Final = 5.0


class NodeDiedError(UserError):
    """The Ray node that the driver runs on has died."""

    exit_code = 1

    def __init__(self, advice: str) -> None:
        super().__init__(f"{last_word.NODE_DIED}. {advice}")


def driver_node_died() -> bool:
    """Return whether the node of this process has died, which Ray does not tell a driver."""
    import ray

    if raylet_died():
        return True
    own = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] == own and not node["Alive"] for node in ray.nodes())


def raylet_died() -> bool:
    """Return whether nothing listens at this node's raylet; False while that is not known."""
    address = ray_internals.raylet_socket()
    return address is not None and not last_word.listens(address)


def end_worker(pid: int) -> None:
    """Kill a process by a signal; where `/proc` shows that its id is another program's by now, do nothing."""
    processes = Path("/proc")
    with contextlib.suppress(OSError):
        if not (processes / "self").exists() or last_word.is_worker(processes / str(pid)):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def watched(owned: bool, advice: str) -> Iterator[None]:
    """Have another process say why this one is gone, if it ends without leaving the context.

    Ray ends a driver whose node has died, without a word, when it next puts something into the object store. Ray must
    be connected. Where the node has died when the context is left, its workers are ended: idle ones can outlive it by
    minutes.

    Args:
        owned: Whether the session is this process's own, so that its workers may be ended.
        advice: What to do after such an end.

    Raises:
        NodeDiedError: The node has died, in place of the exception that it caused.
    """
    address, session = ray_internals.raylet_socket() or "", ray_internals.session_folder()
    folder = str(session) if owned and session is not None else ""
    watcher = _start([sys.executable, "-I", "-S", last_word.__file__, address, folder, advice])
    try:
        yield
    except Exception as error:
        if not isinstance(error, UserError) and raylet_died():
            raise NodeDiedError(advice) from error
        raise
    finally:
        if folder and raylet_died():
            last_word.end_orphans(Path(folder))
        if watcher is not None:
            _end(watcher)


def _start(command: list[str]) -> "subprocess.Popen[bytes] | None":
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    except OSError:  # no process can be started: training goes on without a last word
        return None


def _end(watcher: "subprocess.Popen[bytes]") -> None:
    assert watcher.stdin is not None
    with contextlib.suppress(OSError):  # somebody has ended it
        watcher.stdin.write(last_word.FAREWELL)
        watcher.stdin.close()
    try:
        watcher.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        watcher.kill()
        watcher.wait()

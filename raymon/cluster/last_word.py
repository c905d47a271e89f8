"""Says why a driver is gone that ended without a word, in a process of its own.

The driver holds the other end of its input, and says farewell there before it ends in order. Uses the standard library
only and is started by its path, so that it costs a few megabytes.
"""

import contextlib
import math
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Final

FAREWELL: Final = b"farewell"
NODE_DIED: Final = (
    "the Ray node that the driver runs on has died, and with it every worker that it had; its raylet's log has the "
    "reason"
)
_KILLED: Final = (
    "the training process was killed, by a signal or by the kernel for want of memory (`dmesg` shows which process)"
)
_EITHER: Final = (
    "the Ray node that the driver runs on has died, or the training process was killed and the node with it; "
    "`dmesg` shows what the kernel killed, the raylet's log what else ended the node"
)
_LOOK_SECONDS: Final = 0.2
_TOGETHER_SECONDS: Final = 0.5
_CONNECT_SECONDS: Final = 1.0
_SETTLE_SECONDS: Final = 1.0
"""Until then, the processes that end with the driver have ended."""
_PROCESSES: Final = Path("/proc")
_TITLE: Final = b"ray::"
"""How Ray titles its workers."""


def main(address: str, session: str, advice: str) -> None:
    """Wait for the driver's farewell; if it ends without, say why and end the workers that it leaves.

    Args:
        address: Socket of the raylet of the driver's node; empty if not known.
        session: Folder of the Ray session if the driver started it, else empty.
        advice: What the user can do.
    """
    driver, raylet = os.getppid(), _listener(address)
    said, ends, raylet_ended = sys.stdin.fileno(), _end_of(raylet), math.inf
    while os.getppid() == driver:  # its end of the input may be held open by its children
        ready = select.select([said, *ends], [], [], _LOOK_SECONDS)[0]
        if set(ends) & set(ready):
            ends, raylet_ended = [], time.monotonic()
        if said in ready:
            if os.read(said, len(FAREWELL)) == FAREWELL:
                return
            break
    alone = time.monotonic() - raylet_ended  # the kernel can end a raylet together with its driver, and before it
    why = _KILLED if alone < 0 else NODE_DIED if alone > _TOGETHER_SECONDS else _EITHER
    with contextlib.suppress(OSError):  # the terminal is gone, too
        print(f"raymon train: {why}. {advice}", file=sys.stderr, flush=True)
    if session:
        time.sleep(_SETTLE_SECONDS)
        end_orphans(Path(session))


def listens(address: str) -> bool:
    """Return whether a process listens at a Unix socket, or may do so: its file can be removed while it does."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(_CONNECT_SECONDS)
        try:
            connection.connect(address)
        except OSError as error:
            return not isinstance(error, ConnectionRefusedError)
    return True


def _listener(address: str) -> int:
    """Return the id of the process that listens at a Unix socket; 0 if that is not known."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(_CONNECT_SECONDS)
        try:
            connection.connect(address)
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except (OSError, AttributeError):  # other systems than Linux do not tell
            return 0
        return int(struct.unpack("3i", peer)[0])


def _end_of(pid: int) -> list[int]:
    """Return the descriptor that is ready to read once a process has ended; none if that cannot be watched."""
    try:
        return [os.pidfd_open(pid)] if pid else []
    except (OSError, AttributeError):
        return []


def end_orphans(session: Path) -> None:
    """Kill the workers of a Ray session; `session` is its folder, into which they write their logs."""
    folder = session.resolve()  # as the links in /proc are
    for process in _PROCESSES.glob("[0-9]*"):
        if _is_worker_of(process, folder):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(process.name), signal.SIGKILL)


def is_worker(process: Path) -> bool:
    """Return whether a process, as its folder in `/proc`, is a worker of Ray; an OSError if it is not there."""
    return (process / "cmdline").read_bytes().startswith(_TITLE)


def _is_worker_of(process: Path, session: Path) -> bool:
    try:
        return is_worker(process) and any(session in file.readlink().parents for file in (process / "fd").iterdir())
    except OSError:  # it has ended, or is another user's
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])

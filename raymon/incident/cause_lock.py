"""One collection per cause on a machine, however many watch: page, `raymon top`, `raymon watch`, the recorder of a run.

A lock is a name in Linux's abstract namespace of sockets: it needs no file and is free again when its process ends,
however that ends. Elsewhere there is no such lock, and only watchers with the same directory of runs see each other.
"""

import hashlib
import os
import socket
import sys

from raymon.views import RunView


class CauseLock:
    """The right to collect the evidence of one cause."""

    def __init__(self, run: RunView, code: str, worker: str) -> None:
        of_worker = next(((each.node, each.pid) for each in run.workers if each.pid is not None), (None, None))
        process = of_worker if run.driver_pid is None else (run.driver_node, run.driver_pid)
        words = (run.run, *process, code, worker)
        digest = hashlib.sha256("\0".join(map(str, words)).encode()).hexdigest()[:32]
        self._name = f"\0raymon-cause-{os.getuid()}-{digest}"
        self._known = process[1] is not None and sys.platform == "linux"
        self._socket: socket.socket | None = None

    def take(self) -> bool:
        """Return whether nobody else on this machine collects the cause; keep the lock until `release`."""
        if not self._known:
            return True
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(self._name)
        except OSError:
            lock.close()
            return False
        self._socket = lock
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

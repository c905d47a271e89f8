"""One collector of evidence per run on a machine, however many watch: page, `raymon top`, `raymon watch`, the recorder.

A lock is a name in Linux's abstract namespace of sockets: it needs no file and is free again when its process ends,
however that ends. Elsewhere there is no such lock, and only watchers with the same directory of runs see each other.
"""

import hashlib
import os
import socket
import sys

from raymon.views import RunView


class RunLock:
    """The right to collect the evidence of a run's incidents."""

    def __init__(self, run: RunView) -> None:
        of_worker = next(((each.node, each.pid) for each in run.workers if each.pid is not None), (None, None))
        process = of_worker if run.driver_pid is None else (run.driver_node, run.driver_pid)
        digest = hashlib.sha256("\0".join(map(str, (run.run, *process))).encode()).hexdigest()[:32]
        self._name = f"\0raymon-run-{os.getuid()}-{digest}"
        self._known = process[1] is not None and sys.platform == "linux"
        self._socket: socket.socket | None = None

    def take(self) -> bool:
        """Return whether nobody else on this machine collects for the run; keep the lock until `release`."""
        if not self._known or self._socket is not None:
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

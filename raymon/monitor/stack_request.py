"""A request for the stacks of processes that are well: somebody reads one small file next to the evidence.

A viewer on another machine can only read files, through the Ray Dashboard. Reading `logs/raymon/stacks-on-reading`
changes the file's time of access, which the flush thread of every process on that node compares once a second. Where
the file system keeps no such times (`noatime`), nothing is requested.
"""

import os
from pathlib import Path
from typing import Final

from raymon.monitor.private_files import FOLDER, private_folder

NAME: Final = "stacks-on-reading"
_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CONTENT: Final = b"Reading this file asks the processes of this node for their stacks.\n"


class StackRequests:
    """The requests that this process has seen."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._read_at = 0

    def is_new(self, logs: Path) -> bool:
        """Return whether the file has been read since the last call; the first call creates it if it is missing.

        Args:
            logs: Ray's folder of logs.

        Raises:
            OSError: If there is no such file and it cannot be created.
        """
        path = logs / FOLDER / NAME
        if path != self._path:
            _change(logs)
            self._path, self._read_at = path, path.lstat().st_atime_ns
            return False
        try:
            read_at = path.lstat().st_atime_ns
        except FileNotFoundError:
            self._path = None
            return False
        if read_at == self._read_at:
            return False
        self._read_at = read_at
        _change(logs)
        return True


def _change(logs: Path) -> None:
    """Change the file, creating it if it is missing: with `relatime`, only the first reading after that is noted."""
    with private_folder(logs, create=True) as folder:
        file = os.open(NAME, _OPEN, 0o600, dir_fd=folder)
        try:
            if not os.fstat(file).st_size:
                os.write(file, CONTENT)
            os.fchmod(file, 0o600)
        finally:
            os.close(file)

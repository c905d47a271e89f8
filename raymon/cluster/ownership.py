"""Whether something on this machine belongs to this user: a file, a process, a listening port.

Ray's temp dir is writable by everybody and any process may be called `raylet`. Files and processes count only when this
user or root owns them, and a secret goes to a port that was found, rather than named, only when such a process listens.
"""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import BinaryIO, Final

_LISTEN: Final = "0A"
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
MOST_FILE_BYTES: Final = 4 * 1024 * 1024


def is_trusted(uid: int) -> bool:
    """Return whether `uid` is this user or root."""
    return uid in (0, os.getuid())


def read_file(path: Path, *, any_owner: bool = False) -> str:
    """Return the text of a regular file or a link to one, at most 4 MB of it; this user or root has to own both.

    Args:
        path: The file.
        any_owner: Whether it may belong to anybody, since the user named it.

    Raises:
        OSError: It cannot be read, is not a regular file or belongs to another user.
        UnicodeDecodeError: It is not text.
    """
    if not any_owner:
        _check_owner(path.lstat().st_uid)
    with open_regular(path) as file:
        if not any_owner:
            _check_owner(os.fstat(file.fileno()).st_uid)
        return file.read(MOST_FILE_BYTES).decode()


def open_regular(path: Path, flags: int = 0) -> BinaryIO:
    """Open a regular file for reading, with more flags of `os.open`; raise `OSError` for anything else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)  # a FIFO must not block
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is not a regular file")


def open_trusted(path: Path) -> BinaryIO:
    """Open a regular file of this user's or root's, never through a link; raise `OSError` for anything else."""
    file = open_regular(path, os.O_NOFOLLOW)
    try:
        _check_owner(os.fstat(file.fileno()).st_uid)
    except PermissionError:
        file.close()
        raise
    return file


def _check_owner(uid: int) -> None:
    if not is_trusted(uid):
        raise PermissionError(errno.EACCES, f"it belongs to user {uid}, not to you or root")


def listener_is_trusted(host: str, port: int) -> bool:
    """Return whether this user's or root's process listens at a port of this machine; False when that is unknown.

    A host that is another machine's is unknown. So is every port where there is no /proc/net/tcp.
    """
    if not is_local(host):
        return False
    owners = {uid for table in _TABLES for number, uid in _listeners(table) if number == port}
    return bool(owners) and all(is_trusted(uid) for uid in owners)


def is_local(host: str) -> bool:
    """Return whether a host is this machine: only its own addresses can be bound to."""
    bare = host.strip("[]")
    with contextlib.suppress(OSError, UnicodeError, IndexError):
        family, _, _, _, address = socket.getaddrinfo(bare, 0, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(address)
            return True
    return False


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is the loopback's, without resolving names."""
    bare = host.strip("[]").lower()
    return bare in ("localhost", "::1") or (bare.startswith("127.") and bare.replace(".", "").isdecimal())


def _listeners(table: Path) -> list[tuple[int, int]]:
    """Return port and owner of every listening socket in one of the kernel's tables."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [(int(row[1].rpartition(":")[2], 16), int(row[7])) for row in rows if row[3] == _LISTEN]

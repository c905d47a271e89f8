"""Files in raymon's folder of a Ray session, safe against other users.

Ray's session folder is world-writable, so nothing in it is trusted. raymon's own folder belongs to one user, mode 0700;
a folder, link, pipe or file that another user placed there is refused.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FOLDER: Final = "raymon"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def private_folder(parent: Path, *names: str, create: bool = False) -> Iterator[int]:
    """Open `<parent>/raymon`, or a folder inside it, and yield its descriptor.

    Args:
        parent: The folder of the Ray session, or its folder of logs.
        *names: Folders inside, from the outermost.
        create: Create `<parent>/raymon` if it does not exist.

    Raises:
        OSError: A folder does not exist, belongs to neither this user nor root, or others may write to it.
    """
    path = parent / FOLDER
    if create:
        with contextlib.suppress(FileExistsError):
            path.mkdir(0o700)
    descriptor = os.open(path, _DIRECTORY)
    try:
        _check(descriptor, str(path))
        for name in names:
            inner = os.open(name, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
            _check(descriptor, name)
        yield descriptor
    finally:
        os.close(descriptor)


def read_file(folder: int, name: str, most_bytes: int) -> bytes:
    """Read a small regular file, never blocking.

    Raises:
        OSError: It is not a regular file of this user or root, others may write to it, or it is too large.
    """
    descriptor = os.open(name, _READ, dir_fd=folder)
    try:
        _check(descriptor, name)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > most_bytes:
            raise OSError(f"{name}: expected a regular file of at most {most_bytes} bytes")
        return os.read(descriptor, most_bytes)
    finally:
        os.close(descriptor)


def create_file(folder: int, name: str) -> int:
    """Create a file, mode 0600, in place of any of that name; return its descriptor."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    return os.open(name, _CREATE | os.O_RDWR, 0o600, dir_fd=folder)


def write_file(folder: int, name: str, content: bytes) -> None:
    """Replace a file atomically."""
    draft = f".{name}.{secrets.token_hex(8)}"
    descriptor = os.open(draft, _CREATE | os.O_WRONLY, 0o600, dir_fd=folder)
    try:
        try:
            while content:
                content = content[os.write(descriptor, content) :]
        finally:
            os.close(descriptor)
        os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(draft, dir_fd=folder)
        raise


def _check(descriptor: int, name: str) -> None:
    status = os.fstat(descriptor)
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o022:
        raise PermissionError(
            f"{name}: expected a folder or file that only this user may change, found one that others may change"
        )

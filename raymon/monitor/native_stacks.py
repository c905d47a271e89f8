"""Native code that holds the GIL: faulthandler's C thread writes every stack when the flush thread cannot run.

The flush thread re-arms faulthandler's timer every second; it expires only while no Python code of the process runs.
There is one such timer per process: if the user's program uses it, raymon leaves it alone and logs that once. A timer
armed before raymon was imported is recognized by its thread, on Linux.
"""

import contextlib
import faulthandler
import functools
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from raymon.monitor.private_files import create_file, private_folder

NATIVE_SECONDS: Final = 3
"""Time that native code holds the GIL before the stacks are written."""
NATIVE_VARIABLE: Final = "RAYMON_NATIVE_STACKS"
RESUMED: Final = "resumed "
LONGEST_COMM: Final = 15
"""Characters of a thread's name that the kernel keeps."""
_BLOCKABLE: Final = sum(1 << (number - 1) for number in range(1, 32) if number not in (9, 19))
"""The mask of the standard signals without SIGKILL and SIGSTOP."""
_MOST_LOOKS: Final = 2
_KEEP_SECONDS: Final = 60.0
_logger: Final = logging.getLogger("raymon")
_arm: Final = faulthandler.dump_traceback_later
_cancel: Final = faulthandler.cancel_dump_traceback_later


class _UsersTimer:
    """Whether the user's program has armed faulthandler's timer: seen by wrapping its functions, or by its thread."""

    def __init__(self) -> None:
        self.armed = False
        self._threads: set[str] | None = None
        self._looks = 0
        faulthandler.dump_traceback_later = self._noticing(_arm, armed=True)
        faulthandler.cancel_dump_traceback_later = self._noticing(_cancel, armed=False)

    def _noticing(self, function: Callable[..., Any], armed: bool) -> Callable[..., Any]:
        @functools.wraps(function)
        def noticed(*args: object, **kwargs: object) -> object:
            self._set(armed)
            return function(*args, **kwargs)

        return noticed

    def look(self) -> bool:
        """Look, before raymon arms the timer itself, whether the program did so before it imported raymon.

        Returns:
            Whether that is known. A thread that is just beginning blocks every signal for a moment, so what looks like
            the timer has to be there at two looks in a row.
        """
        if self._looks < _MOST_LOOKS:
            self._looks += 1
            threads = _timer_threads()
            stayed = threads if self._threads is None else threads & self._threads
            if stayed and self._looks == _MOST_LOOKS:
                self._set(armed=True)
            elif not stayed:
                self._looks = _MOST_LOOKS
            self._threads = stayed
        return self._looks == _MOST_LOOKS

    def _set(self, armed: bool) -> None:
        if armed and not self.armed:
            _logger.warning("raymon: this program uses faulthandler's timer: no stacks of native code are recorded")
        self.armed = armed


def _timer_threads() -> set[str]:
    """Return the threads that may be faulthandler's; none where there is no /proc.

    That thread blocks every signal and has the name of the thread that armed it. The threads of libraries that block
    every signal have names of their own.
    """
    threads: set[str] = set()
    names = {_comm(Path("/proc/self/comm")), Path(sys.executable).name[:LONGEST_COMM]}
    for task in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            mask = int((task / "status").read_text().partition("SigBlk:")[2].split()[0], 16)
            if mask & _BLOCKABLE == _BLOCKABLE and _comm(task / "comm") in names | {"python", "python3"}:
                threads.add(task.name)
    return threads


def _comm(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


_users_timer: Final = _UsersTimer()


def dump_name(pid: int) -> str:
    """Return the name of a process's dump file."""
    return f"native-{pid}.txt"


class NativeWatch:
    """This process's timer and the file it writes to."""

    def __init__(self) -> None:
        self._file = -1
        self._start = 0
        self._dumped_at: float | None = None
        self._off = os.environ.get(NATIVE_VARIABLE) == "0"
        self._folder: Path | None = None

    def rearm(self, parent: Path) -> None:
        """Postpone the dump by `NATIVE_SECONDS`; it goes into the private folder below `parent`.

        Raises:
            OSError: If the file cannot be created.
        """
        if self._off:
            return
        if not _users_timer.look() or _users_timer.armed:
            return
        if self._folder != parent:
            self._open(parent)
        self._end_dump()
        _arm(NATIVE_SECONDS, repeat=False, file=self._file)

    def disarm(self) -> None:
        """Suspend the timer until the next `rearm`."""
        if self._file >= 0 and not _users_timer.armed:
            _cancel()

    def stop(self) -> None:
        """Disarm the timer and remove the file."""
        if self._file >= 0:
            self.disarm()
            os.close(self._file)
            self._file = -1
            if self._folder is not None:
                with contextlib.suppress(OSError), private_folder(self._folder) as folder:
                    os.unlink(dump_name(os.getpid()), dir_fd=folder)
        self._off = True

    def _open(self, parent: Path) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        with private_folder(parent, create=True) as folder:
            self._file = create_file(folder, dump_name(os.getpid()))
        self._folder = parent
        self._start = os.write(self._file, _header())

    def _end_dump(self) -> None:
        """Record after a dump that the process runs again, and remove the dump after a while."""
        if self._dumped_at is None:
            if os.fstat(self._file).st_size > self._start:
                self._dumped_at = time.monotonic()
                os.write(self._file, f"{RESUMED}{time.time():.3f}\n".encode())
        elif time.monotonic() - self._dumped_at > _KEEP_SECONDS:
            os.ftruncate(self._file, self._start)
            os.lseek(self._file, 0, os.SEEK_END)
            self._dumped_at = None


def _header() -> bytes:
    """Return the first line of the file, which names the main thread: faulthandler only numbers threads."""
    main = threading.main_thread().ident or 0
    return (json.dumps({"pid": os.getpid(), "main": hex(main)}) + "\n").encode()

"""The exception that ends the driver of a run: the run's last state, and a few lines in its file among Ray's logs.

It stands in front of `sys.excepthook` and calls what was there before. A program that sets its own hook later goes
without.
"""

import contextlib
import sys
import weakref
from types import TracebackType
from typing import Any, Final, Protocol

from raymon.monitor.error_details import describe_end
from raymon.monitor.flusher import flusher


class Endable(Protocol):
    """A monitor whose run may end with an exception."""

    def end_with(self, state: str) -> None:
        """Set the last state of the run, unless it has one."""


class _Hook:
    def __init__(self) -> None:
        self._monitors: weakref.WeakSet[Any] = weakref.WeakSet()
        self._before = sys.excepthook
        self._installed = False

    def serve(self, monitor: Endable) -> None:
        self._monitors.add(monitor)
        if not self._installed:
            self._installed = True
            self._before, sys.excepthook = sys.excepthook, self._uncaught

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        with contextlib.suppress(Exception):  # the program's own error is what matters
            flusher.end_with(describe_end(error))
            for monitor in list(self._monitors):
                monitor.end_with("stopped" if issubclass(kind, KeyboardInterrupt) else "failed")
        self._before(kind, error, trace)


_hook: Final = _Hook()


def note_uncaught(monitor: Endable) -> None:
    """Have a monitor note the exception that ends this process."""
    _hook.serve(monitor)

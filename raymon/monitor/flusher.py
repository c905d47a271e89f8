"""The flush thread: one daemon thread per process, which flushes every monitor once a second.

It starts with the first monitor, never keeps a process or a monitor alive, flushes once more when the process exits,
and starts again in a forked child.
"""

import atexit
import os
import threading
import time
import weakref
from typing import Any, Final, Protocol

from raymon import ray_internals
from raymon.monitor.capture import Capturable, Captures
from raymon.monitor.export import ray_is_up
from raymon.monitor.standstill import Observable, Standstills

INTERVAL_SECONDS: Final = 1.0


class Flushable(Capturable, Observable, Protocol):
    """What the thread needs from a monitor."""

    def flush(self) -> None:
        """Export everything recorded; never raise."""

    def beat(self) -> None:
        """Export everything recorded once the run's name is known; never raise."""

    def introduce(self) -> None:
        """Resolve run and worker, now that Ray is up; never raise."""

    def close(self) -> None:
        """Flush once more and record nothing from then on."""

    def renew_after_fork(self) -> None:
        """Reset a monitor that a forked child inherited."""


class Flusher:
    """The process's flush thread and the monitors it serves."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._monitors: weakref.WeakSet[Flushable] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._hooked = False
        self._registered = False
        self._exiting = False
        self._captures = Captures()
        self._standstills = Standstills()
        self.lost_by_fork = False
        self.cpu_seconds = 0.0

    def add(self, monitor: Flushable) -> None:
        """Flush a monitor from now on; start the thread if it does not run."""
        with self._lock:
            self._monitors.add(monitor)
        self._register()
        self.ensure_running()

    def discard(self, monitor: Flushable) -> None:
        """Stop flushing a monitor."""
        with self._lock:
            self._monitors.discard(monitor)

    def close(self) -> None:
        """Close every monitor that is still open, each with a last flush."""
        for monitor in self._open():
            monitor.close()

    @property
    def monitors(self) -> int:
        """How many monitors are open in this process."""
        return len(self._monitors)

    def ensure_running(self) -> None:
        """Start the thread if it does not run, as in a forked child."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="raymon-flush", daemon=True)
                self._thread.start()

    def _register(self) -> None:
        """Register for Ray's start and for the exit of the process.

        Exit handlers run last in, first out, so Ray's own must be registered first.
        """
        if not self._hooked:
            self._hooked = ray_internals.call_after_init(self._ray_came_up)
        if not self._registered and ray_is_up():
            self._registered = True
            atexit.register(self._flush_last)

    def _ray_came_up(self) -> None:
        self._register()
        for monitor in self._open():
            monitor.introduce()

    @property
    def running(self) -> bool:
        """Whether the thread was started in this process."""
        return self._thread is not None

    def _flush_last(self) -> None:
        self._exiting = True  # Ray shuts down next: the thread must not talk to it
        self._captures.end(self._open())
        self._standstills.stop(self._open())
        for monitor in self._open():
            monitor.flush()

    def note_state(self, state: str) -> None:
        """Keep the last state of the driver's run for the end of the process."""
        self._standstills.note_state(state)

    def end_with(self, end: dict[str, Any]) -> None:
        """Write the exception that ends this process, in the calling thread: no other thread runs for long."""
        session = ray_internals.session_folder()
        if session is not None:
            self._standstills.end_with(self._open(), session, end)

    def _open(self) -> list[Flushable]:
        with self._lock:
            return list(self._monitors)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._exiting:
            due = max(due + INTERVAL_SECONDS, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            if not self._exiting:
                self._register()
                for monitor in self._open():
                    monitor.beat()
                session = ray_internals.session_folder()
                self._captures.look(self._open(), session)
                self._standstills.look(self._open(), session)
            self.cpu_seconds = time.thread_time()

    def renew_after_fork(self) -> None:
        """In a forked child: no thread runs, and Ray's threads of the parent are gone for good."""
        self._lock = threading.RLock()
        self._thread = None
        self._captures = Captures()
        self._standstills = Standstills()
        self.lost_by_fork = self.lost_by_fork or ray_is_up()
        for monitor in list(self._monitors):
            monitor.renew_after_fork()


flusher: Final = Flusher()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=flusher.renew_after_fork)

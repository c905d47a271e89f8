"""A value that a daemon thread renews, so that drawing the page never waits for it."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Polled(Generic[T]):
    """Call a function again and again in a daemon thread and keep what it returned last.

    Args:
        read: Returns the value; what it raises is logged.
        first: The value before the first call has ended.
        period_seconds: Pause between two calls.
    """

    def __init__(self, read: Callable[[], T], first: T, period_seconds: float) -> None:
        self._read, self._latest, self._period = read, first, period_seconds
        threading.Thread(target=self._run, name="raymon-polled", daemon=True).start()

    def latest(self) -> T:
        """Return the last value without waiting."""
        return self._latest

    def _run(self) -> None:
        while True:
            try:
                self._latest = self._read()
            except Exception:  # noqa: BLE001  # a file or a reply that somebody else wrote must not end the thread
                _log.exception("what the page shows next to the run could not be read")
            time.sleep(self._period)

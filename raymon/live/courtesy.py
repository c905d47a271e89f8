"""A collector that steps aside while somebody waits for a picture.

Python runs one thread at a time. Without this a drawing of 50 ms shares the interpreter with the collection of ten
thousand workers, which takes seconds, and with the threads that read their pages, and takes ten times as long.
"""

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

MOST_SECONDS: Final = 1.0
LINGER_SECONDS: Final = 0.02
"""A drawing still has to be sent when it is done."""

T = TypeVar("T")


class Courtesy:
    """Who is in a hurry says so; who is not gives way, for at most as long as it has worked since."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hurried = 0
        self._nobody = threading.Event()
        self._nobody.set()
        self._until = 0.0
        self._credit_seconds = MOST_SECONDS
        self._back_at = time.monotonic()

    @contextlib.contextmanager
    def hurry(self) -> Iterator[None]:
        """Have the others wait during this block, and until its result is sent."""
        with self._lock:
            self._hurried += 1
            self._nobody.clear()
        try:
            yield
        finally:
            with self._lock:
                self._hurried -= 1
                self._until = max(self._until, time.monotonic() + LINGER_SECONDS)
                if not self._hurried:
                    self._nobody.set()

    def expect(self, seconds: float) -> None:
        """Have the others wait for somebody who will be in a hurry within so many seconds."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def give_way(self) -> None:
        """Wait while somebody is in a hurry. For one thread, which calls it every few milliseconds of its work."""
        now = time.monotonic()
        if self._nobody.is_set() and now >= self._until:
            return
        credit = min(MOST_SECONDS, self._credit_seconds + now - self._back_at)
        if self._nobody.wait(credit):
            time.sleep(max(0.0, min(self._until, now + credit) - time.monotonic()))
        self._back_at = time.monotonic()
        self._credit_seconds = max(0.0, credit - (self._back_at - now))

    def between(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items, and give way before each."""
        for item in items:
            self.give_way()
            yield item

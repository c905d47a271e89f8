"""Few full garbage collections, and short ones, in a process that knows hundreds of thousands of series.

A full collection visits every object while all other threads wait: 0.1 to 0.6 s with ten thousand workers, and Python
begins several in each round. They find next to nothing, since almost all of the objects are freed without them.
"""

import gc
import time
from typing import Final

LARGEST_SHARE: Final = 0.01
"""Of the time, for full collections."""
SHORT_SECONDS: Final = 0.02
_NEVER: Final = 2**31 - 1


class RareCollections:
    """Allow the next full collection only when the last one was long enough ago, and have it visit only what is newer.

    What a long full collection has left is frozen: it is freed as always once nothing refers to it, except in cycles.
    So that few of those stay, the next freeze needs a collection that takes twice as long.

    Args:
        largest_share: The largest part of the time that full collections may take.
        short_seconds: CPU seconds of a collection that is not long.
    """

    def __init__(self, largest_share: float = LARGEST_SHARE, short_seconds: float = SHORT_SECONDS) -> None:
        self._largest_share, self._short_seconds = largest_share, short_seconds
        self._usual = gc.get_threshold()
        self._begun = self._allowed_at = 0.0

    def watch(self) -> None:
        """Begin; in this process, for as long as it lives."""
        gc.callbacks.append(self.saw)

    def saw(self, phase: str, info: dict[str, int]) -> None:
        """Take in the begin or the end of a collection."""
        if phase == "start":
            self._begun = time.thread_time()
        elif info["generation"] == 2:
            spent = time.thread_time() - self._begun
            self._allowed_at = time.monotonic() + spent / self._largest_share
            gc.set_threshold(*self._usual[:2], _NEVER)
            if spent > self._short_seconds:
                gc.freeze()
                self._short_seconds *= 2.0
        elif time.monotonic() >= self._allowed_at:
            gc.set_threshold(*self._usual)

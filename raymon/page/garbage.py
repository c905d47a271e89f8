"""Short pauses of the garbage collector in a process that knows hundreds of thousands of series.

A full collection visits every object while all other threads wait: 0.2 s with ten thousand workers, after every round.
What is known of the series stays anyway, so it is taken out of what is visited.
"""

import gc
import time
from typing import Final

SHORT_SECONDS: Final = 0.02


class LongCollections:
    """Freeze what a long full collection has left; those that follow visit only what is newer.

    Frozen objects are freed as always once nothing refers to them, except in cycles. So that few of those stay, the
    next freeze needs a collection that takes twice as long.

    Args:
        allowed_seconds: CPU seconds of a collection that is not long.
    """

    def __init__(self, allowed_seconds: float = SHORT_SECONDS) -> None:
        self._allowed_seconds, self._begun = allowed_seconds, 0.0

    def watch(self) -> None:
        """Begin; in this process, for as long as it lives."""
        gc.callbacks.append(self.saw)

    def saw(self, phase: str, info: dict[str, int]) -> None:
        """Take in the begin or the end of a collection."""
        if phase == "start":
            self._begun = time.thread_time()
        elif info["generation"] == 2 and time.thread_time() - self._begun > self._allowed_seconds:
            gc.freeze()
            self._allowed_seconds *= 2.0

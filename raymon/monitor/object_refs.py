"""Object references that the driver holds: their objects stay in memory, `ray.get` does not free them.

Only ids are stored, because Ray's references support no weak references (2.60). Ids to which the process no longer
counts a reference are dropped at the next look.
"""

import time
from typing import Final, NamedTuple

from raymon import ray_internals

MOST_HELD: Final = 100_000


class HeldSummary(NamedTuple):
    """Number and bytes of the references held, and when the oldest was created (wall clock; 0 without any)."""

    number: int
    nbytes: float
    oldest: float


class HeldRefs:
    """Ids of held references with size and age, oldest first."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[float, float]] = {}

    def hold(self, ref: object, nbytes: float) -> bool:
        """Register a reference; return False if there are too many to track."""
        if len(self._held) >= MOST_HELD:
            return False
        self._held.setdefault(_id_of(ref), (nbytes, time.time()))
        return True

    def release(self, ref: object) -> None:
        """Drop a reference; ignore one that is not registered."""
        self._held.pop(_id_of(ref), None)

    def summary(self) -> HeldSummary:
        """Return what is held, after dropping references that the process released without calling `release`."""
        counted = ray_internals.referenced_objects() if self._held else None
        if counted is not None:
            for gone in self._held.keys() - counted:
                self._held.pop(gone, None)  # another thread may just have released it
        sizes = list(self._held.values())
        return HeldSummary(len(sizes), sum(nbytes for nbytes, _ in sizes), sizes[0][1] if sizes else 0.0)


def _id_of(ref: object) -> str:
    to_hex = getattr(ref, "hex", None)
    return str(to_hex()) if callable(to_hex) else str(id(ref))

"""Which object references the driver holds: a reference kept is memory kept, `ray.get` frees nothing.

Never keeps a reference itself. Ray's references cannot be referred to weakly (2.60), so only their ids are kept, and
those that the process no longer counts any reference to are forgotten at the next look.
"""

import time
from typing import Final, NamedTuple

from raymon import ray_internals

MOST_HELD: Final = 100_000


class Held(NamedTuple):
    """References held now: how many, their bytes, when the oldest was made (wall clock; 0 without any)."""

    number: int
    nbytes: float
    oldest: float


class HeldRefs:
    """Ids of references with their size and age; oldest first, as a dict keeps the order of insertion."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[float, float]] = {}

    def hold(self, ref: object, nbytes: float) -> bool:
        """Note a reference; False when there are too many to keep track of."""
        if len(self._held) >= MOST_HELD:
            return False
        self._held.setdefault(_id_of(ref), (nbytes, time.time()))
        return True

    def release(self, ref: object) -> None:
        """Forget a reference; one that was never held is none of our business."""
        self._held.pop(_id_of(ref), None)

    def now(self) -> Held:
        """Return what is held, after forgetting what the process let go of without a word."""
        counted = ray_internals.referenced_objects() if self._held else None
        if counted is not None:
            for gone in self._held.keys() - counted:
                self._held.pop(gone, None)  # which another thread may just have released
        sizes = list(self._held.values())
        return Held(len(sizes), sum(nbytes for nbytes, _ in sizes), sizes[0][1] if sizes else 0.0)


def _id_of(ref: object) -> str:
    to_hex = getattr(ref, "hex", None)
    return str(to_hex()) if callable(to_hex) else str(id(ref))

"""What is remembered of one metrics endpoint: whether it answers, and Ray's own numbers on it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from raymon.live.parse import RAY_FAMILIES, SeriesKey
from raymon.queries.ray_families import RESOURCES, UNPLACED

ABSENT_SECONDS: Final = 15.0
"""How long a number of Ray's outlives its family: Ray 2.52 to 2.55 sets a node's gauges every five seconds and leaves
them out of every page in between."""
_FAMILIES: Final = frozenset(RAY_FAMILIES)
NodeKey: TypeAlias = tuple[str, str]
"""One of a node's own numbers: Ray's family, and its label `Location`, `ip` or `Reason`, or `Name` and `State`."""


@dataclass(slots=True)
class Endpoint:
    """A metrics endpoint and Ray's own numbers on it.

    Attributes:
        answered_at: When it last answered; None if it never did.
        silence: When it last fell silent for longer than `SLEEP_SECONDS`, and when it answered again.
        changed_at: When any of its own numbers last changed.
        error: Why its last scrape failed; empty if it worked.
        listed: Whether the cluster's discovery listed it in the last round.
        departure: Why it left the cluster, in Ray's words; empty while that is not known.
        seen: When each family was last on its page.
    """

    answered_at: float | None = None
    silence: tuple[float, float] | None = None
    changed_at: float | None = None
    numbers: dict[NodeKey, float] = field(default_factory=dict)
    error: str = ""
    listed: bool = True
    departure: str = ""
    seen: dict[str, float] = field(default_factory=dict)

    def take(self, numbers: dict[NodeKey, float], now: float) -> None:
        """Take in the numbers of one page; a family that is missing keeps its last ones for a while."""
        self.seen.update(dict.fromkeys({name for name, _ in numbers}, now))
        absent = {name for name, at in self.seen.items() if 0.0 <= now - at <= ABSENT_SECONDS and at != now}
        kept = {key: value for key, value in self.numbers.items() if key[0] in absent} if absent else {}
        numbers = kept | numbers
        if numbers != self.numbers:
            self.numbers, self.changed_at = numbers, now


def node_numbers(samples: Iterable[tuple[SeriesKey, float]]) -> dict[NodeKey, float]:
    """Return the sum of what a page says of each of Ray's own numbers; samples of other families are left out."""
    numbers: dict[NodeKey, float] = {}
    for series, value in samples:
        if series.name in _FAMILIES:
            key = _node_key(series)
            numbers[key] = numbers.get(key, 0.0) + value
    return numbers


def _node_key(series: SeriesKey) -> NodeKey:
    """Return under which key a sample of one of Ray's families is kept."""
    labels = series.labels
    if series.name == RESOURCES:
        return series.name, f"{labels.get('Name', '')}/{labels.get('State', '')}"
    if series.name == UNPLACED:
        return series.name, labels.get("Reason", "")
    return series.name, labels.get("Location") or labels.get("ip", "")

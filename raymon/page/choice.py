"""What a viewer has chosen. It is kept in the page's address, so that a view can be linked, reloaded and sent."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Final

from raymon.health import WORKER_STATES

ORDERS: Final = (
    "trouble",
    "worker",
    "role",
    "steps",
    "tokens",
    "p95",
    "progress",
    "failures",
    "restarts",
    "memory",
    "lag",
    "return",
)
SPANS: Final[Mapping[str, float]] = {"2m": 120.0, "10m": 600.0, "1h": 3600.0, "all": float("inf")}
ROWS: Final = 25
MOST_ROWS: Final = 500
_LONGEST: Final = 200
OUTDATED_SECONDS: Final = 3.0
"""For so long after a choice a request may still carry older parameters; later its user went back."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One viewer's choice; every field is text because it is a query parameter.

    Attributes:
        run: The run shown; empty for the first.
        against: A second run laid over the curves.
        worker: The worker whose detail is open.
        q: Search text of the worker table.
        state: Only workers of this state.
        order: Column the table is sorted by.
        rows: How many rows the table shows.
        span: How far back the charts reach.
        at: The moment of a recording that is shown, in wall-clock seconds; empty for its end.
        axis: Horizontal axis of the learning curves: `time` or `steps`.
    """

    run: str = ""
    against: str = ""
    worker: str = ""
    q: str = ""
    state: str = ""
    order: str = "trouble"
    rows: str = str(ROWS)
    span: str = "2m"
    axis: str = "time"
    at: str = ""

    @property
    def row_limit(self) -> int:
        """Return how many rows to show at most."""
        return min(max(int(self.rows), ROWS), MOST_ROWS)

    @property
    def moment(self) -> float | None:
        """Return the moment of a recording to show; None for its end."""
        return float(self.at) if self.at else None

    @property
    def span_seconds(self) -> float:
        """Return how far back the charts reach."""
        return SPANS[self.span]


FIELDS: Final = tuple(item.name for item in fields(Choice))
_ALLOWED: Final[Mapping[str, tuple[str, ...]]] = {
    "state": ("", *WORKER_STATES),
    "order": ORDERS,
    "span": tuple(SPANS),
    "axis": ("time", "steps"),
}


def from_query(parameters: Mapping[str, object]) -> Choice:
    """Return the choice in query parameters; unknown and malformed ones are ignored."""
    valid = {}
    for name in FIELDS:
        value = parameters.get(name)
        if not isinstance(value, str) or len(value) > _LONGEST:
            continue
        if name in _ALLOWED and value not in _ALLOWED[name]:
            continue
        if name == "rows" and not (value.isascii() and value.isdigit() and len(value) < 6):
            continue
        if name == "at" and not (value.isascii() and value.replace(".", "", 1).isdigit() and len(value) < 18):
            continue
        valid[name] = value
    return Choice(**valid)


def updated(choice: Choice, changes: Mapping[str, object]) -> Choice:
    """Return the choice after a viewer's changes; changing the run closes what belonged to the old one."""
    new = from_query({**to_query(choice), **changes})
    if new.run == choice.run:
        return new
    against = "" if new.against == new.run else new.against
    return replace(new, worker="", q="", state="", rows=str(ROWS), against=against)


def to_query(choice: Choice) -> dict[str, str]:
    """Return the query parameters that differ from the defaults."""
    default = Choice()
    return {name: getattr(choice, name) for name in FIELDS if getattr(choice, name) != getattr(default, name)}


@dataclass(slots=True)
class Address:
    """The query parameters of one viewer, of which the browser may not know the newest yet.

    What the server writes into the address comes back with the browser's next request. A request that was on its way
    before, such as the one that draws the page each second, still carries the old parameters: it must not take the
    viewer's choice back.

    Attributes:
        clock: Returns monotonic seconds.
    """

    clock: Callable[[], float] = time.monotonic
    _written: Mapping[str, str] | None = None
    _outdated: list[Mapping[str, str]] = field(default_factory=list)
    _own_run: bool = False
    _written_at: float = 0.0

    def read(self, query: Mapping[str, str]) -> Mapping[str, str]:
        """Return the parameters that hold: those of the request, or newer ones that were written."""
        on_its_way = self.clock() - self._written_at < OUTDATED_SECONDS
        if self._written is not None and query in self._outdated and on_its_way:
            return self._written
        if query != self._written or not self._own_run:  # the browser knows them, or its user has gone elsewhere
            self._written, self._outdated = None, []
        self._own_run = False
        return query

    def write(self, query: Mapping[str, str], new: Mapping[str, str]) -> None:
        """Note that the address of a request is being replaced; the same run of the page reads it once more."""
        before = query if self._written is None else self._written
        self._outdated = [old for old in (*self._outdated, query, before) if old != new]
        self._written, self._own_run, self._written_at = new, True, self.clock()

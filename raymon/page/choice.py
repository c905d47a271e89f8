"""What a viewer has chosen; it lives in the page's address, so a view can be linked, reloaded and sent to somebody."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from raymon.health import WORKER_STATES

ORDERS: Final = ("trouble", "worker", "steps", "p95", "progress", "restarts", "memory", "lag", "return")
SPANS: Final[Mapping[str, float]] = {"2m": 120.0, "10m": 600.0, "1h": 3600.0, "all": float("inf")}
ROWS: Final = 25
_LONGEST: Final = 200


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
        span: How far back the drawings reach.
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

    @property
    def row_limit(self) -> int:
        """How many rows, as a number between one page and 500."""
        return min(max(int(self.rows), ROWS), 500)

    @property
    def span_seconds(self) -> float:
        """How far back the drawings reach."""
        return SPANS[self.span]


FIELDS: Final = tuple(item.name for item in fields(Choice))
_ALLOWED: Final[Mapping[str, tuple[str, ...]]] = {
    "state": ("", *WORKER_STATES),
    "order": ORDERS,
    "span": tuple(SPANS),
    "axis": ("time", "steps"),
}


def read(parameters: Mapping[str, object]) -> Choice:
    """Return the choice in query parameters; what is unknown or malformed counts as not given."""
    given = {}
    for name in FIELDS:
        value = parameters.get(name)
        if not isinstance(value, str) or len(value) > _LONGEST:
            continue
        if name in _ALLOWED and value not in _ALLOWED[name]:
            continue
        if name == "rows" and not (value.isascii() and value.isdigit() and len(value) < 6):
            continue
        given[name] = value
    return Choice(**given)


def changed(choice: Choice, wanted: Mapping[str, object]) -> Choice:
    """Return the choice after an event of the page; another run closes what belonged to the old one."""
    now = read({**written(choice), **wanted})
    if now.run != choice.run:
        now = replace(
            now, worker="", q="", state="", rows=str(ROWS), against="" if now.against == now.run else now.against
        )
    return now


def written(choice: Choice) -> dict[str, str]:
    """Return the query parameters that differ from the defaults."""
    default = Choice()
    return {name: getattr(choice, name) for name in FIELDS if getattr(choice, name) != getattr(default, name)}

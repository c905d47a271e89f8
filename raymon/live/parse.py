"""From a node's metrics page to samples: only the families raymon reads, the labels of each series parsed once.

The text comes over the network from a process that may be broken or hostile, so nothing in it raises: a line that is
not a sample of a wanted family is dropped and counted. One regular expression picks the wanted lines (a page is mostly
Ray's own families); the text before the value is then looked up among the series already known, so that a known series
costs one dictionary look-up. `tests/unit/live/test_scrape.py` compares it with `prometheus_client.parser`, in result
and in time.
"""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from raymon import catalog
from raymon.catalog import Metric, label_text
from raymon.format import printable
from raymon.queries import engine_families, ray_families

RAY_FAMILIES: Final = (
    ray_families.STORE_AVAILABLE,
    ray_families.STORE_MEMORY,
    ray_families.STORE_FALLBACK,
    ray_families.NODE_CPU,
    ray_families.NODE_MEMORY_USED,
    ray_families.NODE_MEMORY_TOTAL,
    ray_families.NODE_DISK_USED,
    ray_families.NODE_DISK_FREE,
    ray_families.RESOURCES,
    ray_families.UNPLACED,
)
"""Ray's own families that a view is made of; some of their values change whenever a node exports."""

ENGINE_FAMILIES: Final = engine_families.EVERY
"""Families of inference engines, on the same pages or on pages of their own."""
_BUCKETS: Final = frozenset(name for name in ENGINE_FAMILIES if name.endswith("_bucket"))
METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {metric.name: metric for metric in catalog.every() if metric.kind != "histogram"}
)
"""raymon's own families that a view is made of."""
_FOREIGN: Final = (*RAY_FAMILIES, *sorted(ENGINE_FAMILIES))
WANTED: Final = frozenset({*METRICS, *_FOREIGN})

LARGEST: Final = 1e300
"""A larger value is refused: sums and rates of such numbers would not be finite."""
SMALLEST: Final = 1e-300
"""A smaller value is read as 0: dividing by it would not give a finite number."""
LONGEST_LINE: Final = 4096
MOST_LABELS: Final = 64
"""A line with more labels is no sample of Ray's."""
MOST_HEAD_BYTES: Final = 256 * 1024 * 1024
"""Most text that is kept of all known series together; that of a usual series has 300 to 400 bytes."""
_COMMON: Final = frozenset({"run", "worker", "WorkerId", "NodeAddress", "SessionName"})
_OF_RAY: Final = _COMMON | {"Name", "State", "Reason", "Location", "ObjectState", "ip"}
_OF_ENGINES: Final = frozenset(
    (*_COMMON, "le", "model_name", "engine", "engine_type", "pid", "ReplicaId", "dp_rank", "tp_rank", "pp_rank")
)
READ_LABELS: Final[Mapping[str, Set[str]]] = MappingProxyType(
    dict.fromkeys(RAY_FAMILIES, _OF_RAY)
    | dict.fromkeys(ENGINE_FAMILIES, _OF_ENGINES)
    | {metric.name: _COMMON | set(metric.labels) for metric in METRICS.values()}
)
"""The labels of each family that are read or tell its series apart; others could fill the memory and are dropped."""
_LINE: Final = re.compile(
    rb"^(?:ray_raymon_|%s)[^\n]{0,%d}" % (b"|".join(re.escape(name.encode()) for name in _FOREIGN), LONGEST_LINE),
    re.MULTILINE,
)
_LABEL: Final = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPE: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True, eq=False)
class SeriesKey:
    """One series: its family and its labels. Compared by identity, since `Parser` makes each only once."""

    name: str
    labels: Mapping[str, str]

    @property
    def counter(self) -> bool:
        """Whether it only grows."""
        metric = METRICS.get(self.name)
        return self.name in _BUCKETS if metric is None else metric.kind == "counter"


@dataclass(slots=True)
class Parser:
    """Turn pages into samples, remembering the series seen before.

    Attributes:
        most_series: Beyond so many known series new ones are dropped, which bounds the memory a hostile page can take.
        dropped: Lines of wanted families that were not samples, so far.
    """

    most_series: int = 400_000
    dropped: int = 0
    _known: dict[bytes, SeriesKey | None] = field(default_factory=dict)
    _head_bytes: int = 0

    @property
    def crowded(self) -> bool:
        """Whether so many series are known that those long gone should be forgotten."""
        return 4 * len(self._known) > 3 * self.most_series or 4 * self._head_bytes > 3 * MOST_HEAD_BYTES

    def keep(self, alive: Set[SeriesKey]) -> None:
        """Forget every series but these."""
        self._known = {head: series for head, series in self._known.items() if series in alive}
        self._head_bytes = sum(map(len, self._known))

    def samples(self, page: bytes) -> list[tuple[SeriesKey, float]]:
        """Return every finite sample of a wanted family; a series that is twice on the page is returned twice."""
        known = self._known
        samples: list[tuple[SeriesKey, float]] = []
        for line in _LINE.findall(page):
            brace = line.rfind(b"}") + 1
            head, _, rest = (line[:brace], b"", line[brace:]) if brace else line.partition(b" ")
            try:
                series = known[head]
            except KeyError:
                series = self._learn(head)
            if series is not None:
                value = number(rest)
                if value is None or (value < 0.0 and series.counter):
                    self.dropped += 1
                else:
                    samples.append((series, value))
        return samples

    def _learn(self, head: bytes) -> SeriesKey | None:
        if len(self._known) >= self.most_series or self._head_bytes >= MOST_HEAD_BYTES:
            self.dropped += 1
            return None
        series = series_key(head)
        self._known[head] = series
        self._head_bytes += len(head)
        return series


def number(text: bytes) -> float | None:
    """Return the value of a sample, its time stamp ignored; None unless it is a finite number of sane size."""
    try:
        value = float(text)
    except ValueError:
        parts = text.split(None, 2)
        if len(parts) != 2:
            return None
        try:
            value = float(parts[0])
        except ValueError:
            return None
    if (SMALLEST <= value <= LARGEST or -LARGEST <= value <= -SMALLEST) and b"_" not in text:
        return value
    return 0.0 if -SMALLEST < value < SMALLEST and b"_" not in text else None  # None for what is not a number


def series_key(head: bytes) -> SeriesKey | None:
    """Parse the text before a sample's value.

    Returns:
        None for a family not wanted, broken labels, too many, or an undeclared value.
    """
    name, brace, rest = head.decode("utf-8", "replace").partition("{")
    name = name.strip()
    if name not in WANTED:
        return None
    labels: dict[str, str] = {}
    body = rest[:-1] if brace else ""
    wanted = READ_LABELS[name]
    at = number_of_labels = 0
    while at < len(body):
        match = _LABEL.match(body, at)
        number_of_labels += 1
        if match is None or number_of_labels > MOST_LABELS:
            return None
        if match[1] in wanted:
            labels[match[1]] = _unescape(match[2])
        at = match.end()
    return checked_series(name, labels)


def checked_series(name: str, labels: Mapping[str, str]) -> SeriesKey | None:
    """Return the series of a wanted family, with the labels that are read, as they are shown.

    Returns:
        None if there are too many labels or one has a value that the catalogue does not list.
    """
    metric = METRICS.get(name)
    if len(labels) > MOST_LABELS:
        return None
    if metric is not None:
        for label, allowed in metric.values.items():
            if labels.get(label) not in allowed:
                return None
    elif name not in WANTED:
        return None
    wanted = READ_LABELS[name]
    texts = {label: text for label, text in labels.items() if label in wanted}
    if metric is not None:
        texts = {label: label_text(text) for label, text in texts.items()}
    return SeriesKey(name, MappingProxyType({label: printable(text) for label, text in texts.items()}))


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], text) if "\\" in text else text

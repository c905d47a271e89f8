"""From a node's metrics page to samples: only the families raymon reads, the labels of each series parsed once.

The text comes over the network from a process that may be broken or hostile, so nothing in it raises: a line that is
not a sample of a wanted family is dropped and counted. One regular expression picks the wanted lines (a page is mostly
Ray's own families) and splits each into its head, which names the series, and its value. A page usually has the same
heads as a second ago: one comparison then yields all its series. `tests/unit/live/test_scrape.py` compares it with
`prometheus_client.parser`, in result and in time.
"""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from sys import intern
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
    rb"\n((?:ray_raymon_|%(names)s)(?:[^\n]{0,%(most)d}\}|[^\n ]{0,%(most)d}))([^\n]{0,%(most)d})"
    % {b"names": b"|".join(re.escape(name.encode()) for name in _FOREIGN), b"most": LONGEST_LINE}
)
"""The head of a sample, up to its last brace, and the rest of the line. It begins with a byte that is searched fast."""
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


@dataclass(frozen=True, slots=True)
class _Layout:
    """The heads of a page in their order, and the series of each; None where it is not wanted."""

    heads: tuple[bytes, ...] = ()
    series: tuple[SeriesKey | None, ...] = ()


@dataclass(slots=True)
class Parser:
    """Turn pages into samples, remembering the series seen before.

    Attributes:
        most_series: Beyond so many known series new ones are dropped, which bounds the memory a hostile page can take.
        dropped: Lines of wanted families that were not samples, so far.
    """

    most_series: int = 400_000
    dropped: int = 0
    _known: dict[bytes, tuple[bytes, SeriesKey | None]] = field(default_factory=dict)
    _head_bytes: int = 0
    _layouts: dict[bytes, _Layout] = field(default_factory=dict)
    _laid_out: int = 0

    @property
    def crowded(self) -> bool:
        """Whether so many series are known that those long gone should be forgotten."""
        return 4 * len(self._known) > 3 * self.most_series or 4 * self._head_bytes > 3 * MOST_HEAD_BYTES

    def keep(self, alive: Set[SeriesKey]) -> None:
        """Forget every series but these."""
        kept = {head: known for head, known in self._known.items() if known[1] in alive}
        if len(kept) < len(self._known):
            self._known, self._head_bytes = kept, sum(map(len, kept))
            self._forget_layouts()

    def samples(self, page: bytes) -> list[tuple[SeriesKey, float]]:
        """Return every finite sample of a wanted family; a series that is twice on the page is returned twice."""
        lines = _LINE.findall(b"\n" + page)
        if not lines:
            return []
        heads, texts = zip(*lines, strict=True)
        layout = self._layouts.get(heads[0])
        if layout is None or layout.heads != heads:
            layout = self._lay_out(heads)
        samples = []
        for series, value in zip(layout.series, _values(texts), strict=True):
            if series is not None:
                if value is None or (value < 0.0 and series.counter):
                    self.dropped += 1
                else:
                    samples.append((series, value))
        return samples

    def _lay_out(self, heads: Sequence[bytes]) -> _Layout:
        """Look up the series of every head; remember the result for the next page that begins with the same head."""
        known = [self._known.get(head) or self._learn(head) for head in heads]
        layout = _Layout(tuple(head for head, _ in known), tuple(series for _, series in known))
        if self._laid_out > self.most_series:
            self._forget_layouts()
        if all(head in self._known for head in heads):  # its text is kept anyway, and is bounded
            self._laid_out += len(heads) - len(self._layouts.get(heads[0], _Layout()).heads)
            self._layouts[heads[0]] = layout
        return layout

    def _forget_layouts(self) -> None:
        self._layouts.clear()
        self._laid_out = 0

    def _learn(self, head: bytes) -> tuple[bytes, SeriesKey | None]:
        if len(self._known) >= self.most_series or self._head_bytes >= MOST_HEAD_BYTES:
            self.dropped += 1
            return head, None
        self._known[head] = head, series_key(head)
        self._head_bytes += len(head)
        return self._known[head]


def _values(texts: Sequence[bytes]) -> list[float | None]:
    """Return the value of every sample as `number` does, but at once where nothing is unusual."""
    try:
        values = list(map(float, texts))
    except ValueError:
        return list(map(number, texts))
    if b"_" in b"".join(texts):
        return list(map(number, texts))
    largest, smallest = LARGEST, SMALLEST
    return [value if smallest <= value <= largest or value == 0.0 else _sane(value) for value in values]


def number(text: bytes) -> float | None:
    """Return the value of a sample, its time stamp ignored; None unless it is a finite number of sane size."""
    if b"_" in text:
        return None
    try:
        return _sane(float(text))
    except ValueError:
        parts = text.split(None, 2)
        if len(parts) != 2:
            return None
        try:
            return _sane(float(parts[0]))
        except ValueError:
            return None


def _sane(value: float) -> float | None:
    if SMALLEST <= value <= LARGEST or -LARGEST <= value <= -SMALLEST:
        return value
    return 0.0 if -SMALLEST < value < SMALLEST else None  # None for what is not a number


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

    Labels of the same name or value share one text: most are on every series of a process, some on every series.

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
    return SeriesKey(name, MappingProxyType({intern(label): intern(printable(text)) for label, text in texts.items()}))


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], text) if "\\" in text else text

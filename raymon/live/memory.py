"""What is remembered between scrapes: every run's processes, their last gauges, and counters that never go backwards.

Ray drops a gauge about 20 s after its process stops setting it, and keeps the counters of a dead process for ever,
beside those of its successor. So the last gauges are kept here, and a worker's counters are summed over all processes
that ever carried its label: a restart adds a series and never takes one away. Rates are taken over the moments the
processes flushed (their heartbeats), not over the moments of scraping: no jitter of export and scrape is in them.
"""

import time
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeAlias

from raymon import catalog
from raymon.catalog import DRIVER, Metric
from raymon.live.clock import Clock
from raymon.live.parse import RAY_FAMILIES, SeriesKey

REMEMBERED_SECONDS: Final = 65.0
Totals: TypeAlias = "array[float]"
Span: TypeAlias = tuple[float, Totals, Totals]
"""Seconds, the totals before them, the totals after them."""
MOST_SUBJECTS: Final = 20_000
OVER_SECONDS: Final = 3600.0
CROWDED_OUT_SECONDS: Final = 60.0
GONE_ROUNDS: Final = 60
"""A series that has been on no page for so many rounds does not come back."""
_METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in catalog.every()}


def field_of(metric: Metric, *values: str) -> str:
    """Return the key under which one series of a family is kept within its process."""
    return ":".join((metric.name, *values))


@dataclass(slots=True, eq=False)
class Process:
    """One process that records, told apart by Ray's worker id."""

    worker_id: str
    node: str
    first_seen: float
    gauges: dict[str, float] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)
    beat: float | None = None
    beat_changed: float = 0.0
    beat_gap: float | None = None
    url: str = ""
    gauge_round: int = -1
    round: int = 0

    def gauge(self, metric: Metric, *values: str) -> float | None:
        """Return the last value of a gauge, None when it was never seen."""
        return self.gauges.get(field_of(metric, *values))


@dataclass(slots=True, eq=False)
class Subject:
    """A worker of a run, or its driver: everything that carried one pair of labels `run` and `worker`.

    Attributes:
        totals: Growth of every counter since the collector began, by the index in `fields`.
        points: Moment of the flush and totals then, the oldest first.
        idle_at: When it was last seen waiting.
        pause: The last known answer of `longest_pause`: one that stands still for long is measured by it, too.
    """

    run: str
    worker: str
    fields: dict[str, int]
    processes: dict[str, Process] = field(default_factory=dict)
    totals: Totals = field(default_factory=lambda: array("d"))
    points: deque[tuple[float, Totals]] = field(default_factory=deque)
    idle_at: float = 0.0
    pause: float | None = None

    def newest(self) -> Process:
        """Return the process that beat last; without any beat, the one seen last."""
        return max(self.processes.values(), key=lambda process: (process.beat or 0.0, process.first_seen))

    def grow(self, name: str, by: float) -> None:
        """Add to the counter `name`."""
        at = self.fields.setdefault(name, len(self.fields))
        if at >= len(self.totals):
            self.totals.extend([0.0] * (at + 1 - len(self.totals)))
        self.totals[at] += by

    def remember(self, moment: float) -> None:
        """Keep the totals as of a flush; a clock that went backwards begins anew."""
        points = self.points
        if points and moment < points[-1][0]:
            points.clear()
        if not points or moment > points[-1][0]:
            points.append((moment, self.totals[:]))
            while points[0][0] < moment - REMEMBERED_SECONDS:
                points.popleft()

    def growth(self, window: float) -> Span | None:
        """Return seconds, earlier totals and last totals over about `window`; None before there are two moments."""
        if len(self.points) < 2:
            return None
        last, totals = self.points[-1]
        before = self.points[0]
        for point in reversed(self.points):
            if point[0] <= last - window:
                before = point
                break
        return last - before[0], before[1], totals

    def longest_pause(self, fewest: int) -> float | None:
        """Return the longest time between two growths of the worker's steps, over the last minute in which they grew.

        For how long they have stood still now does not count. None before they were seen to grow `fewest` times.
        """
        at = self.fields.get(catalog.ENV_STEPS.name)
        if at is None:
            return None
        grew: list[float] = []
        last = float("inf")
        for moment, totals in self.points:
            total = totals[at] if at < len(totals) else 0.0
            if total > last:
                grew.append(moment)
            last = total
        if len(grew) >= fewest:
            self.pause = max(after - before for before, after in pairwise(grew))
        return self.pause

    def grown(self, span: Span, name: str) -> float | None:
        """Return by how much a counter grew over a span; None when the subject has no such counter."""
        at = self.fields.get(name)
        if at is None or at >= len(span[2]):
            return None
        return span[2][at] - (span[1][at] if at < len(span[1]) else 0.0)


@dataclass(slots=True)
class _Slot:
    subject: Subject
    process: Process
    name: str
    counter: bool
    value: float = 0.0
    round: int = 0


@dataclass(slots=True)
class Node:
    """A metrics endpoint and Ray's own numbers on it; `changed_at` is when any of them last changed."""

    answered_at: float
    changed_at: float | None = None
    numbers: dict[tuple[str, str], float] = field(default_factory=dict)


@dataclass(slots=True)
class Memory:
    """Everything known from all scrapes so far.

    Attributes:
        heard: Every run that is not over to when something was last heard of it.
    """

    clock: Clock = field(default_factory=Clock)
    subjects: dict[tuple[str, str], Subject] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)
    round: int = 0
    _slots: dict[SeriesKey, _Slot | None] = field(default_factory=dict)
    _fields: dict[bool, dict[str, int]] = field(default_factory=lambda: {True: {}, False: {}})

    def absorb(self, pages: Mapping[str, Iterable[tuple[SeriesKey, float]]], now: float | None = None) -> None:
        """Take in what one round of scrapes brought: URL to samples. `now` is wall-clock seconds."""
        now = time.time() if now is None else now
        self.round += 1
        self.clock.tick(now)
        origin: dict[SeriesKey, tuple[str, bool]] = {}
        merged: dict[SeriesKey, float] = {}
        for url, samples in pages.items():
            first = url not in self.nodes
            numbers: dict[tuple[str, str], float] = {}
            for series, value in samples:
                if series.name in RAY_FAMILIES:
                    _add_ray(numbers, series, value)
                elif value > merged.get(series, float("-inf")):  # twice on the pages: it counts once
                    merged[series] = value
                    origin[series] = (url, first)
            self._heard(url, numbers, now)
        for series, value in merged.items():
            self._take(series, value, now, *origin[series])
        self._settle(now)

    def exporter_age(self, url: str, now: float) -> float | None:
        """Return how long an endpoint's own numbers have not changed; None while there are none."""
        node = self.nodes.get(url)
        if node is None or node.changed_at is None or not node.numbers:
            return None
        return self.clock.age(node.changed_at, "", now)

    def alive(self) -> set[SeriesKey]:
        """Return the series of the last rounds; forget all others, and the processes that had only those."""
        self._slots = {
            key: slot for key, slot in self._slots.items() if slot and slot.round >= self.round - GONE_ROUNDS
        }
        kept = {id(slot.process) for slot in self._slots.values() if slot}
        for subject in self.subjects.values():
            newest = subject.newest()
            subject.processes = {
                name: process for name, process in subject.processes.items() if id(process) in kept or process is newest
            }
        return set(self._slots)

    def forget(self, most_runs: int, now: float) -> set[SeriesKey]:
        """Forget the runs that are over and on no page any more; return the series that are still known.

        A run is over an hour after it was last heard of if others go on, and after a minute where `most_runs` newer
        ones or their workers take the room. A heartbeat makes a run that is still on a page go on where it was.
        """
        self._end_runs(most_runs, now)
        paged = {slot.subject.run for slot in self._slots.values() if slot and slot.round >= self.round - GONE_ROUNDS}
        kept = paged | self.heard.keys()
        self._slots = {key: slot for key, slot in self._slots.items() if slot and slot.subject.run in kept}
        self.subjects = {key: subject for key, subject in self.subjects.items() if subject.run in kept}
        for subject in self.subjects.values():
            if subject.run not in self.heard:
                subject.points.clear()
        return set(self._slots)

    def _end_runs(self, most_runs: int, now: float) -> None:
        silent = {run: self.clock.age(moment, "", now) for run, moment in self.heard.items()}
        least = min(silent.values(), default=0.0)
        sizes, workers = Counter(run for run, _ in self.subjects), 0
        for rank, run in enumerate(sorted(silent, key=silent.__getitem__)):
            workers += sizes[run]
            crowded = rank >= most_runs or workers > MOST_SUBJECTS // 2
            if rank and (silent[run] > least + OVER_SECONDS or (crowded and silent[run] > CROWDED_OUT_SECONDS)):
                del self.heard[run]

    def _heard(self, url: str, numbers: dict[tuple[str, str], float], now: float) -> None:
        node = self.nodes.setdefault(url, Node(now))
        node.answered_at = now
        if numbers != node.numbers:
            node.numbers, node.changed_at = numbers, now

    def _take(self, series: SeriesKey, value: float, now: float, url: str, first: bool) -> None:
        slot = self._slots.get(series)
        if slot is None:
            if series in self._slots:
                return
            slot = self._slots[series] = self._slot(series, now)
            if slot is None:
                return
            if slot.counter and first:
                slot.value = value
                slot.subject.grow(slot.name, 0.0)
        slot.round = self.round
        process = slot.process
        if slot.counter:
            slot.subject.grow(slot.name, value - slot.value if value >= slot.value else value)
            slot.value = process.counters[slot.name] = value
        else:
            process.gauges[slot.name], process.url = value, url
            process.gauge_round = self.round

    def _slot(self, series: SeriesKey, now: float) -> _Slot | None:
        metric = _METRICS[series.name]
        labels = series.labels
        run = labels.get("run")
        if run is None or any(label not in labels for label in metric.labels):
            return None
        worker = DRIVER if metric.source == "driver" else labels.get("worker", DRIVER)
        key = (run, worker)
        if key not in self.subjects:
            if len(self.subjects) >= MOST_SUBJECTS:
                return None
            self.subjects[key] = Subject(run, worker, self._fields[worker == DRIVER])
            if run not in self.heard:  # it may have ended long ago: until its heartbeat, it stands behind all others
                self.heard[run] = min(self.heard.values(), default=now)
        subject = self.subjects[key]
        worker_id = labels.get("WorkerId", "")
        if worker_id not in subject.processes:
            subject.processes[worker_id] = Process(worker_id, labels.get("NodeAddress", ""), now, round=self.round)
        name = field_of(metric, *(labels[label] for label in metric.labels))
        return _Slot(subject, subject.processes[worker_id], name, metric.kind == "counter")

    def _settle(self, now: float) -> None:
        for subject in self.subjects.values():
            for process in subject.processes.values():
                if process.gauge_round == self.round:
                    self._beat(subject.run, process, now)
            newest = subject.newest()
            if newest.beat is not None and newest.gauge_round == self.round:
                subject.remember(newest.beat)
                if _is_idle(newest):
                    subject.idle_at = now

    def _beat(self, run: str, process: Process, now: float) -> None:
        beat = process.gauge(catalog.HEARTBEAT)
        if beat is None or beat == process.beat:
            return
        if process.beat is not None:
            process.beat_gap = beat - process.beat
            self.clock.saw(process.node, now - beat, now)
        process.beat, process.beat_changed = beat, now
        self.heard[run] = now


def _add_ray(numbers: dict[tuple[str, str], float], series: SeriesKey, value: float) -> None:
    key = (series.name, series.labels.get("Location") or series.labels.get("ip", ""))
    numbers[key] = numbers.get(key, 0.0) + value


def _is_idle(process: Process) -> bool:
    return (process.gauge(catalog.ACTIVITY, "waiting") or 0.0) > 0.5

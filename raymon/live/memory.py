"""What is remembered between scrapes: every run's processes, their last gauges, and counters that never go backwards.

Ray drops a gauge about 20 s after its process stops setting it, and keeps the counters of a dead process forever,
next to those of its successor. So the last gauges are kept here, and a worker's counters are summed over all processes
that ever carried its label: a restart adds a series and never takes one away. Rates are taken over the moments at which
the processes flushed (their heartbeats), not over the moments of scraping, which removes the jitter of both.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from raymon import catalog
from raymon.catalog import DRIVER
from raymon.live.clock import Clock
from raymon.live.courtesy import Courtesy
from raymon.live.endpoint import Endpoint, node_numbers
from raymon.live.engines import Engines
from raymon.live.parse import ENGINE_FAMILIES, METRICS, RAY_FAMILIES, SeriesKey
from raymon.live.subject import CLOCK_SET_SECONDS, MOST_OPEN_VALUES, Key, Process, Subject

MOST_SUBJECTS: Final = 20_000
MOST_COLUMNS: Final = 512
"""Counters of a worker: 25, and up to sixteen exceptions for each process."""
MOST_DRIVER_COLUMNS: Final = 2 * MOST_SUBJECTS
OVER_SECONDS: Final = 3600.0
CROWDED_OUT_SECONDS: Final = 60.0
GONE_ROUNDS: Final = 60
"""A series that has been on no page for so many rounds does not come back."""
SLEEP_SECONDS: Final = 10.0
"""After a gap this long between two rounds, rates start again: this machine slept, and perhaps the run with it. So do
those of the processes of an endpoint that did not answer for so long."""
ALIVE_SECONDS: Final = 15.0
"""A process whose heartbeat was at most this old when its node fell silent was alive: Ray exports every ten seconds."""

_FOREIGN_FAMILIES: Final = frozenset({*RAY_FAMILIES, *ENGINE_FAMILIES})

Pages: TypeAlias = Mapping[str, Sequence[tuple[SeriesKey, float]]]
"""URL of a metrics page to its samples."""


@dataclass(slots=True)
class _Slot:
    """Where the samples of one series go; `column` is None for a gauge."""

    subject: Subject
    process: Process
    key: Key
    column: int | None
    value: float = 0.0
    round: int = 0


class _Page(NamedTuple):
    """The samples of raymon's own families on one page, and whether it is the first page from its endpoint."""

    url: str
    first: bool
    samples: dict[SeriesKey, float]


@dataclass(slots=True)
class Memory:
    """Everything known from all scrapes so far.

    Attributes:
        heard: Every run that is not over, with the time of its last sign of life.
        round: Number of the last round.
        unplaced_since: Since when Ray has been unable to place some task or actor; None while it places all.
        engines: What inference engines export on the same pages.
        courtesy: Whom the work on a round gives way to.
    """

    clock: Clock = field(default_factory=Clock)
    subjects: dict[tuple[str, str], Subject] = field(default_factory=dict)
    nodes: dict[str, Endpoint] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)
    round: int = 0
    unplaced_since: float | None = None
    engines: Engines = field(default_factory=Engines)
    courtesy: Courtesy = field(default_factory=Courtesy)
    _slots: dict[SeriesKey, _Slot | None] = field(default_factory=dict)
    _columns: dict[str, dict[Key, int]] = field(default_factory=dict)
    _keys: dict[Key, Key] = field(default_factory=dict)
    _latest: dict[str, Process] = field(default_factory=dict)
    _shifts: dict[str, float] = field(default_factory=dict)
    _last: float | None = None

    def absorb(self, pages: Pages, now: float | None = None) -> None:
        """Take in the samples of one round; `now` is wall-clock seconds."""
        now = time.time() if now is None else now
        self.round += 1
        self.clock.tick(now)
        if self._last is not None and not -SLEEP_SECONDS < now - self._last < SLEEP_SECONDS:
            for subject in self.subjects.values():
                subject.sleep(now)
        self._last = now
        taken: list[_Page] = []
        owner: dict[SeriesKey, dict[SeriesKey, float]] = {}
        returned: set[str] = set()
        of_engines: list[tuple[SeriesKey, float]] = []
        for url, samples in self.courtesy.between(pages.items()):
            node = self.nodes.setdefault(url, Endpoint())
            if node.answered_at is not None and now - node.answered_at > SLEEP_SECONDS:
                returned.add(url)
                node.silence = (node.answered_at, now)
            own = _largest(samples)
            foreign = [(series, value) for series, value in samples if series.name in _FOREIGN_FAMILIES]
            for series, _ in foreign:
                own.pop(series, None)
            for series in own.keys() & owner.keys():  # twice on the pages: it counts once
                earlier = owner[series]
                del (own if own[series] <= earlier[series] else earlier)[series]
            owner.update(dict.fromkeys(own, own))
            taken.append(_Page(url, node.answered_at is None, own))
            node.answered_at = now
            node.take(node_numbers(foreign), now)
            of_engines += foreign
        self.engines.take(of_engines, now)
        for subject in self.subjects.values() if returned else ():
            if subject.newest().url in returned:
                subject.sleep(now)
        for page in self.courtesy.between(taken):
            self._take(page, now)
        self._settle(now)

    def asked(self, errors: Mapping[str, str], departures: Mapping[str, str] | None = None) -> None:
        """Note which endpoints were listed in this round, and why the scrape of each failed (empty if it worked).

        Args:
            errors: URL to error.
            departures: Host to why it left the cluster, where the discovery says so.
        """
        for url, error in errors.items():
            self.nodes.setdefault(url, Endpoint()).error = error
        for url, node in self.nodes.items():
            node.listed = url in errors
            node.departure = "" if node.listed else (departures or {}).get(urlsplit(url).hostname or "", "")

    def exporter_age(self, url: str, now: float) -> float | None:
        """Return how long an endpoint's own numbers have not changed; None while there are none."""
        node = self.nodes.get(url)
        if node is None or node.changed_at is None or not node.numbers:
            return None
        return self.clock.age(node.changed_at, "", now)

    def clock_shifts(self) -> dict[str, float]:
        """Return by how many seconds the clocks of nodes that were set while we watched are behind what they were."""
        newest = (subject.newest() for subject in self.subjects.values())
        return {process.node: process.shift for process in newest if abs(process.shift) > CLOCK_SET_SECONDS}

    def beat_age(self, process: Process, now: float) -> float | None:
        """Return the age of a process's last heartbeat; None if it never had one.

        After a silence of its node's endpoint the page still shows the heartbeat of before, until the next export:
        the age of a process that was alive until then counts from the endpoint's return.
        """
        if process.beat is None:
            return None
        age = self.clock.age(process.beat, process.node, now)
        node = self.nodes.get(process.url)
        if node is not None and node.silence is not None:
            began, ended = node.silence
            if now - ended < age < now - began + ALIVE_SECONDS:
                return now - ended
        return age

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

        A run is over an hour after its last sign of life if others go on, and after a minute if `most_runs` newer ones
        or their workers need the room. A heartbeat makes a run that is still on a page go on where it was.
        """
        self._end_runs(most_runs, now)
        paged = {slot.subject.run for slot in self._slots.values() if slot and slot.round >= self.round - GONE_ROUNDS}
        kept = paged | self.heard.keys()
        self._slots = {key: slot for key, slot in self._slots.items() if slot and slot.subject.run in kept}
        self.subjects = {key: subject for key, subject in self.subjects.items() if subject.run in kept}
        known = {id(process) for subject in self.subjects.values() for process in subject.processes.values()}
        self._latest = {name: process for name, process in self._latest.items() if id(process) in known}
        nodes = {process.node for process in self._latest.values()}
        self._shifts = {node: shift for node, shift in self._shifts.items() if node in nodes}
        self._columns = {run: columns for run, columns in self._columns.items() if run in kept}
        self._keys = {slot.key: slot.key for slot in self._slots.values() if slot}
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

    def _take(self, page: _Page, now: float) -> None:
        """Put each sample of a page where it belongs.

        One loop without calls: ten thousand workers have a quarter of a million samples a round.
        """
        slots, this_round = self._slots, self.round
        for series, value in page.samples.items():
            try:
                slot = slots[series]
            except KeyError:
                slot = slots[series] = self._slot(series, now)
                if slot is not None and page.first:
                    slot.value = value
            if slot is None:
                continue
            slot.round = this_round
            process = slot.process
            if slot.column is None:
                process.gauges[slot.key] = value
                if process.gauge_round != this_round:
                    process.gauge_round, process.url = this_round, page.url
            else:
                slot.subject.totals[slot.column] += value - slot.value if value >= slot.value else value
                slot.value = process.counters[slot.key] = value

    def _slot(self, series: SeriesKey, now: float) -> _Slot | None:
        metric = METRICS[series.name]
        labels = series.labels
        run = labels.get("run")
        if run is None or any(label not in labels for label in metric.labels):
            return None
        worker = DRIVER if metric.source == "driver" else labels.get("worker", DRIVER)
        subject = self._subject(run, worker, now)
        if subject is None:
            return None
        worker_id = labels.get("WorkerId", "")
        process = subject.processes.get(worker_id)
        if process is None:
            process = self._process(worker_id, labels.get("NodeAddress", ""), now)
            subject.processes[worker_id] = process
        if open_labels := [label for label in metric.labels if label not in metric.values]:
            most = MOST_SUBJECTS if open_labels == ["worker"] else MOST_OPEN_VALUES
            if process.open_values[metric.name] >= most:
                return None
            process.open_values[metric.name] += 1
        key: Key = (metric.name, *(labels[label] for label in metric.labels))
        key = self._keys.setdefault(key, key)  # all workers share it: looking it up again touches no other memory
        if metric.kind != "counter":
            return _Slot(subject, process, key, None)
        column = subject.column(key, MOST_DRIVER_COLUMNS if worker == DRIVER else MOST_COLUMNS)
        return None if column is None else _Slot(subject, process, key, column)

    def _process(self, worker_id: str, address: str, now: float) -> Process:
        """Return a new process; one that only changed the name of its run is as old as before."""
        process = Process(worker_id, address, now, shift=self._shifts.get(address, 0.0), round=self.round)
        earlier = self._latest.get(worker_id) if worker_id else None
        if earlier is not None:
            process.first_seen, process.round = earlier.first_seen, earlier.round
        self._latest[worker_id] = process
        return process

    def renamed(self, subjects: Iterable[Subject]) -> bool:
        """Return whether all processes of a run now report under another run: it was a fallback name."""
        processes = [process for subject in subjects for process in subject.processes.values()]
        return bool(processes) and all(
            (latest := self._latest.get(process.worker_id)) is not None
            and latest is not process
            and (latest.beat or 0.0) > (process.beat or 0.0)
            for process in processes
        )

    def _subject(self, run: str, worker: str, now: float) -> Subject | None:
        subject = self.subjects.get((run, worker))
        if subject is None and len(self.subjects) < MOST_SUBJECTS:
            columns = {} if worker == DRIVER else self._columns.setdefault(run, {})
            subject = self.subjects[run, worker] = Subject(run, worker, columns)
            if run not in self.heard:  # it may have ended long ago: until its heartbeat, it ranks behind all others
                self.heard[run] = min(self.heard.values(), default=now)
        return subject

    def _settle(self, now: float) -> None:
        for subject in self.courtesy.between(self.subjects.values()):
            for process in subject.processes.values():
                if process.gauge_round == self.round:
                    self._beat(subject.run, process, now)
            newest = subject.newest()
            if newest.beat is None or newest.gauge_round != self.round:
                continue
            if subject.resume is None or subject.awake(newest.beat + self.clock.skew(newest.node), now):
                subject.remember(newest.beat)
            if (newest.gauge(catalog.ACTIVITY, "waiting") or 0.0) > 0.5:
                subject.idle_at = now

    def _beat(self, run: str, process: Process, now: float) -> None:
        beat = process.gauge(catalog.HEARTBEAT)
        if beat is None or beat + process.shift == process.beat:
            return
        known, shift = process.beat is not None, process.shift
        process.flushed(beat, self.clock.skew(process.node), now)
        if process.shift != shift:
            self._shifts[process.node] = process.shift
        if known and process.beat is not None:
            self.clock.saw(process.node, now - process.beat, now)
        self.heard[run] = now


def _largest(samples: Sequence[tuple[SeriesKey, float]]) -> dict[SeriesKey, float]:
    """Return the largest value of each series: one that is twice on a page counts once."""
    largest = dict(samples)
    if len(largest) < len(samples):
        for series, value in samples:
            largest[series] = max(value, largest[series])
    return largest

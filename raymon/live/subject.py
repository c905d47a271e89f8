"""What one process and one worker have recorded so far: last gauges, and counters that never go backwards."""

from array import array
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

from raymon import catalog
from raymon.catalog import Metric

REMEMBERED_SECONDS: Final = 65.0
SHORTEST_SPAN_SECONDS: Final = 0.05
"""Rates over less than this are noise, or the work of a process that invents its heartbeats."""
RESUME_SECONDS: Final = 15.0
CLOCK_SET_SECONDS: Final = 3.0
"""A heartbeat so long before the last one, or after now, comes from a clock that was set."""
MOST_OPEN_VALUES: Final = 16
"""Values of a label without enumerated values (an engine, an exception) that are kept per process and family."""

Key: TypeAlias = tuple[str, ...]
"""One series within its process: the name of the family, then the values of the labels it declares."""
Totals: TypeAlias = "array[float]"


def key_of(metric: Metric, *values: str) -> Key:
    """Return the key of one series of a family."""
    return (metric.name, *values)


class Interval(NamedTuple):
    """Two moments of a subject: the seconds between them and the totals at each."""

    seconds: float
    before: Totals
    after: Totals


class EmptyRollouts(NamedTuple):
    """Rollouts without a step since the last step.

    Attributes:
        number: How many, as far back as the history reaches.
        seconds: For how long there have been only such; None while the last rollout had steps.
        longest_before: The longest such time that ended with a step.
    """

    number: float = 0.0
    seconds: float | None = None
    longest_before: float = 0.0


class ClockStep(NamedTuple):
    """That the clock of a node was set: the heartbeats before and after, by that clock, and the shift before."""

    before: float
    after: float
    shift_before: float

    def is_older(self, moment: float) -> bool:
        """Return whether a moment was written before the clock was set; of what is ambiguous, that it was not."""
        if self.after > self.before:
            return moment < (self.before + self.after) / 2.0
        return moment > (self.before + self.after) / 2.0


@dataclass(slots=True, eq=False)
class Process:
    """One process that records, identified by Ray's worker id.

    Attributes:
        beat: Its last heartbeat, by the clock of its node before that was ever set.
        beat_gap: Seconds between its last two heartbeats.
        beat_seen: When we first saw the last heartbeat.
        shift: Seconds to add to moments by its node's clock, so that they go on where they were before it was set. A
            process that begins after that has it from those before it.
        url: The endpoint its gauges were last seen at.
        gauge_round: The last round that showed any of its gauges.
        round: The round in which it was first seen.
        open_values: Family to number of series, for families with labels that are not enumerated.
    """

    worker_id: str
    node: str
    first_seen: float
    gauges: dict[Key, float] = field(default_factory=dict)
    counters: dict[Key, float] = field(default_factory=dict)
    beat: float | None = None
    beat_gap: float | None = None
    beat_seen: float = 0.0
    shift: float = 0.0
    url: str = ""
    gauge_round: int = -1
    round: int = 0
    open_values: Counter[str] = field(default_factory=Counter)
    _step: ClockStep | None = None

    def gauge(self, metric: Metric, *values: str) -> float | None:
        """Return the last value of a gauge; None if it was never seen."""
        return self.gauges.get((metric.name, *values))

    def moment(self, metric: Metric) -> float | None:
        """Return the moment in a gauge, by its node's clock before that was ever set; None if it is 0 or unknown."""
        moment = self.gauge(metric)
        if not moment:
            return None
        if self._step is None:
            return moment + self.shift
        return moment + (self._step.shift_before if self._step.is_older(moment) else self.shift)

    def flushed(self, beat: float, skew: float, now: float) -> None:
        """Take in a new heartbeat, first seen at our `now`; notice if the node's clock was set since the last one.

        Only two things prove that: a heartbeat before the last one, and one that is yet to come. `skew` is by how many
        seconds that clock was behind ours before.
        """
        if self.beat is None:
            self.beat, self.beat_seen = beat + self.shift, now
            return
        elapsed, gap = now - self.beat_seen, beat + self.shift - self.beat
        if gap < -CLOCK_SET_SECONDS or beat + self.shift + skew > now + CLOCK_SET_SECONDS:
            self._step = ClockStep(self.beat - self.shift, beat, self.shift)
            self.shift += elapsed - gap
            gap = elapsed
        self.beat_gap, self.beat, self.beat_seen = gap, beat + self.shift, now

    def label(self, metric: Metric, values: Iterable[str]) -> str | None:
        """Return the value whose series of an enumerated gauge is 1; None if there is none."""
        return next((value for value in values if (self.gauge(metric, value) or 0.0) > 0.5), None)

    def counter(self, metric: Metric, *values: str) -> float | None:
        """Return the last value of a counter; None if it was never seen."""
        return self.counters.get((metric.name, *values))


@dataclass(slots=True, eq=False)
class Subject:
    """A worker of a run, or its driver: all processes that carried the same labels `run` and `worker`.

    Attributes:
        columns: Key of a counter to its index in `totals`; shared by the workers of a run.
        totals: Growth of every counter since the collector began.
        points: Moment of a flush and the totals at that moment, oldest first.
        idle_at: When it was last seen waiting, or seen again.
        pause: Last result of `longest_pause`, kept for a worker whose steps now stand still.
        resume: Set after a machine slept: no rates until work begun before the sleep has been counted.
        empty: Last result of `empty_rollouts`.
    """

    run: str
    worker: str
    columns: dict[Key, int]
    processes: dict[str, Process] = field(default_factory=dict)
    totals: Totals = field(default_factory=lambda: array("d"))
    points: deque[tuple[float, Totals]] = field(default_factory=deque)
    idle_at: float = 0.0
    pause: float | None = None
    resume: "_Resume | None" = None
    empty: EmptyRollouts = field(default_factory=EmptyRollouts)
    failures: "_Failures | None" = None

    def newest(self) -> Process:
        """Return the process with the latest heartbeat; without any heartbeat, the one first seen last."""
        processes = self.processes.values()
        if len(processes) == 1:
            return next(iter(processes))
        return max(processes, key=lambda process: (process.beat or 0.0, process.first_seen))

    def replaced(self, since: float, report: float) -> list[float]:
        """Return when each successor of a process that was seen alive, and has been silent since, was first seen.

        Processes first seen before `since` belong to an earlier run of the same name; those that were gone at the
        first collection may.
        """
        newest = self.newest()
        watched = [
            each for each in self.processes.values() if each.first_seen >= since and (each.beat or each.round > 1)
        ]
        silent = [each for each in watched if each is not newest and (each.beat or 0.0) < (newest.beat or 0.0) - report]
        starts = sorted(each.first_seen for each in [*silent, newest])
        return starts[1:] if newest in watched else []

    def column(self, key: Key, most: int) -> int | None:
        """Return the index of a counter in `totals`; None if there are `most` counters already."""
        at = self.columns.get(key)
        if at is None:
            if len(self.columns) >= most:
                return None
            at = self.columns[key] = len(self.columns)
        if at >= len(self.totals):
            self.totals.extend([0.0] * (at + 1 - len(self.totals)))
        return at

    def remember(self, moment: float) -> None:
        """Keep the totals at a flush; if the clock went backwards, start again."""
        points = self.points
        if points and moment < points[-1][0]:
            points.clear()
        if not points or moment > points[-1][0]:
            points.append((moment, self.totals[:]))
            while points[0][0] < moment - REMEMBERED_SECONDS:
                points.popleft()

    def sleep(self, now: float) -> None:
        """Discard what is known about rates: this machine or its own, and perhaps the run, stood still until `now`."""
        self.points.clear()
        self.idle_at = now
        self.pause = None
        self.resume = _Resume(now)

    def awake(self, beat: float, now: float) -> bool:
        """Return whether the totals are free of work that was interrupted by the sleep; `beat` is by our clock."""
        if self.resume is None:
            return True
        metric = catalog.UPDATES if self.worker == catalog.DRIVER else catalog.ROLLOUTS
        at = self.columns.get(key_of(metric))
        count = self.totals[at] if at is not None and at < len(self.totals) else 0.0
        if self.resume.count is None:
            if beat > self.resume.since + 1.0:
                self.resume.count = count
        elif count >= self.resume.count + 2.0:
            self.resume = None
        if self.resume is not None and now - self.resume.since > RESUME_SECONDS:
            self.resume = None
        return self.resume is None

    def growth(self, window: float) -> Interval | None:
        """Return the span of about the last `window` seconds; None before there are two moments."""
        if len(self.points) < 2:
            return None
        last, totals = self.points[-1]
        before = self.points[0]
        for point in reversed(self.points):
            if point[0] <= last - window:
                before = point
                break
        seconds = last - before[0]
        return Interval(seconds, before[1], totals) if seconds > SHORTEST_SPAN_SECONDS else None

    def whole_growths(self, key: Key, window: float) -> Interval | None:
        """Return a span of at least `window` seconds, or all that is known, that ends and begins as a counter grew.

        The work that the counter counts at its end is whole in it. None before the counter was seen to grow twice.
        """
        at = self.columns.get(key)
        if at is None:
            return None
        grew: list[tuple[float, Totals]] = []
        after: tuple[float, Totals] | None = None
        for point in reversed(self.points):
            if after is not None and _total(after[1], at) > _total(point[1], at):
                grew.append(after)
                if grew[0][0] - after[0] >= window:
                    break
            after = point
        if len(grew) < 2:
            return None
        return Interval(grew[0][0] - grew[-1][0], grew[-1][1], grew[0][1])

    def longest_pause(self, fewest: int) -> float | None:
        """Return the longest time between two growths of the worker's steps, over the last minute in which they grew.

        The time for which they stand still now does not count. None until they were seen to grow `fewest` times.
        """
        at = self.columns.get(key_of(catalog.ENV_STEPS))
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

    def empty_rollouts(self) -> EmptyRollouts:
        """Return the rollouts without a step since the last step."""
        at = self.columns.get(key_of(catalog.EMPTY_ROLLOUTS))
        if at is None:
            return self.empty
        number, seconds = self._counted_since(catalog.ENV_STEPS, [at])
        longest, known = self.empty.longest_before, self.empty.seconds or 0.0
        if not number or seconds < known:
            longest = max(longest, known)
        self.empty = EmptyRollouts(number, seconds if number else None, longest)
        return self.empty

    def failures_since_success(self, began: float = 0.0) -> float:
        """Return how many rollouts have failed since the last one that succeeded, or in the same flush as that one.

        Which of the two came first within a flush is not known.

        Args:
            began: When the run's driver was first seen, 0 if it has none; failures under an earlier one do not count.
        """
        columns = [at for key, at in self.columns.items() if key[0] == catalog.ROLLOUT_FAILURES.name]
        if not columns:
            return 0.0
        failed = sum(_total(self.totals, at) for at in columns)
        succeeded = _total(self.totals, self.columns.get(key_of(catalog.ROLLOUTS), len(self.totals)))
        known = self.failures or _Failures(succeeded, 0.0, 0.0, began)
        goes_on = succeeded == known.succeeded and known.began in (0.0, began)
        before = known.before if goes_on else known.last
        self.failures = _Failures(succeeded, before, failed, began)
        return failed - before

    def _counted_since(self, metric: Metric, counters: list[int]) -> tuple[float, float]:
        """Return by how much counters grew since another one last grew, and how long that is ago."""
        if not self.points:
            return 0.0, 0.0
        at = self.columns.get(key_of(metric), len(self.totals))
        last, after = self.points[-1]
        since, before = last, after
        for moment, totals in reversed(self.points):
            if _total(totals, at) != _total(after, at):
                break
            since, before = moment, totals
        return sum(_total(after, each) - _total(before, each) for each in counters), last - since

    def grown(self, span: Interval, metric: Metric, *values: str) -> float | None:
        """Return by how much a counter grew over a span; None if the subject has no such counter."""
        at = self.columns.get((metric.name, *values))
        if at is None or at >= len(span.after):
            return None
        return span.after[at] - (span.before[at] if at < len(span.before) else 0.0)

    def growth_per_second(self, span: Interval) -> dict[Key, float]:
        """Return the growth per second of every counter over a span."""
        seconds, before, after = span
        known = len(before)
        return {
            key: (after[at] - (before[at] if at < known else 0.0)) / seconds
            for key, at in self.columns.items()
            if at < len(after)
        }


@dataclass(slots=True)
class _Resume:
    """The end of a sleep and, once a flush came after it, the updates or rollouts counted by then."""

    since: float
    count: float | None = None


class _Failures(NamedTuple):
    """Rollouts that had succeeded and failed at the last look, and failed before what counts; when the driver began."""

    succeeded: float
    before: float
    last: float
    began: float


def _total(totals: Totals, at: int) -> float:
    return totals[at] if at < len(totals) else 0.0

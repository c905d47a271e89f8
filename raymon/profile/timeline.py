"""The phases of a run's processes over time: lanes to draw, a trace for Perfetto, the worker that arrives last.

Pure functions over what monitors recorded during a capture. Second 0 is the first process's first record.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from raymon.catalog import DRIVER
from raymon.monitor.capture import MOST_SPANS

ITERATION: Final = "other"
"""The driver's outermost span: an iteration, whose time outside all phases is `other`."""
ROLLOUT: Final = "rollout"
LEAST_ITERATIONS: Final = 5
LAST_RATIO: Final = 0.6
MARGIN_RATIO: Final = 0.1
LONGEST_SECONDS: Final = 86_400.0
MOST_LANES: Final = 64
"""Spans of one process that overlap without nesting come from its threads; those beyond so many are counted as lost."""
_LATEST: Final = 1e11
"""A later moment, in Unix seconds, is none."""


class PhaseSpan(NamedTuple):
    """One span in a phase; `parts` holds seconds by phase that were measured as a sum inside it."""

    phase: str
    start: float
    end: float
    parts: Mapping[str, float] = {}

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Track:
    """The events of one process in lanes, in which events only nest; `lost` counts events that did not fit."""

    run: str
    worker: str
    pid: int
    seconds: float
    lanes: tuple[tuple[PhaseSpan, ...], ...] = ()
    lost: int = 0

    @property
    def name(self) -> str:
        """`driver`, or `worker 3`."""
        return self.worker if self.worker == DRIVER else f"worker {self.worker}"

    def word(self, event: PhaseSpan) -> str:
        """Return the event's name; the driver's outermost span is its iteration."""
        return "iteration" if self.worker == DRIVER and event.phase == ITERATION else event.phase

    def of(self, phase: str) -> list[PhaseSpan]:
        """Return the events of a phase, ordered by their end."""
        return sorted((e for lane in self.lanes for e in lane if e.phase == phase), key=lambda event: event.end)


@dataclass(frozen=True, slots=True)
class LastArrivals:
    """The worker that ends an iteration's sampling last; `seconds` is its mean delay in those iterations."""

    worker: str
    ratio: float
    seconds: float
    iterations: int


@dataclass(slots=True)
class _Lane:
    events: list[PhaseSpan] = field(default_factory=list)
    open: list[float] = field(default_factory=list)

    def takes(self, event: PhaseSpan) -> bool:
        while self.open and self.open[-1] <= event.start:
            self.open.pop()
        return not self.open or event.end <= self.open[-1]


class _Trace(NamedTuple):
    """What one process recorded, checked; moments are seconds after `began`."""

    run: str
    worker: str
    pid: int
    began: float
    seconds: float
    spans: list[tuple[str, float, float]]
    parts: list[tuple[str, float, float]]
    lost: int


def tracks(traces: Iterable[object]) -> list[Track]:
    """Return the processes, the driver first and then by number; skip what is not a trace."""
    good = [trace for each in traces if (trace := _checked(each)) is not None]
    zero = min((trace.began for trace in good), default=0.0)
    result = [_track(trace, trace.began - zero) for trace in good]
    return sorted(result, key=lambda t: (t.worker != DRIVER, not t.worker.isdigit(), t.worker.zfill(12)))


def _checked(trace: Any) -> _Trace | None:  # noqa: ANN401  # any JSON
    """Return a trace as `raymon.monitor.capture` writes it; None for anything else."""
    try:
        run, worker, pid, lost = trace["run"], trace["worker"], trace["pid"], trace.get("lost", 0)
        began, seconds = _number(trace["began"]), _number(trace["seconds"])
        spans, parts = _triples(trace["spans"]), _triples(trace.get("parts", []))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None
    texts = isinstance(run, str) and isinstance(worker, str) and worker
    if not texts or type(pid) is not int or type(lost) is not int or not 0 <= seconds <= LONGEST_SECONDS:
        return None
    return _Trace(run, worker, pid, began, seconds, spans, parts, lost)


def _triples(listed: Sequence[Any]) -> list[tuple[str, float, float]]:
    return [(_text(phase), _number(first), _number(second)) for phase, first, second in listed[:MOST_SPANS]]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a phase is not a string")
    return value


def _number(value: Any) -> float:  # noqa: ANN401  # any JSON
    number = float(value)
    if isinstance(value, str) or not abs(number) <= _LATEST:  # also what is not a number
        raise ValueError("a moment is impossible")
    return number


def _track(trace: _Trace, offset: float) -> Track:
    events = sorted(
        (PhaseSpan(phase, max(start, 0.0) + offset, end + offset) for phase, start, end in trace.spans),
        key=lambda event: (event.start, -event.end),
    )
    lanes: list[_Lane] = []
    lost = trace.lost
    for event in events:
        lane = next((lane for lane in lanes if lane.takes(event)), None)
        if lane is None and len(lanes) >= MOST_LANES:
            lost += 1
            continue
        if lane is None:
            lane = _Lane()
            lanes.append(lane)
        lane.events.append(event)
        lane.open.append(event.end)
    placed = _with_parts([lane.events for lane in lanes], trace.parts, offset)
    return Track(trace.run, trace.worker, trace.pid, trace.seconds, placed, lost)


def _with_parts(
    lanes: list[list[PhaseSpan]], parts: Sequence[tuple[str, float, float]], offset: float
) -> tuple[tuple[PhaseSpan, ...], ...]:
    """Assign each part to the innermost event that contains its moment."""
    sums_by_event: dict[tuple[int, int], dict[str, float]] = {}
    events = [(event, (row, column)) for row, lane in enumerate(lanes) for column, event in enumerate(lane)]
    events.sort(key=lambda item: item[0].start)
    enclosing: list[tuple[PhaseSpan, tuple[int, int]]] = []
    waiting = iter(events)
    following = next(waiting, None)
    for phase, at, seconds in sorted(parts, key=lambda part: part[1]):
        moment = at + offset
        while following is not None and following[0].start <= moment:
            enclosing.append(following)
            following = next(waiting, None)
        enclosing = [item for item in enclosing if item[0].end >= moment]
        if enclosing:
            innermost = max(enclosing, key=lambda item: item[0].start)[1]
            sums = sums_by_event.setdefault(innermost, {})
            sums[phase] = sums.get(phase, 0.0) + seconds
    return tuple(
        tuple(event._replace(parts=sums_by_event.get((row, column), {})) for column, event in enumerate(lane))
        for row, lane in enumerate(lanes)
    )


def chrome(tracks: Sequence[Track]) -> dict[str, Any]:
    """Return the tracks in the Trace Event Format, which ui.perfetto.dev and chrome://tracing open."""
    events: list[dict[str, Any]] = []
    for number, track in enumerate(tracks):
        header = {"ph": "M", "pid": number, "tid": 0}
        events.append({**header, "name": "process_name", "args": {"name": f"{track.name} (pid {track.pid})"}})
        events.append({**header, "name": "process_sort_index", "args": {"sort_index": number}})
        for row, lane in enumerate(track.lanes):
            for event in lane:
                args = {f"{phase}_seconds": round(seconds, 6) for phase, seconds in event.parts.items()}
                header = {
                    "ph": "X",
                    "pid": number,
                    "tid": row,
                    "cat": track.run,
                    "name": track.word(event),
                    "args": args,
                }
                events.append({**header, "ts": round(event.start * 1e6, 1), "dur": round(event.seconds * 1e6, 1)})
    return {"displayTimeUnit": "ms", "traceEvents": events}


def last_arrivals(tracks: Sequence[Track]) -> LastArrivals | None:
    """Return the worker for which the others and the driver wait in most iterations, None without one."""
    driver = next((track for track in tracks if track.worker == DRIVER), None)
    workers = {track.worker: track.of(ROLLOUT) for track in tracks if track.worker != DRIVER}
    if driver is None or len(workers) < 2:
        return None
    margins: dict[str, list[float]] = {}
    iterations = [event for event in driver.of(ITERATION) if event.seconds > 0]
    judged = []
    for iteration in iterations:
        ends = sorted(
            (max((e.end for e in events if iteration.start <= e.end <= iteration.end), default=-1.0), worker)
            for worker, events in workers.items()
        )
        if ends[0][0] >= 0:
            judged.append(iteration.seconds)
            margins.setdefault(ends[-1][1], []).append(ends[-1][0] - ends[-2][0])
    if len(judged) < LEAST_ITERATIONS:
        return None
    worker, late = max(margins.items(), key=lambda item: len(item[1]))
    seconds, ratio = statistics.fmean(late), len(late) / len(judged)
    if ratio < LAST_RATIO or seconds < MARGIN_RATIO * statistics.fmean(judged):
        return None
    return LastArrivals(worker, ratio, seconds, len(judged))


def window(tracks: Sequence[Track], iterations: int = 6) -> tuple[float, float]:
    """Return (start, end) of the span to draw: iterations from the middle, else rollouts, else everything."""
    whole = (0.0, max((track.seconds for track in tracks), default=1.0))
    for phase, kept in ((ITERATION, [t for t in tracks if t.worker == DRIVER]), (ROLLOUT, list(tracks))):
        ended = sorted((e for track in kept for e in track.of(phase)), key=lambda event: event.start)
        if len(ended) >= 3:
            middle = len(ended) // 2
            chosen = ended[max(0, middle - iterations // 2) : middle + (iterations + 1) // 2]
            return chosen[0].start, max(event.end for event in chosen)
    return whole

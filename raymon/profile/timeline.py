"""What the processes of a run did, phase by phase: lanes to draw, a trace for Perfetto, who arrives last.

Pure functions over what monitors noted during a capture. Seconds count from the beginning of the first process's notes.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from raymon.catalog import DRIVER

ITERATION: Final = "other"
"""The driver's outermost span: an iteration, whose time outside all phases is `other`."""
ROLLOUT: Final = "rollout"
LEAST_ITERATIONS: Final = 5
LAST_RATIO: Final = 0.6
MARGIN_RATIO: Final = 0.1


class Event(NamedTuple):
    """One stay in a phase; `parts` are seconds by phase that were measured in sum inside it."""

    phase: str
    start: float
    end: float
    parts: Mapping[str, float] = {}

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Track:
    """One process: its events in lanes, in each of which they only nest; `lost` counts those it had no room for."""

    run: str
    worker: str
    pid: int
    seconds: float
    lanes: tuple[tuple[Event, ...], ...] = ()
    lost: int = 0

    @property
    def name(self) -> str:
        """`driver`, or `worker 3`."""
        return self.worker if self.worker == DRIVER else f"worker {self.worker}"

    def word(self, event: Event) -> str:
        """Return what an event is called: the driver's outermost span is its iteration."""
        return "iteration" if self.worker == DRIVER and event.phase == ITERATION else event.phase

    def of(self, phase: str) -> list[Event]:
        """Return the events of a phase, by their ends."""
        return sorted((e for lane in self.lanes for e in lane if e.phase == phase), key=lambda event: event.end)


@dataclass(frozen=True, slots=True)
class LastArrivals:
    """Who ends an iteration's sampling last; `seconds` is by how much, on average over those it was last in."""

    worker: str
    ratio: float
    seconds: float
    iterations: int


@dataclass(slots=True)
class _Lane:
    events: list[Event] = field(default_factory=list)
    open: list[float] = field(default_factory=list)

    def takes(self, event: Event) -> bool:
        while self.open and self.open[-1] <= event.start:
            self.open.pop()
        return not self.open or event.end <= self.open[-1]


def tracks(traces: Sequence[Mapping[str, Any]]) -> list[Track]:
    """Return the processes, the driver first and then by number; what is no trace is left out."""
    good = [trace for trace in traces if isinstance(trace.get("spans"), list) and trace.get("worker")]
    zero = min((float(trace["began"]) for trace in good), default=0.0)
    found = [_track(trace, float(trace["began"]) - zero) for trace in good]
    return sorted(found, key=lambda t: (t.worker != DRIVER, not t.worker.isdigit(), t.worker.zfill(12)))


def _track(trace: Mapping[str, Any], offset: float) -> Track:
    events = sorted(
        (
            Event(str(phase), max(float(start), 0.0) + offset, float(end) + offset)
            for phase, start, end in trace["spans"]
        ),
        key=lambda event: (event.start, -event.end),
    )
    lanes: list[_Lane] = []
    for event in events:
        lane = next((lane for lane in lanes if lane.takes(event)), None)
        if lane is None:
            lane = _Lane()
            lanes.append(lane)
        lane.events.append(event)
        lane.open.append(event.end)
    placed = _with_parts([lane.events for lane in lanes], trace.get("parts", ()), offset)
    return Track(
        str(trace["run"]),
        str(trace["worker"]),
        int(trace["pid"]),
        float(trace["seconds"]),
        placed,
        int(trace.get("lost", 0)),
    )


def _with_parts(lanes: list[list[Event]], parts: Sequence[Any], offset: float) -> tuple[tuple[Event, ...], ...]:
    """Give each event the parts that were told during it: those of the innermost one that held them."""
    told: dict[tuple[int, int], dict[str, float]] = {}
    events = [(event, (row, column)) for row, lane in enumerate(lanes) for column, event in enumerate(lane)]
    events.sort(key=lambda item: item[0].start)
    open_: list[tuple[Event, tuple[int, int]]] = []
    waiting = iter(events)
    following = next(waiting, None)
    for phase, at, seconds in sorted(parts, key=lambda part: float(part[1])):
        moment = float(at) + offset
        while following is not None and following[0].start <= moment:
            open_.append(following)
            following = next(waiting, None)
        open_ = [item for item in open_ if item[0].end >= moment]
        if open_:
            innermost = max(open_, key=lambda item: item[0].start)[1]
            sums = told.setdefault(innermost, {})
            sums[str(phase)] = sums.get(str(phase), 0.0) + float(seconds)
    return tuple(
        tuple(event._replace(parts=told.get((row, column), {})) for column, event in enumerate(lane))
        for row, lane in enumerate(lanes)
    )


def chrome(found: Sequence[Track]) -> dict[str, Any]:
    """Return the tracks in the Trace Event Format, which ui.perfetto.dev and chrome://tracing open."""
    events: list[dict[str, Any]] = []
    for number, track in enumerate(found):
        about = {"ph": "M", "pid": number, "tid": 0}
        events.append({**about, "name": "process_name", "args": {"name": f"{track.name} (pid {track.pid})"}})
        events.append({**about, "name": "process_sort_index", "args": {"sort_index": number}})
        for row, lane in enumerate(track.lanes):
            for event in lane:
                args = {f"{phase}_seconds": round(seconds, 6) for phase, seconds in event.parts.items()}
                about = {
                    "ph": "X",
                    "pid": number,
                    "tid": row,
                    "cat": track.run,
                    "name": track.word(event),
                    "args": args,
                }
                events.append({**about, "ts": round(event.start * 1e6, 1), "dur": round(event.seconds * 1e6, 1)})
    return {"displayTimeUnit": "ms", "traceEvents": events}


def last_arrivals(found: Sequence[Track]) -> LastArrivals | None:
    """Return the worker that the others and the driver wait for, iteration after iteration; None when there is none."""
    driver = next((track for track in found if track.worker == DRIVER), None)
    workers = {track.worker: track.of(ROLLOUT) for track in found if track.worker != DRIVER}
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


def window(found: Sequence[Track], iterations: int = 6) -> tuple[float, float]:
    """Return start and end of a stretch worth drawing: iterations from the middle, else rollouts, else all."""
    whole = (0.0, max((track.seconds for track in found), default=1.0))
    for phase, kept in ((ITERATION, [t for t in found if t.worker == DRIVER]), (ROLLOUT, list(found))):
        ended = sorted((e for track in kept for e in track.of(phase)), key=lambda event: event.start)
        if len(ended) >= 3:
            middle = len(ended) // 2
            chosen = ended[max(0, middle - iterations // 2) : middle + (iterations + 1) // 2]
            return chosen[0].start, max(event.end for event in chosen)
    return whole

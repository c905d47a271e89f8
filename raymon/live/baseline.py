"""What has been normal for a run: pauses and silences it survived, and what a step cost in earlier windows.

Verdicts are pure functions of one view, so what they compare with is put into the view here, from the views before.
"""

from collections import deque
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from raymon.health.windows import window_seconds
from raymon.live.courtesy import Courtesy
from raymon.live.flow_view import NOTHING
from raymon.live.token_costs import STEP, Costs, costs_of, in_one_unit
from raymon.views import FlowView, RunView, WorkerView

REMEMBERED_SECONDS: Final = 600.0
"""Pauses of workers are remembered this long: a curriculum changes what is normal."""
GAPS_SECONDS: Final = 3600.0
"""Gaps between updates are remembered longer, since evaluations and checkpoints are rare."""
WINDOWS: Final = 8
NOTED_SECONDS: Final = 0.5
"""Shorter pauses change no limit."""
MOST_EVENTS: Final = 16
MOST_COSTS: Final = 200_000
"""With more costs of workers in memory, none is kept for longer than `WINDOWS` windows."""


@dataclass(slots=True)
class _Longest:
    """The longest durations within a time, the longest first."""

    within_seconds: float
    _events: list[tuple[float, float]] = field(default_factory=list)

    def add(self, seconds: float, now: float) -> None:
        self._events.append((seconds, now))
        self._events.sort(reverse=True)
        del self._events[MOST_EVENTS:]

    def longest(self, rank: int, now: float) -> float | None:
        """Return the `rank`-th longest, 0 for the longest; None when there were fewer."""
        self._events = [event for event in self._events if event[1] > now - self.within_seconds]
        return self._events[rank][0] if len(self._events) > rank else None


@dataclass(slots=True)
class _Peak:
    """The current growth of an age that falls when something happens."""

    value: float = 0.0

    def fell_from(self, value: float) -> float | None:
        """Take in the next value; return the peak when it has fallen."""
        before, self.value = self.value, value
        return before if value < before - 0.2 else None


@dataclass(slots=True)
class _Worker:
    still: _Peak = field(default_factory=_Peak)
    silence: _Peak = field(default_factory=_Peak)
    stills: _Longest = field(default_factory=lambda: _Longest(REMEMBERED_SECONDS))
    silences: _Longest = field(default_factory=lambda: _Longest(REMEMBERED_SECONDS))
    silence_cpu_ratio: float | None = None
    process: tuple[str | None, int | None] | None = None
    seen_at: float = 0.0


class _Observed(NamedTuple):
    """What a step or token cost each worker at a moment, and how many rollouts each had ended by then."""

    moment: float
    costs: Mapping[str, Costs]
    ended: Mapping[str, float]


@dataclass(slots=True)
class _Run:
    began: float
    workers: dict[str, _Worker] = field(default_factory=dict)
    stills: _Longest = field(default_factory=lambda: _Longest(REMEMBERED_SECONDS))
    silences: _Longest = field(default_factory=lambda: _Longest(REMEMBERED_SECONDS))
    gap: _Peak = field(default_factory=_Peak)
    gaps: _Longest = field(default_factory=lambda: _Longest(GAPS_SECONDS))
    costs: "deque[_Observed]" = field(default_factory=deque)
    syncs: _Longest = field(default_factory=lambda: _Longest(REMEMBERED_SECONDS))


@dataclass(slots=True)
class Baseline:
    """What has been normal for each run, from its views so far.

    Attributes:
        courtesy: Whom the comparing gives way to.
    """

    courtesy: Courtesy = field(default_factory=Courtesy)
    _runs: dict[str, _Run] = field(default_factory=dict)

    def compare(self, view: RunView, now: float) -> RunView:
        """Take in a view and return it with what was normal before."""
        if view.problem or view.data_age_seconds is None:
            return view
        run = self._runs.get(view.run)
        if run is None:
            run = self._runs[view.run] = _Run(now)
        workers = tuple(_worker(run, worker, view, now) for worker in self.courtesy.between(view.workers))
        run.workers = {name: known for name, known in run.workers.items() if known.seen_at > now - REMEMBERED_SECONDS}
        _updates(run, view, now)
        view = replace(
            view,
            workers=workers,
            watched_seconds=now - run.began,
            long_pause_seconds=run.stills.longest(1, now),
            long_silence_seconds=run.silences.longest(1, now),
            longest_update_gap_seconds=run.gaps.longest(0, now),
            flow=_flow(run, view.flow, now),
        )
        return in_one_unit(view, _earlier(run, view, now))

    def keep(self, runs: Set[str]) -> None:
        """Forget every run but these."""
        self._runs = {run: normal for run, normal in self._runs.items() if run in runs}


def _worker(run: _Run, view: WorkerView, whole: RunView, now: float) -> WorkerView:
    known = run.workers.setdefault(view.worker, _Worker())
    known.seen_at = now
    if (process := (view.node, view.pid)) != known.process:  # what another process did not come back from
        known.process, known.still, known.silence = process, _Peak(), _Peak()
    beat = view.heartbeat_age_seconds or 0.0
    if view.stuck_seconds is not None and view.lifecycle not in ("restarting", "given_up"):
        still = 0.0 if view.activity in ("waiting", "starting") else max(0.0, view.stuck_seconds - beat)
        if (peak := known.still.fell_from(still)) is not None and peak > NOTED_SECONDS:
            known.stills.add(peak, now)
            run.stills.add(peak, now)
    silence = max(0.0, beat - max(whole.data_age_seconds or 0.0, whole.report_seconds or 1.0))
    if (peak := known.silence.fell_from(silence)) is not None and peak > 2.0 * NOTED_SECONDS:
        known.silences.add(peak, now)
        run.silences.add(peak, now)
        known.silence_cpu_ratio = view.cpu_ratio
    survived_pause, survived_silence = known.stills.longest(0, now), known.silences.longest(0, now)
    if survived_pause is None and survived_silence is None and known.silence_cpu_ratio is None:
        return view
    return replace(
        view,
        survived_pause_seconds=survived_pause,
        survived_silence_seconds=survived_silence,
        silence_cpu_ratio=known.silence_cpu_ratio,
    )


def _updates(run: _Run, view: RunView, now: float) -> None:
    if view.last_update_age_seconds is None:
        return
    gap = max(0.0, view.last_update_age_seconds - (view.driver_heartbeat_age_seconds or 0.0))
    if (peak := run.gap.fell_from(gap)) is not None and peak > NOTED_SECONDS:
        run.gaps.add(peak, now)


def _flow(run: _Run, flow: FlowView, now: float) -> FlowView:
    if flow.updates_between_syncs is not None:
        run.syncs.add(flow.updates_between_syncs, now)
    return replace(flow, updates_between_syncs=run.syncs.longest(0, now)) if flow != NOTHING else flow


def _earlier(run: _Run, view: RunView, now: float) -> tuple[Mapping[str, Costs], ...]:
    """Return what a step or token cost each worker in the windows before the current one, the newest first.

    Costs per token are of whole batches. A batch that takes longer than a window is one observation, not several: the
    window before is then the one in which other batches ended.
    """
    window = window_seconds(view.report_seconds)
    spacing = window / WINDOWS
    if not run.costs or now - run.costs[-1].moment >= spacing - 0.05:
        costs_now = {worker.worker: costs_of(worker) for worker in view.workers}
        ended = {worker.worker: worker.rollouts_total or 0.0 for worker in view.workers}
        run.costs.append(_Observed(now, {name: costs for name, costs in costs_now.items() if costs}, ended))
    later = run.costs[-1]
    earlier: list[Mapping[str, Costs]] = []
    oldest = due = now - window
    for observed in reversed(run.costs):
        if len(earlier) == WINDOWS - 1:
            break
        if observed.moment <= due + 0.5 * spacing and (other := _other_batches(observed, later)) is not None:
            later = observed
            earlier.append(other)
            oldest, due = observed.moment, observed.moment - window
    enough = len(earlier) == WINDOWS - 1 or len(run.costs) * len(view.workers) > MOST_COSTS
    kept_since = min(oldest, now - WINDOWS * window) if enough else now - REMEMBERED_SECONDS
    while run.costs[0].moment < kept_since:
        run.costs.popleft()
    return tuple(earlier)


def _other_batches(observed: _Observed, later: _Observed) -> Mapping[str, Costs] | None:
    """Return the costs without those per token of batches that count later, too; None if fewer than two are left."""
    costs = observed.costs
    per_token = [name for name, each in costs.items() if STEP not in each]
    same = {name for name in per_token if later.ended.get(name) == observed.ended[name]}
    if per_token and len(per_token) - len(same) < max(2, len(per_token) / 2):
        return None
    return {name: each for name, each in costs.items() if name not in same} if same else costs

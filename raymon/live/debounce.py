"""Show a change of verdict only once it has lasted: one late export must not flash a state."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Final

from raymon.health import RUN_STATES, THRESHOLDS, RunVerdict, WorkerVerdict, judge, judge_workers
from raymon.live.courtesy import Courtesy
from raymon.views import RunView

WORKER_HOLD_SECONDS: Final[Mapping[str, float]] = {"slow": THRESHOLDS.slow_hold_seconds}
_AT_ONCE: Final = (
    "starting",
    "stale",
    "references_kept",
    "straggler_bound",
    "finished",
    "stopped",
    "failed",
    "killed",
    "driver_gone",
    "workers_lost",
    "worker_stalled",
    "unknown",
    "no_progress",
    "node_silent",
    "node_lost",
    "node_drained",
    "workers_unplaced",
    "loss_not_finite",
)
RUN_HOLD_SECONDS: Final[Mapping[str, float]] = {
    state: THRESHOLDS.slow_hold_seconds for state in RUN_STATES if state not in _AT_ONCE
}


@dataclass(slots=True)
class Debounce:
    """The verdicts of before; a state that can flash is shown once it has lasted for its time.

    Attributes:
        courtesy: Whom the judging gives way to.
    """

    courtesy: Courtesy = field(default_factory=Courtesy)
    _runs: dict[str, tuple[RunVerdict, str, float]] = field(default_factory=dict)
    _since: dict[tuple[str, str], tuple[str, float]] = field(default_factory=dict)
    _slow: dict[str, frozenset[str]] = field(default_factory=dict)
    _lately: dict[str, frozenset[str]] = field(default_factory=dict)

    def judge(self, run: RunView, now: float) -> RunVerdict:
        """Return the verdict on the run at `now`; states that are too new to be shown are held back."""
        before, lately = (known.get(run.run, frozenset()) for known in (self._slow, self._lately))
        each = self.courtesy.between(run.workers)
        judged = judge_workers(run, slow_before=before, slow_lately=lately, workers=each)
        self._lately[run.run] = frozenset(worker.worker for worker in judged if worker.state == "slow")
        workers = tuple(self._worker(run.run, worker, now) for worker in judged)
        self._slow[run.run] = frozenset(worker.worker for worker in workers if worker.state == "slow")
        verdict = judge(run, workers)
        shown, state, since = self._runs.get(run.run, (verdict, verdict.state, now))
        if state != verdict.state:
            state, since = verdict.state, now
        if shown.state in ("starting", verdict.state) or now - since >= RUN_HOLD_SECONDS.get(verdict.state, 0.0):
            shown = verdict
        self._runs[run.run] = (shown, state, since)
        return replace(shown, workers=workers)

    def keep(self, runs: Set[str]) -> None:
        """Forget every run but these."""
        self._runs = {run: held for run, held in self._runs.items() if run in runs}
        self._slow = {run: slow for run, slow in self._slow.items() if run in runs}
        self._lately = {run: slow for run, slow in self._lately.items() if run in runs}
        self._since = {key: since for key, since in self._since.items() if key[0] in runs}

    def _worker(self, run: str, worker: WorkerVerdict, now: float) -> WorkerVerdict:
        state, since = self._since.get((run, worker.worker), ("", now))
        if state != worker.state:
            self._since[run, worker.worker] = (worker.state, now)
            since = now
        if now - since < WORKER_HOLD_SECONDS.get(worker.state, 0.0):
            return replace(worker, state="running", reason=f"perhaps {worker.state}: {worker.reason}")
        return worker

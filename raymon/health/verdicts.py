"""The vocabulary of verdicts: findings with a code, a severity and a sentence; the states of runs and workers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from raymon.views import RunView, WorkerView

Severity = Literal["ok", "info", "warning", "critical", "unknown"]

SEVERITIES: Final[tuple[Severity, ...]] = ("ok", "info", "warning", "critical", "unknown")
"""`info` names a limit of a run that works; `warning` and `critical` call for action."""

WORKER_STATES: Final = (
    "stalled",
    "dead",
    "given_up",
    "failing",
    "restarting",
    "slow",
    "suspect",
    "unknown",
    "starting",
    "waiting",
    "running",
)
"""Worst first."""

WORKER_SEVERITIES: Final[Mapping[str, Severity]] = {
    "stalled": "critical",
    "dead": "critical",
    "given_up": "critical",
    "failing": "warning",
    "restarting": "warning",
    "slow": "warning",
    "unknown": "unknown",
    "suspect": "info",
    "starting": "info",
    "waiting": "ok",
    "running": "ok",
}
"""Severity of each state of a worker."""

TROUBLED_STATES: Final = ("stalled", "dead", "given_up", "failing", "restarting", "slow")
"""The states of a worker that need attention."""

_EQUAL: Final = {"waiting": "running"}
"""A healthy worker alternates between these; ranking them equal keeps its row in place."""

RUN_STATES: Final = (
    "healthy",
    "starting",
    "finished",
    "stopped",
    "failed",
    "killed",
    "driver_gone",
    "stale",
    "node_silent",
    "node_lost",
    "node_drained",
    "rollouts_failing",
    "rollouts_empty",
    "no_progress",
    "workers_unplaced",
    "workers_lost",
    "worker_stalled",
    "straggler_bound",
    "loss_not_finite",
    "diverging",
    "weights_stale",
    "no_learning_signal",
    "buffer_overfull",
    "object_store",
    "references_kept",
    "memory_growth",
    "samples_dropped",
    "node_memory",
    "node_disk",
    "learner_bound",
    "sampling_bound",
    "environment_bound",
    "inference_bound",
    "transfer_bound",
    "weights_bound",
    "generation_bound",
    "tail_bound",
    "trainer_starved",
    "reward_bound",
    "reference_bound",
    "advantage_bound",
    "weight_sync_bound",
    "overhead_bound",
    "no_phases",
    "unknown",
)
"""The states of a run: the code of its first finding. First what ends it, then what harms it, then what limits it."""

ENDS: Final = ("finished", "stopped", "failed", "killed")
"""The states of a run that has ended."""

REMARKS: Final = (
    "name_shared",
    "throughput_collapsed",
    "cpu_full",
    "learning",
    "restarts",
    "workers_starting",
    "suspect",
    "driver_waits",
    "no_steps",
    "no_workers",
    "workers_idle",
    "workers_left_out",
    "node_clock",
    "node_overloaded",
    "worker_starved",
)
"""Codes of findings that accompany a verdict and are never its state."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found about a run.

    Attributes:
        code: One of `RUN_STATES` or `REMARKS`; decisions read it, never the sentence.
        severity: One of `SEVERITIES`.
        sentence: One sentence with the numbers that decide.
        advice: What to change, naming the option; empty when there is nothing to do.
        worker: The worker it is about; empty for several workers or the whole run.
        cost_ratio: Share of the throughput that it costs, 0 to 1; None while not known.
    """

    code: str
    severity: Severity
    sentence: str
    advice: str = ""
    worker: str = ""
    cost_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerVerdict:
    """The verdict on one worker: `state` is one of `WORKER_STATES`, `reason` explains it."""

    worker: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """The verdict on a run.

    Attributes:
        findings: Everything found, the most important first; never empty.
        workers: A verdict for every worker, in the order of the view's workers.
    """

    findings: tuple[Finding, ...]
    workers: tuple[WorkerVerdict, ...] = ()

    @property
    def state(self) -> str:
        """Return the code of the first finding, one of `RUN_STATES`."""
        return self.findings[0].code

    @property
    def severity(self) -> Severity:
        """Return the severity of the first finding."""
        return self.findings[0].severity

    @property
    def sentence(self) -> str:
        """Return the sentence of the first finding."""
        return self.findings[0].sentence

    @property
    def advice(self) -> str:
        """Return the advice of the first finding."""
        return self.findings[0].advice

    @property
    def evidence(self) -> tuple[str, ...]:
        """Return the sentences of the other findings, the most important first."""
        return tuple(finding.sentence for finding in self.findings[1:])


def worker_rank(state: str) -> int:
    """Return the place of a worker's state in the order of rows, worst first; running and waiting rank equal."""
    state = _EQUAL.get(state, state)
    return WORKER_STATES.index(state) if state in WORKER_STATES else len(WORKER_STATES)


def worst_first(pairs: Iterable[tuple[WorkerView, WorkerVerdict]]) -> list[tuple[WorkerView, WorkerVerdict]]:
    """Return workers with their verdicts, worst first; equal ones keep their order."""
    return sorted(pairs, key=lambda pair: worker_rank(pair[1].state))


def judged_workers(run: RunView, verdict: RunVerdict) -> list[tuple[WorkerView, WorkerVerdict]]:
    """Return every worker of the run with its verdict, in the order of the view's workers."""
    verdicts = {worker.worker: worker for worker in verdict.workers}
    return [
        (worker, verdicts.get(worker.worker) or WorkerVerdict(worker.worker, "unknown", "not judged yet"))
        for worker in run.workers
    ]

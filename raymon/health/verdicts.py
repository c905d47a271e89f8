"""What a verdict is: a state out of a fixed vocabulary, a sentence with numbers, the evidence, what to do."""

from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["ok", "info", "warning", "critical", "unknown"]

SEVERITIES: Final[tuple[Severity, ...]] = ("ok", "info", "warning", "critical", "unknown")
"""`info` names a bottleneck of a run that works; `warning` and `critical` want somebody to act."""

WORKER_STATES: Final = (
    "running",
    "waiting",
    "starting",
    "slow",
    "stalled",
    "restarting",
    "dead",
    "given_up",
    "unknown",
)

RUN_STATES: Final = (
    "healthy",
    "starting",
    "finished",
    "failed",
    "driver_gone",
    "stale",
    "no_progress",
    "workers_lost",
    "worker_stalled",
    "straggler_bound",
    "diverging",
    "object_store",
    "references_kept",
    "memory_growth",
    "samples_dropped",
    "learner_bound",
    "sampling_bound",
    "environment_bound",
    "inference_bound",
    "transfer_bound",
    "weights_bound",
    "overhead_bound",
    "unknown",
)
"""The states of a run's verdict: first what ends or stops it, then what harms it, then what limits its speed."""


@dataclass(frozen=True, slots=True)
class WorkerVerdict:
    """What is the matter with one worker; `state` is one of `WORKER_STATES`, `reason` says why in words."""

    worker: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """What is the matter with a run.

    Attributes:
        state: One of `RUN_STATES`.
        sentence: One sentence with the numbers that decide.
        evidence: Further findings, the most important first; each a sentence.
        advice: What to change, naming the option; empty when there is nothing to do.
        severity: One of `SEVERITIES`.
        workers: A verdict for every worker, in the order of the view's workers.
        findings: State and sentence of everything found, the verdict's own first.
    """

    state: str
    sentence: str
    evidence: tuple[str, ...] = ()
    advice: str = ""
    severity: Severity = "ok"
    workers: tuple[WorkerVerdict, ...] = ()
    findings: tuple[tuple[str, str], ...] = ()

"""Figures of the whole run that several verdicts need: what its workers' time goes into, and whether cores are free."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from raymon.catalog import LANGUAGE_PHASES, WORK_PHASES, WORKER_PHASES
from raymon.health.thresholds import Thresholds
from raymon.health.windows import window_seconds
from raymon.views import FlowView, NodeView, RunView, WorkerView

SAMPLING_ROLES: Final = ("env", "rollout")


def worker_phases(run: RunView) -> dict[str, float]:
    """Return the median over the workers that sample of each phase's share of their wall time."""
    sampling = [worker for worker in run.workers if worker.role in SAMPLING_ROLES]
    return _median_phases(sampling or run.workers)


def role_phases(run: RunView, role: str) -> dict[str, float]:
    """Return the same for the workers of one role; empty if there are none."""
    return _median_phases([worker for worker in run.workers if worker.role == role])


def _median_phases(workers: Sequence[WorkerView]) -> dict[str, float]:
    known = [worker.phase_ratio for worker in workers if worker.phase_ratio]
    phases = (*WORKER_PHASES, *(phase for phase in LANGUAGE_PHASES if any(phase in ratio for ratio in known)))
    return {phase: median(ratio.get(phase, 0.0) for ratio in known) for phase in phases} if known else {}


def busy_ratio(shares: Mapping[str, float]) -> float:
    """Return the share of the time that is not waiting."""
    return min(1.0, sum(shares.get(phase, 0.0) for phase in (*WORK_PHASES, *LANGUAGE_PHASES)))


def of_language_model(run: RunView) -> bool:
    """Return whether the run trains a language model: by its roles, its phases or what flows."""
    return (
        bool(run.flow.tokens_per_second or run.flow.responses_per_second or run.flow.groups)
        or any(worker.role != "env" for worker in run.workers)
        or any(run.phase_ratio.get(phase) for phase in LANGUAGE_PHASES)
    )


def tail_ratio(flow: FlowView) -> float | None:
    """Return for which share of the generation only the last few responses of a batch are running.

    None while not known: a process whose batches are too small to have a tail counts none.
    """
    whole = sum(flow.generated_per_second.values())
    tail = flow.generated_per_second.get("tail")
    return tail / whole if whole and tail is not None else None


def no_signal_ratio(flow: FlowView) -> float | None:
    """Return the share of the groups whose rewards are all equal; None while none is counted."""
    whole = sum(flow.groups.values())
    return flow.groups.get("no", 0.0) / whole if whole else None


def throughput(view: RunView | WorkerView) -> tuple[float | None, str]:
    """Return what a run or a worker produces a second, and its unit: tokens where they are counted, else steps."""
    tokens = view.flow.tokens_per_second.get("out")
    in_tokens = tokens is not None and not view.steps_per_second
    return (tokens, "tokens") if in_tokens else (view.steps_per_second, "steps")


def usual_throughput(run: RunView) -> float | None:
    """Return what a run normally produces a second, in the unit of `throughput`; None while not known.

    A synchronous trainer generates for a part of each iteration. Where rates are not taken over two of them, its tokens
    come and go, and what is normal cannot be said.
    """
    if throughput(run)[1] == "steps":
        return run.usual_steps_per_second
    bursts = (run.iteration_seconds or 0.0) > window_seconds(run.report_seconds) / 2.0 and not is_asynchronous(run)
    return None if bursts else run.usual_tokens_per_second


def is_asynchronous(run: RunView) -> bool:
    """Return whether a run samples while it trains."""
    return run.sampler == "async" or run.flow.buffer_depth is not None


def node_of(worker: WorkerView, run: RunView) -> NodeView | None:
    """Return the node that a worker was last seen on; None while not known."""
    name, address = worker.worker, worker.node
    for node in run.nodes:  # of a hundred nodes, few are looked into
        if node.address == address and name in node.workers:
            return node
    return next((node for node in run.nodes if name in node.workers), None)


def cpu_full(run: RunView, limits: Thresholds) -> bool:
    """Return whether no node that reports has CPU left."""
    return bool(run.node_cpu_ratio) and min(run.node_cpu_ratio.values()) > limits.node_cpu_ratio

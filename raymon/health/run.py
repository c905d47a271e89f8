"""The verdict on a run: what ended it, what harms it, what limits its speed, in that order.

The first finding makes the state and the sentence; what else was found becomes evidence.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from raymon.health.advice import in_terms_of
from raymon.health.alerts import collapse
from raymon.health.bottleneck import bottleneck, cpu_full
from raymon.health.learning import learning
from raymon.health.problems import harms
from raymon.health.thresholds import THRESHOLDS, Thresholds
from raymon.health.verdicts import RunVerdict, Severity, WorkerVerdict
from raymon.health.words import listing, percent, rate, seconds
from raymon.health.worker import heartbeat_limit, judge_workers
from raymon.views import RunView


class Ground(NamedTuple):
    """One finding about a run."""

    state: str
    severity: Severity
    sentence: str
    advice: str = ""
    """With the marks of `raymon.health.advice`."""


def judge(
    run: RunView, workers: tuple[WorkerVerdict, ...] | None = None, limits: Thresholds = THRESHOLDS
) -> RunVerdict:
    """Return the verdict on the run; `workers` are the verdicts on its workers where they were judged already."""
    workers = judge_workers(run, limits) if workers is None else workers
    if ended := _ended(run, limits):
        return _verdict(run, [ended], (), workers)
    found = [*_lost(run, workers), *map(Ground._make, harms(run, workers, limits))]
    found.extend(_speed(run, limits))
    return _verdict(run, found or [_healthy(run)], _details(run, workers, limits), workers)


def _verdict(
    run: RunView, grounds: Sequence[Ground], details: Iterable[str], workers: tuple[WorkerVerdict, ...]
) -> RunVerdict:
    first, *others = grounds
    evidence = (*(ground.sentence for ground in others), *details)
    findings = tuple((ground.state, ground.sentence) for ground in grounds)
    advice = in_terms_of(run, first.advice)
    return RunVerdict(first.state, first.sentence, evidence, advice, first.severity, workers, findings)


def _ended(run: RunView, limits: Thresholds) -> Ground | None:
    if run.state == "finished":
        steps = f" after {rate(run.trained_steps)} environment steps" if run.trained_steps else ""
        return Ground("finished", "ok", f"Training finished{steps}; these are its last numbers.")
    if run.state == "failed":
        advice = "Read the end of the run's log; resume from its last checkpoint{resume}."
        return Ground("failed", "critical", "Training failed; these are its last numbers.", advice)
    if run.data_age_seconds is None:
        sentence = "Only counters are left of this run: it ended before this view was opened, or all of it is stopped."
        return Ground("unknown", "unknown", sentence)
    return _silent(run, limits)


def _silent(run: RunView, limits: Thresholds) -> Ground | None:
    age = run.data_age_seconds or 0.0
    limit = max(limits.stale_seconds, heartbeat_limit(run, limits))
    if run.exporter_age_seconds is not None and run.exporter_age_seconds > limit:
        sentence = f"Not live: Ray's metrics have not changed for {seconds(run.exporter_age_seconds)}."
        advice = "The cluster has ended, its metrics agent hangs, or this machine cannot reach it: raymon doctor."
        return Ground("stale", "unknown", sentence, advice)
    driver, gone = run.driver_heartbeat_age_seconds, max(limits.driver_gone_seconds, heartbeat_limit(run, limits))
    exporter = run.exporter_age_seconds or 0.0
    quiet = exporter if exporter > limits.exporter_quiet_seconds + (run.report_seconds or 0.0) else 0.0
    if driver is not None and driver - quiet > gone:
        alive = sum((worker.heartbeat_age_seconds or driver) < gone for worker in run.workers)
        beside = f"{alive} of its {len(run.workers)} workers still beat" if alive else "its workers are silent too"
        sentence = f"The driver has been silent for {seconds(driver)}; {beside}."
        return Ground("driver_gone", "critical", sentence, "Look whether its process lives; its log has the reason.")
    if age > limit:
        return Ground("stale", "unknown", f"Not live: no process of this run has reported for {seconds(age)}.")
    return None


def _lost(run: RunView, workers: tuple[WorkerVerdict, ...]) -> Iterator[Ground]:
    by_state: dict[str, list[WorkerVerdict]] = {}
    for worker in workers:
        by_state.setdefault(worker.state, []).append(worker)
    if stalled := by_state.get("stalled"):
        where = f"See where it stands: raymon profile --worker {stalled[0].worker}."
        advice = where + " A time-out{worker_timeout} ends the wait."
        yield Ground("worker_stalled", "critical", _about(stalled, "stalled"), advice)
    if gone := [*by_state.get("given_up", ()), *by_state.get("dead", ())]:
        advice = (
            "Read its log for the reason; the run goes on smaller. A limit{max_restarts} says how often to restart."
        )
        yield Ground("workers_lost", "critical", _about(gone, "gone"), advice)
    restarting = by_state.get("restarting")
    if restarting or run.recent_losses:
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(run.recent_losses.items()))
        if restarting:
            sentence = _about(restarting, "being replaced")
        else:
            back = [worker.worker for worker in run.workers if worker.recent_restarts]
            whom = f"worker{'s' if len(back) > 1 else ''} {listing(back)}" if back else "a worker"
            sentence = f"The driver has just replaced {whom}."
        reason = f" Lost within the last half minute: {why}." if why else ""
        yield Ground("workers_lost", "warning", sentence + reason, "Read its log for the reason.")


def _about(workers: list[WorkerVerdict], state: str) -> str:
    names = [worker.worker for worker in workers]
    if len(names) == 1:
        return f"Worker {names[0]} is {state}: {workers[0].reason}."
    return f"Workers {listing(names)} are {state}; worker {names[0]}: {workers[0].reason}."


def _speed(run: RunView, limits: Thresholds) -> Iterator[Ground]:
    if found := bottleneck(run, limits):
        yield Ground(found.state, "info", found.sentence, found.advice)


def _healthy(run: RunView) -> Ground:
    speed = f": {rate(run.steps_per_second)} steps/s" if run.steps_per_second else ""
    shares = sorted(run.phase_ratio.items(), key=lambda item: -item[1])[:2]
    wall = f"; the wall is {' and '.join(f'{percent(share)} {phase}' for phase, share in shares)}" if shares else ""
    if not speed and not wall:
        return Ground("healthy", "ok", "Healthy: nothing stands out; rates are known in some seconds.")
    return Ground("healthy", "ok", f"Healthy{speed}{wall}.")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _details(run: RunView, workers: tuple[WorkerVerdict, ...], limits: Thresholds) -> Iterator[str]:
    if told := collapse(run, limits):
        yield told
    if cpu_full(run, limits):
        full = max(run.node_cpu_ratio.values())
        yield f"The CPU of every node is full ({percent(full)}): what runs beside the job slows it; so do more workers."
    if told := learning(run):
        yield told
    again = [(worker.worker, sum(worker.restarts.values())) for worker in run.workers if worker.restarts]
    if again:
        often = sorted(again, key=lambda pair: -pair[1])[:3]
        yield "Replaced so far: " + ", ".join(f"worker {name} {_times(count)}" for name, count in often) + "."
    starting = [worker.worker for worker in workers if worker.state == "starting"]
    if starting:
        yield f"Starting: worker{'s' if len(starting) > 1 else ''} {listing(starting)}."

"""The verdict on a run: what ended it, what harms it, what limits its speed, in that order."""

from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from typing import Final

from raymon.format import count, duration, listing, share
from raymon.health.advice import in_terms_of
from raymon.health.bottleneck import bottlenecks
from raymon.health.learning import learning
from raymon.health.node_problems import node_problems, silent_nodes, starved_workers
from raymon.health.problems import driver_waits, problems
from raymon.health.shares import SAMPLING_ROLES, cpu_full, throughput, usual_throughput
from raymon.health.thresholds import THRESHOLDS, Thresholds
from raymon.health.verdicts import Finding, RunVerdict, WorkerVerdict
from raymon.health.worker_verdict import heartbeat_limit, judge_workers
from raymon.views import EXITED, RunView, WorkerView

_MOST_SUSPECTS: Final = 3
_IDLE_SECONDS: Final = 25.0
_IDLE_EXPORTS: Final = 2.5
_MANY_ROLLOUTS: Final = 20.0
_FEW_CALLS_RATIO: Final = 0.3
"""A worker with fewer calls than this share of its peers' has another task, such as evaluation."""
_LONG_ROLLOUTS: Final = 5.0

_ALIVE: Final = ("starved", "busy", "idle")
"""What the process of a silent driver does when it is there, neither stopped nor in native code."""


def judge(
    run: RunView, workers: tuple[WorkerVerdict, ...] | None = None, limits: Thresholds = THRESHOLDS
) -> RunVerdict:
    """Return the verdict on the run; `workers` are the verdicts on its workers if they were judged already."""
    workers = judge_workers(run, limits) if workers is None else workers
    findings = tuple(
        replace(finding, advice=in_terms_of(run, finding.advice)) if finding.advice else finding
        for finding in _findings(run, workers, limits)
    )
    return RunVerdict(findings, workers)


def _findings(run: RunView, workers: tuple[WorkerVerdict, ...], limits: Thresholds) -> Iterator[Finding]:
    """Yield everything found, the most important first; at least one."""
    on_silent_node = any(node.driver for node in silent_nodes(run, limits))
    if ended := _ended(run) or _killed(run) or (None if on_silent_node else _silent(run, limits)):
        yield ended
        return
    nodes = list(node_problems(run, limits))
    bad = [finding for finding in nodes if finding.severity == "critical"]
    bad += problems(run, workers, limits)
    bad += [finding for finding in nodes if finding.severity == "warning"]
    bound = list(bottlenecks(run, limits))
    yield from bad
    yield from bound
    if not bad and not bound:
        yield _not_begun(run, workers, limits) or _healthy(run)
    yield from _remarks(run, workers, limits)
    yield from (finding for finding in nodes if finding.severity == "info")


def _ended(run: RunView) -> Finding | None:
    if run.state == "finished":
        steps = f" after {count(run.trained_steps)} environment steps" if run.trained_steps else ""
        return Finding("finished", "ok", f"Training finished{steps}; these are its last numbers.")
    if run.state == "stopped" and run.driver_exit == EXITED:
        sentence = (
            f"The driver's process {EXITED}, and did not say whether the run finished; these are its last numbers."
        )
        advice = 'Call `state("finished")` of `raymon.DriverMonitor` at the end of training.'
        return Finding("stopped", "ok", sentence, advice)
    if run.state == "stopped":
        return Finding("stopped", "ok", "The user stopped the run; these are its last numbers.")
    if run.state == "failed":
        advice = "Read the end of the run's log; resume from its last checkpoint{resume}."
        why = f": {run.driver_exit}" if run.driver_exit not in ("", EXITED) else ""
        return Finding("failed", "critical", f"Training failed{why}; these are its last numbers.", advice)
    if run.data_age_seconds is None:
        sentence = "Only counters are left of this run: it ended before this view was opened, or all of it is stopped."
        return Finding("unknown", "unknown", sentence)
    return None


def _killed(run: RunView) -> Finding | None:
    if run.driver_process != "gone":
        return None
    pid = f" (pid {run.driver_pid})" if run.driver_pid else ""
    why = f"; Ray says: {run.driver_exit.split('. ')[0].rstrip('.')}" if run.driver_exit else ""
    sentence = f"The driver's process{pid} has ended without finishing the run: it was killed, or it crashed{why}."
    advice = "See the end of its output and the kernel's log; resume from its last checkpoint{resume}."
    return Finding("killed", "critical", sentence, advice)


def _silent(run: RunView, limits: Thresholds) -> Finding | None:
    limit = max(limits.stale_seconds, heartbeat_limit(run, limits))
    if run.exporter_age_seconds is not None and run.exporter_age_seconds > limit:
        sentence = f"Ray's metrics have not changed for {duration(run.exporter_age_seconds)}: nothing here is live."
        advice = "The cluster has ended, its metrics agent hangs, or this machine cannot reach it: `raymon doctor`."
        return Finding("stale", "unknown", sentence, advice)
    driver, gone = run.driver_heartbeat_age_seconds, max(limits.driver_gone_seconds, heartbeat_limit(run, limits))
    exporter = run.exporter_age_seconds or 0.0
    # A node without CPU time exports late, and all that runs on it is silent from the same moment on.
    together = driver is not None and _silent_together(run, driver)
    allowed = 0.0 if together else limits.exporter_quiet_seconds
    if together and (run.driver_process in _ALIVE or cpu_full(run, limits)):
        gone = max(gone, limits.driver_starved_seconds)
    quiet = exporter if exporter > allowed + (run.report_seconds or 0.0) else 0.0
    if driver is not None and driver - quiet > gone:
        alive = sum((worker.heartbeat_age_seconds or driver) < gone for worker in run.workers)
        others = f"{alive} of its {len(run.workers)} workers still report" if alive else "its workers are silent too"
        sentence = f"The driver has been silent for {duration(driver)}; {others}."
        return Finding("driver_gone", "critical", sentence, "Check whether its process lives; its log has the reason.")
    if (run.data_age_seconds or 0.0) > limit:
        sentence = f"No process of this run has reported for {duration(run.data_age_seconds)}: nothing here is live."
        return Finding("stale", "unknown", sentence)
    return None


def _silent_together(run: RunView, driver: float) -> bool:
    """Return whether all workers have been silent for as long as the driver, to within an export.

    Those that are gone are left out, unless the exporter shows none at all any more. A run without workers shows
    no more than its driver does.
    """
    present = [worker for worker in run.workers if worker.present] or run.workers
    ages = [worker.heartbeat_age_seconds for worker in present]
    return all(age is not None and age > driver - (run.report_seconds or 1.0) for age in ages)


def _not_begun(run: RunView, workers: tuple[WorkerVerdict, ...], limits: Thresholds) -> Finding | None:
    """Return how many of the workers that sample have not begun; None once all have, or had the time to.

    Workers in other roles do not count: until the first batch arrives, they may have nothing to do.
    """
    age = run.started_seconds_ago
    if age is not None and age > limits.startup_grace_seconds:
        return None
    starting = {worker.worker for worker in workers if worker.state == "starting"}
    sampling = [worker for worker in run.workers if worker.role in SAMPLING_ROLES]
    new = [worker for worker in sampling if worker.worker in starting and not worker.restarts]
    late = sum(worker.seen_seconds < limits.startup_grace_seconds for worker in new)
    total, noun = len(sampling), "rollout workers"
    if total == len(run.workers):  # only then it is known what the workers will do that nobody has seen yet
        unseen = max(0, run.workers_by_state.get("expected", 0) - total) if age is not None else 0
        total, late, noun = total + unseen, late + unseen, "workers"
    if not late:
        return None
    verb = "has" if late == 1 else "have"
    sentence = f"{late} of {total} {noun} {verb} not finished a first step or rollout."
    return Finding("starting", "info", sentence)


def _healthy(run: RunView) -> Finding:
    if not run.steps_per_second and not run.phase_ratio:
        rates = "; rates are known within seconds" if run.steps_per_second is None else ""
        return Finding("healthy", "ok", f"Nothing stands out{rates}.")
    rate, unit = throughput(run)
    speed = f"{count(rate)} {unit}/s" if rate else ""
    largest = sorted(run.phase_ratio.items(), key=lambda item: -item[1])[:2]
    phases = " and ".join(f"{share(ratio)} {phase}" for phase, ratio in largest)
    spent = f"an iteration is {phases}" if phases else ""
    text = "; ".join(part for part in (speed, spent) if part)
    return Finding("healthy", "ok", f"{text[0].upper()}{text[1:]}.")


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _not_recorded(run: RunView) -> Iterator[Finding]:
    """Yield what the trainer does not record."""
    new = run.started_seconds_ago is not None and run.started_seconds_ago < _long_seconds(run)
    if (expected := run.workers_by_state.get("expected")) and not run.workers and not new:
        sentence = (
            f"The run expects {expected} worker{'s' if expected > 1 else ''}, and none has reported: "
            "put `raymon.instrument` on their class, or create a `raymon.Monitor` in each. "
            "If that is done, their constructors have not ended: they take long, fail, or wait for resources."
        )
        yield Finding("no_workers", "info", sentence)
    if run.workers and all(_counts_no_steps(worker) for worker in run.workers):
        advice = "Pass `steps=` to `raymon.instrument`, or call `monitor.steps`."
        yield Finding("no_steps", "info", "Rollouts end, but no environment step is counted.", advice)


def _long_seconds(run: RunView) -> float:
    """Return after how long a worker would have been seen to do something."""
    return max(_IDLE_SECONDS, _IDLE_EXPORTS * (run.report_seconds or 0.0))


def _name_shared(run: RunView) -> Iterator[Finding]:
    """Yield that several drivers report under the run's name: what they count is added up, and gauges are of one."""
    if run.drivers:
        names = listing([f"pid {pid} on node {node}" if node else f"pid {pid}" for node, pid in run.drivers])
        number = "Two" if len(run.drivers) == 2 else str(len(run.drivers))
        sentence = f"{number} drivers report as run {run.run!r} and mix their numbers: {names}."
        advice = "End one, or give each a name: `raymon.DriverMonitor(run=…)`, `RAYMON_RUN`, `raymon train --name`."
        yield Finding("name_shared", "warning", sentence, advice)


def _all_idle(run: RunView, workers: tuple[WorkerVerdict, ...]) -> Iterator[Finding]:
    """Yield that no worker is called, where no phase and no update of the driver say what it does instead."""
    ages = [worker.progress_age_seconds for worker in run.workers if worker.rollouts_total]
    known = [age for age in ages if age is not None]
    if run.phase_ratio or run.last_update_age_seconds is not None or not known or len(known) < len(run.workers):
        return
    if min(known) > _long_seconds(run) and all(worker.state == "waiting" for worker in workers):
        place = f"it is in `{run.driver_where}`" if run.driver_where else "it does not record what it does"
        sentence = f"No worker has had a call for {duration(min(known))}: the driver learns, waits or hangs; {place}."
        advice = "Put `iteration` and `phase` of `raymon.DriverMonitor` around its loop, or `py-spy dump` its process."
        yield Finding("workers_idle", "info", sentence, advice)


def _left_out(run: RunView, workers: tuple[WorkerVerdict, ...]) -> Iterator[Finding]:
    """Yield workers that had calls like their peers, and have had none for long while most of these go on."""
    waiting = {worker.worker for worker in workers if worker.state == "waiting"}
    sampling = [worker for worker in run.workers if worker.role in SAMPLING_ROLES and worker.rollouts_total]
    recent = _long_seconds(run) / 2.0
    active = [w for w in sampling if w.progress_age_seconds is not None and w.progress_age_seconds < recent]
    if len(active) <= len(sampling) / 2:
        return
    many = _FEW_CALLS_RATIO * median(worker.rollouts_total or 0.0 for worker in active)
    usual = max(worker.mean_rollout_seconds or 0.0 for worker in active)
    ages = {
        worker.worker: worker.progress_age_seconds or 0.0
        for worker in sampling
        if worker.worker in waiting and (worker.rollouts_total or 0.0) >= many
    }
    idle = {name: age for name, age in ages.items() if age > max(_long_seconds(run), _LONG_ROLLOUTS * usual)}
    if idle:
        who = f"Worker{'s' if len(idle) > 1 else ''} {listing(list(idle))} {'have' if len(idle) > 1 else 'has'}"
        sentence = f"{who} had no call for {duration(min(idle.values()))} while the others go on."
        advice = "See whether the loop still waits for its result, and calls it again when it has come or failed."
        yield Finding("workers_left_out", "info", sentence, advice)


def _counts_no_steps(worker: WorkerView) -> bool:
    many = (worker.rollouts_total or 0.0) >= _MANY_ROLLOUTS and not worker.empty_rollouts
    return worker.role == "env" and worker.steps_total == 0.0 and many


def _remarks(run: RunView, workers: tuple[WorkerVerdict, ...], limits: Thresholds) -> Iterator[Finding]:
    """Yield what accompanies a verdict and is never its state."""
    yield from _name_shared(run)
    yield from _left_out(run, workers)
    usual, (now, unit) = usual_throughput(run), throughput(run)
    if run.state == "training" and usual and now is not None and now < limits.throughput_collapsed_ratio * usual:
        sentence = f"Throughput fell to {count(now)} {unit}/s (normally {count(usual)})."
        yield Finding("throughput_collapsed", "warning", sentence)
    if cpu_full(run, limits):
        full = share(max(run.node_cpu_ratio.values()))
        sentence = (
            f"The CPU of every node is full ({full}): other programs on these nodes and more workers slow the run."
        )
        yield Finding("cpu_full", "info", sentence)
    yield from starved_workers(run, limits)
    if sentence := learning(run):
        yield Finding("learning", "info", sentence)
    again = [(worker.worker, sum(worker.restarts.values())) for worker in run.workers if worker.restarts]
    if again:
        often = sorted(again, key=lambda pair: -pair[1])[:3]
        replaced = ", ".join(f"worker {name} {_times(number)}" for name, number in often)
        yield Finding("restarts", "info", f"Replaced so far: {replaced}.")
    starting = [worker.worker for worker in workers if worker.state == "starting"]
    if starting:
        plural = len(starting) > 1
        sentence = f"Worker{'s' if plural else ''} {listing(starting)} {'are' if plural else 'is'} starting."
        yield Finding("workers_starting", "info", sentence)
    yield from _not_recorded(run)
    yield from _all_idle(run, workers)
    if (waits := driver_waits(run)) and any(worker.state in ("stalled", "suspect") for worker in workers):
        yield Finding("driver_waits", "info", f"{waits[0].upper()}{waits[1:]}.")
    suspects = [worker for worker in workers if worker.state == "suspect"]
    for worker in suspects[:_MOST_SUSPECTS]:
        yield Finding("suspect", "info", f"Worker {worker.worker}: {worker.reason}.", worker=worker.worker)
    if len(suspects) > _MOST_SUSPECTS:
        names = listing([worker.worker for worker in suspects[_MOST_SUSPECTS:]])
        yield Finding("suspect", "info", f"Workers {names} are unusually silent too.")

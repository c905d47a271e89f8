"""Which silent processes of a run are read, what is known of each, and how a view shows it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from raymon import catalog
from raymon.catalog import DRIVER
from raymon.health import RunVerdict
from raymon.live.evidence_files import Process
from raymon.live.subject import Subject
from raymon.views import EXITED, RunView, WorkerView

MOST_PROCESSES: Final = 16
MOST_RUNS: Final = 64
"""Runs whose lost workers are kept."""
SILENT_SECONDS: Final = 4.0
_WORKER_STATES: Final = ("suspect", "stalled")
_RUN_STATES: Final = ("no_progress", "driver_gone", "stale", "worker_stalled", "killed")
_EXIT_SECONDS: Final = 10.0
"""For so long after its exception, a driver that ends may still write heartbeats."""


@dataclass(frozen=True, slots=True)
class SilentProcess:
    """What is known of one silent process.

    Attributes:
        run: The run.
        worker: The worker; `driver` for the driver.
        where: Innermost frame of the user's own code, as `Env.step → recv (my_env.py:88)`; empty if not known.
        process: `native` (holds the GIL), `native_busy` (and uses CPU), or what the kernel says: `gone`, `stopped`,
            `swapping`, `starved`, `busy`, `idle`; empty if not known.
        since: Wall-clock second since when it makes no progress; 0 if not known.
        waits_for: Workers whose results it waits for.
        exit: Why the process ended: its exception and the line that raised it, `EXITED`, else Ray's words; empty if
            not known.
        failed: Frame of the user's own code that raised the exception of its last failed rollout; empty if none did.
        lost_pid: Process whose death was the exception that ended this one; 0 if none was.
        state: The last state of its run that a driver wrote down at its end; empty if not known.
    """

    run: str
    worker: str
    where: str = ""
    process: str = ""
    since: float = 0.0
    waits_for: tuple[str, ...] = ()
    exit: str = ""
    failed: str = ""
    lost_pid: int = 0
    state: str = ""


class ProcessRequest(NamedTuple):
    """A process to read.

    Attributes:
        first: Only note that it runs on this machine.
        ended: It has ended with an exception.
        lost: It is a driver that has just lost workers.
        since: An exception that was written before, by the clock of the process's node, did not end this run.
    """

    run: str
    worker: str
    process: Process
    first: bool = False
    ended: bool = False
    lost: bool = False
    since: float = 0.0


def process_requests(
    runs: Iterable[tuple[RunView, RunVerdict]], subjects: Mapping[tuple[str, str], Subject] | None = None
) -> list[ProcessRequest]:
    """Return the processes that verdicts depend on: silent workers, a driver that waits or that failed.

    Args:
        runs: Views and verdicts.
        subjects: What each driver has recorded, by run and `driver`.
    """
    requests = []
    for view, verdict in runs:
        since = _earliest_end((subjects or {}).get((view.run, DRIVER)))
        raised = view.state == "failed" or (view.ended and view.driver_exit)
        if raised and view.driver_node and view.driver_pid and not view.problem:
            process = (view.driver_node, view.driver_pid)
            requests.append(ProcessRequest(view.run, DRIVER, process, ended=True, since=since))
        if view.ended or view.problem:
            continue
        states = {worker.worker: worker.state for worker in verdict.workers}
        silent = [worker for worker in view.workers if states.get(worker.worker) in _WORKER_STATES]
        failing = any(finding.code == "rollouts_failing" for finding in verdict.findings)
        failed = [
            worker
            for worker in view.workers
            if worker not in silent and (worker.failures_since_success or (failing and any(worker.failures.values())))
        ]
        requests += [
            ProcessRequest(view.run, w.worker, (w.node, w.pid)) for w in (*silent, *failed) if w.node and w.pid
        ]
        if view.driver_node and view.driver_pid:
            waits = (view.driver_heartbeat_age_seconds or 0.0) > SILENT_SECONDS + (view.report_seconds or 1.0)
            trouble = bool(silent) or waits or verdict.state in _RUN_STATES
            process, lost = (view.driver_node, view.driver_pid), bool(view.recent_losses)
            driver = ProcessRequest(view.run, DRIVER, process, first=not trouble, lost=lost, since=since)
            requests.insert(0, driver)
    return requests


def _earliest_end(driver: Subject | None) -> float:
    """Return the moment before which no exception can have ended a run; the driver's clock wrote both."""
    if driver is None:
        return 0.0
    process = driver.newest()
    started = process.gauge(catalog.RUN_START) or 0.0
    if process.label(catalog.RUN_STATE, catalog.RUN_STATES) in ("failed", "stopped"):  # it may live on, in a shell
        return started
    return max(started, (process.gauge(catalog.HEARTBEAT) or 0.0) - _EXIT_SECONDS)


def with_silent_processes(view: RunView, processes: Iterable[SilentProcess], now: float) -> RunView:
    """Return a view with what is known of its silent processes."""
    known = {process.worker: process for process in processes if process.run == view.run}
    if not known:
        return view
    workers = tuple(
        replace(
            worker,
            where=known[worker.worker].where,
            process=known[worker.worker].process,
            failed_where=known[worker.worker].failed,
        )
        if worker.worker in known
        else worker
        for worker in view.workers
    )
    view = replace(view, workers=workers)
    if (driver := known.get(DRIVER)) is None:
        return view
    names = {worker.worker for worker in view.workers}
    return replace(
        view,
        state=_last_state(view, driver),
        driver_where=driver.where,
        driver_process=driver.process,
        driver_waits_for=tuple(name for name in driver.waits_for if name in names),
        driver_silent_seconds=_silent_seconds(driver.since, view.last_update_age_seconds, now),
        driver_exit=_exit(driver, workers),
    )


def _last_state(view: RunView, driver: SilentProcess) -> str | None:
    """Return the state of a run; the one that its driver did not export if it ended itself or with an exception."""
    if view.ended or driver.process or not driver.exit:
        return view.state
    if driver.exit == EXITED and driver.state in ("finished", "failed"):
        return driver.state
    return "stopped" if driver.exit == EXITED or driver.exit.startswith("KeyboardInterrupt") else "failed"


def _exit(driver: SilentProcess, workers: Iterable[WorkerView]) -> str:
    """Return why a driver ended, with the worker that it lost: Ray's exception names only the class of the actor."""
    lost = [worker for worker in workers if driver.lost_pid and worker.pid == driver.lost_pid]
    if len(lost) != 1:  # containers on two nodes often give their processes the same ids
        return driver.exit
    return f"{driver.exit}; the actor was worker {lost[0].worker} (pid {driver.lost_pid})"


def _silent_seconds(since: float, last_update_age: float | None, now: float) -> float | None:
    """Return for how long the driver has made no progress; an update since then counts as one."""
    if not since:
        return None
    silent = max(0.0, now - since)
    return silent if last_update_age is None else min(silent, last_update_age)

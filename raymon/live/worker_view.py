"""From what is remembered of a worker to its view."""

from collections.abc import Mapping
from typing import Final

from raymon import catalog
from raymon.health.thresholds import THRESHOLDS
from raymon.health.windows import window_seconds
from raymon.health.worker_verdict import RAY_DEFAULT_REPORT_SECONDS
from raymon.live.driver_view import RECENT_SECONDS, Driver
from raymon.live.flow_view import process_flow
from raymon.live.memory import Memory
from raymon.live.rates import Rates, worker_rates
from raymon.live.subject import Process, Subject
from raymon.views import WorkerView

STEADY_SECONDS: Final = 3.0
"""Steps that never stand still for longer are counted as they are taken, not at the end of a rollout."""
SETTLE_SECONDS: Final = 2.5
"""Until a worker has been watched this long, it is not known when it last waited."""
_IDLE: Final = ("waiting", "starting")
"""Activities outside rollouts and phases."""
_QUANTILES: Final = {f"p{round(q * 100)}": str(q) for q in catalog.QUANTILES}


def worker_view(
    subject: Subject, memory: Memory, driver: Driver, report: float | None, rss_growth: float | None, now: float
) -> WorkerView:
    """Return what is known of a worker at wall-clock `now`.

    `report` is the run's export interval; `rss_growth` the growth of the worker's memory in bytes per second.
    """
    process = subject.newest()
    beat_age = memory.beat_age(process, now)
    progress = process.moment(catalog.PROGRESS)
    progress_age = memory.clock.age(progress, process.node, now) if progress else None
    window = window_seconds(report)
    silent = beat_age is None or beat_age > 2.0 * window
    stopped = silent and bool(process.beat)
    rates = Rates() if silent else worker_rates(subject, window, STEADY_SECONDS + (report or 0.0))
    role = process.label(catalog.ROLE, catalog.ROLES) or "env"
    version = process.gauge(catalog.POLICY_VERSION)
    latency = {name: process.gauge(catalog.ROLLOUT_LATENCY, value) for name, value in _QUANTILES.items()}
    pid = process.gauge(catalog.PROCESS_ID)
    empty = subject.empty_rollouts()
    failures = _failure_counts(process)
    began = driver.process.first_seen if driver.process else 0.0
    # Where the driver counts no restarts, the processes that carried the worker's number show them.
    pooled = bool(process.counter(catalog.TASK_PROCESSES))  # Ray gives a task to any process of its pool
    replaced = [] if pooled else subject.replaced(began, 2.0 * (report or 1.0))
    activity = process.label(catalog.ACTIVITY, catalog.ACTIVITIES)
    exporter_age = memory.exporter_age(process.url, now)
    return WorkerView(
        worker=subject.worker,
        activity=activity,
        heartbeat_age_seconds=beat_age,
        progress_age_seconds=progress_age,
        stuck_seconds=_stuck(subject, process, progress_age, now),
        exporter_age_seconds=exporter_age,
        present=process.gauge_round == memory.round,
        lifecycle=driver.lifecycle(subject.worker),
        pid=int(pid) if pid is not None else None,
        node=process.node or None,
        steps_per_second=0.0 if stopped else rates.of(catalog.ENV_STEPS),
        rollouts_per_second=0.0 if stopped else rates.of(catalog.ROLLOUTS),
        latency_seconds={name: value for name, value in latency.items() if value is not None},
        mean_rollout_seconds=rates.mean_rollout_seconds,
        rollout_steps=rates.rollout_steps,
        step_seconds=rates.step_seconds,
        longest_pause_seconds=rates.longest_pause_seconds,
        phase_ratio=_phase_ratio(rates, role),
        episode_return=process.gauge(catalog.EPISODE_RETURN),
        policy_version=version,
        policy_lag=driver.policy_lag(version, beat_age),
        restarts=driver.restarts.get(subject.worker) or ({"unknown": len(replaced)} if replaced else {}),
        recent_restarts=driver.recent_restarts.get(subject.worker, 0)
        or sum(now - moment < RECENT_SECONDS for moment in replaced),
        rss_bytes=process.gauge(catalog.RESIDENT_MEMORY),
        rss_growth_bytes_per_second=rss_growth,
        cpu_ratio=rates.of(catalog.CPU_SECONDS),
        cpu_wait_ratio=rates.cpu_wait_ratio,
        seen_seconds=max(0.0, now - process.first_seen) + (driver.age_before if process.round == 1 else 0.0),
        log_id=process.worker_id or None,
        failures={name: rates.of(catalog.ROLLOUT_FAILURES, name) or 0.0 for name, number in failures if number},
        failures_total=sum(number for _, number in failures),
        failures_since_success=subject.failures_since_success(began),
        rollouts_total=(process.counter(catalog.ROLLOUTS) or 0.0) if process.counters else None,
        steps_total=(process.counter(catalog.ENV_STEPS) or 0.0) if process.counters else None,
        empty_rollouts=empty.number,
        empty_seconds=empty.seconds,
        empty_seconds_before=empty.longest_before,
        role=role,
        flow=process_flow(subject, rates, memory, now),
        token_seconds=rates.token_seconds,
        ended_idle=pooled
        and activity in (None, *_IDLE)
        and (beat_age is None or beat_age - (exporter_age or 0.0) > _unusual_silence(report)),
        of_earlier_run=beat_age is not None and process.beat_seen < began,
    )


def _unusual_silence(report: float | None) -> float:
    return THRESHOLDS.suspect_seconds + (RAY_DEFAULT_REPORT_SECONDS if report is None else report)


def _phase_ratio(rates: Rates, role: str) -> Mapping[str, float]:
    """Return each phase's share of the worker's wall time.

    A worker in another role than `env` that records no rollouts counts no time as waiting: it waits for the rest.
    """
    ratios = {phase: rates.of(catalog.WORKER_PHASE, phase) for phase in catalog.WORKER_PHASE.values["phase"]}
    known = {phase: min(1.0, ratio) for phase, ratio in ratios.items() if ratio is not None}
    if role != "env" and known and not known.get("waiting"):
        known["waiting"] = max(0.0, 1.0 - sum(known.values()))
    return known


def _failure_counts(process: Process) -> list[tuple[str, float]]:
    if not process.open_values[catalog.ROLLOUT_FAILURES.name]:
        return []
    return [(key[1], n) for key, n in process.counters.items() if key[0] == catalog.ROLLOUT_FAILURES.name]


def _stuck(subject: Subject, process: Process, progress_age: float | None, now: float) -> float | None:
    watched = now - process.first_seen
    if watched < SETTLE_SECONDS:
        return None
    ages = [watched if progress_age is None else progress_age]
    if subject.idle_at:
        ages.append(now - subject.idle_at)
    return max(0.0, min(ages))

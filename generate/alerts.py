"""The alerts: ten symptoms, their limits taken from `raymon.health`, each with its reason."""

from typing import Final

from generate.alert import Alert, Pace
from generate.recording_rules import STEP_COST, STEPS_RATE
from raymon import catalog
from raymon.catalog import Metric
from raymon.health import THRESHOLDS, reason_of
from raymon.queries import ray_families as ray

_WORKERS: Final = f'worker!="{catalog.DRIVER}"'
_DRIVER: Final = f'worker="{catalog.DRIVER}"'
_BUSY: Final = f'activity=~"{"|".join(name for name in catalog.ACTIVITIES if name not in ("starting", "waiting"))}"'
_SLOW_ROLLOUT: Final = 'quantile="0.99"'
_EACH: Final = "run, worker"
_SESSIONS: Final = f"count by (SessionName) ({ray.NODE_MEMORY_TOTAL})"
"""The Ray sessions that are scraped."""
MEMORY_SECONDS: Final = 600.0
"""How long the rules remember who was there."""
RESTARTS_SECONDS: Final = 900.0
LONG_ITERATION_SECONDS: Final = 30.0
"""Half the window of the rate of steps: longer iterations are seen by it as pauses and bursts."""


def _latest(metric: Metric, by: str, matchers: str = "") -> str:
    return f"max by ({by}) ({metric.name}{f'{{{matchers}}}' if matchers else ''})"


def _remembered(metric: Metric, by: str, matchers: str, window: str) -> str:
    return f"max by ({by}) (last_over_time({metric.name}{{{matchers}}}[{window}]))"


def _state(state: str) -> str:
    return f'state="{state}"'


_TRAINING: Final = f"on (run) ({_latest(catalog.RUN_STATE, 'run', _state('training'))} == 1)"


_BEGAN: Final = _latest(catalog.RUN_START, "run")


def alerts(pace: Pace) -> tuple[Alert, ...]:
    """Return the alerts at a pace."""
    return (*_on_workers(pace), *_on_progress(pace), *_on_learning(pace), *_on_plumbing(pace))


def _on_workers(pace: Pace) -> tuple[Alert, ...]:
    window = pace.window(MEMORY_SECONDS)
    beat = _latest(catalog.HEARTBEAT, _EACH, _WORKERS)
    seen = f"({_remembered(catalog.HEARTBEAT, _EACH, _WORKERS, window)} > on (run) group_left () {_BEGAN})"
    given_up = f"({_latest(catalog.WORKER_TROUBLE, _EACH, _state('given_up'))} == 1)"
    # Beside its own heartbeat a moment is as old as it was when the process told it, however rarely that is exported.
    progress = f"({beat} - {_latest(catalog.PROGRESS, _EACH)})"
    slowest = _latest(catalog.ROLLOUT_LATENCY, _EACH, _SLOW_ROLLOUT)
    usual = f"{THRESHOLDS.progress_latency_factor:g} * {slowest}"
    first = f"(({progress} <= {pace.limit(THRESHOLDS.startup_grace_seconds)}) unless {slowest})"
    busy = f"on (run, worker) ({_latest(catalog.ACTIVITY, _EACH, _BUSY)} == 1)"
    limit = pace.limit(THRESHOLDS.progress_stalled_seconds)
    restarts = f"sum by ({_EACH}) ({catalog.WORKER_RESTARTS.name})"
    long = pace.window(RESTARTS_SECONDS)
    before = f"sum by ({_EACH}) ({catalog.WORKER_RESTARTS.name} offset {long})"
    known = (
        f"(max by (run) ({catalog.RUN_START.name} offset {long})"
        f" or ({_BEGAN} > time() - {pace.limit(RESTARTS_SECONDS)}))"
    )
    return (
        Alert(
            name="RaymonWorkerDead",
            summary="A worker of a training run reports nothing any more.",
            description="Worker {{ $labels.worker }} of run {{ $labels.run }} is dead or stopped: it reports nothing.",
            expression=f"(({seen} unless {beat}) or {given_up}) and {_TRAINING}",
            hold_seconds=30 / pace.speed,
            reason="Ray drops the gauges of a process within half a minute of its end, and a replacement reports under "
            "the same number within seconds: who is missing half a minute longer is not being replaced. Who was last "
            "heard of before the run began belongs to an earlier run of that name; one given up stays lost.",
            board="raymon-worker",
            labels=("run", "worker"),
        ),
        Alert(
            name="RaymonWorkerStalled",
            summary="A worker is alive and busy, and finishes nothing.",
            description="Worker {{ $labels.worker }} of run {{ $labels.run }} has finished nothing for "
            '{{ $value | printf "%.0f" }} s although it says that it samples.',
            expression=f"((({progress} > {limit}) and {busy}) unless ({progress} <= {usual})) unless {first}",
            hold_seconds=20 / pace.speed,
            reason=f"{reason_of('progress_stalled_seconds')} {reason_of('progress_latency_factor')} Before a first one "
            f"has ended: {reason_of('startup_grace_seconds')} Held for 20 s, since Ray may export only every 10 s.",
            board="raymon-worker",
            labels=("run", "worker"),
        ),
        Alert(
            name="RaymonWorkerStraggling",
            summary="A worker needs far more time for a step than the others.",
            description="Worker {{ $labels.worker }} of run {{ $labels.run }} needs "
            '{{ $value | printf "%.1f" }} times the usual time for an environment step.',
            expression=f"{STEP_COST} / on (run) group_left () "
            f"((quantile by (run) (0.5, {STEP_COST}) and on (run) (count by (run) ({STEP_COST}) > 2))"
            f" or min by (run) ({STEP_COST})) > {THRESHOLDS.slow_factor:g}",
            hold_seconds=120 / pace.speed,
            reason=f"{reason_of('slow_factor')} The median of three or more, the faster of two. Two minutes, so that a "
            "busy moment of its node passes.",
            board="raymon-worker",
            labels=("run", "worker"),
        ),
        Alert(
            name="RaymonWorkerRestartLoop",
            summary="A worker is replaced again and again.",
            description="Worker {{ $labels.worker }} of run {{ $labels.run }} was replaced "
            '{{ $value | printf "%.0f" }} times within 15 minutes.',
            expression=f"(({restarts} - ({before} or (0 * {restarts} and on (run) {known}))) "
            f">= {THRESHOLDS.restart_loop_count:g}) and {_TRAINING}",
            hold_seconds=0,
            reason=f"{reason_of('restart_loop_count')} A difference, since the series begins at 1 and increase() does "
            "not see the first restart. Without a value 15 minutes ago it counts from 0 only where the run was known "
            "or not begun then: a Prometheus that is new cannot tell when they were.",
            board="raymon-worker",
            labels=("run", "worker"),
        ),
    )


def _on_progress(pace: Pace) -> tuple[Alert, ...]:
    normal = f"avg_over_time({STEPS_RATE}[{pace.window(1800)}])"
    long = f"{_latest(catalog.ITERATION_SECONDS, 'run')} > {pace.limit(LONG_ITERATION_SECONDS)}"
    beat = _latest(catalog.HEARTBEAT, "run", _DRIVER)
    began = f"{_BEGAN} + {pace.limit(THRESHOLDS.startup_grace_seconds)}"
    age = f"({beat} - ({_latest(catalog.LAST_UPDATE, 'run')} or {began}))"
    limit = pace.limit(THRESHOLDS.no_update_seconds)
    usual = f"{THRESHOLDS.no_update_factor:g} * {_latest(catalog.ITERATION_SECONDS, 'run')}"
    gone = f"max by (run) ({_left(pace)} and on (SessionName) {_SESSIONS}) unless on (run) {beat}"
    return (
        Alert(
            name="RaymonThroughputCollapsed",
            summary="A run takes far fewer environment steps per second than it used to.",
            description="Run {{ $labels.run }} takes less than half of the environment steps per second that it took "
            "on average over the last half hour.",
            expression=f"((({STEPS_RATE} < {THRESHOLDS.throughput_collapsed_ratio:g} * {normal}) and {_TRAINING})"
            f" unless on (run) {long})",
            hold_seconds=120 / pace.speed,
            reason=f"{reason_of('throughput_collapsed_ratio')} Two minutes, so that a checkpoint or an "
            "evaluation passes. Iterations longer than half a minute look like that when all is well.",
        ),
        Alert(
            name="RaymonNoUpdate",
            summary="A run has not updated its policy for too long, or its driver is gone.",
            description="Run {{ $labels.run }} makes no policy updates: its driver waits for samples that do not "
            "come, hangs, or died without saying that training ended.",
            expression=f"((({age} > {limit}) unless ({age} <= {usual})) and {_TRAINING}) or ({gone})",
            hold_seconds=45 / pace.speed,
            reason=f"{reason_of('no_update_seconds')} {reason_of('no_update_factor')} "
            f"{reason_of('startup_grace_seconds')} A dead driver's gauges are gone, "
            "so that no age of theirs can grow: the second half remembers which process was training last, as long as "
            "its cluster is there. Held for 45 s, so that an evaluation between two iterations passes.",
        ),
    )


def _left(pace: Pace) -> str:
    """Return the newest driver process of each run that said last that it trains, whether it is there or not."""
    window = pace.window(MEMORY_SECONDS)
    began = f"last_over_time({catalog.RUN_START.name}[{window}])"
    newest = f"({began} == on (run) group_left () max by (run) ({began}))"
    training = f"(last_over_time({catalog.RUN_STATE.name}{{{_state('training')}}}[{window}]) == 1)"
    return f"({training} and on (run, WorkerId) {newest})"


def _on_learning(pace: Pace) -> tuple[Alert, ...]:
    return (
        Alert(
            name="RaymonLossNotFinite",
            summary="Updates of a run produce NaN or infinite values.",
            description="Updates of run {{ $labels.run }} had a loss or gradient that is not finite and were skipped.",
            expression=f"sum by (run) (increase({catalog.NONFINITE_UPDATES.name}[{pace.window(300)}])) > 0",
            hold_seconds=0,
            reason="A single one is a defect of the data or the model, and none of them trains anything.",
            board="raymon-learner",
        ),
        Alert(
            name="RaymonPolicyDiverging",
            summary="Updates move the policy much too far.",
            description="The updates of run {{ $labels.run }} have a KL divergence of "
            '{{ $value | printf "%.2f" }} nats.',
            expression=f"max by (run) (avg_over_time({catalog.KL.name}[{pace.window(60)}]))"
            f" > {THRESHOLDS.kl_diverging_nats:g}",
            hold_seconds=30 / pace.speed,
            reason=f"{reason_of('kl_diverging_nats')} The mean of a minute, since single updates scatter.",
            board="raymon-learner",
        ),
    )


def _on_plumbing(pace: Pace) -> tuple[Alert, ...]:
    ours = f"on (SessionName) count by (SessionName) ({catalog.HEARTBEAT.name})"
    used, free = (f"sum by (SessionName) ({family})" for family in (ray.STORE_USED, ray.STORE_AVAILABLE))
    spilled = f"sum by (SessionName) ({ray.STORE_MEMORY}{{{ray.LOCATION_SPILLED}}})"
    reporting = f"count by (run) ({_latest(catalog.HEARTBEAT, _EACH, _WORKERS)})"
    up = _latest(catalog.WORKERS, "run", _state("up"))
    vanished = f"max by (run) ({_left(pace)} unless on (SessionName) {_SESSIONS})"
    return (
        Alert(
            name="RaymonObjectStorePressure",
            summary="Ray's object store is nearly full or spills to disk.",
            description="The object store of Ray session {{ $labels.SessionName }} is nearly full or has objects on "
            "disk; a training run uses it.",
            expression=f"(({used} / ({used} + {free}) > {THRESHOLDS.store_used_ratio:g})"
            f" or ({spilled} > {THRESHOLDS.spilled_bytes:g})) and {ours}",
            hold_seconds=60 / pace.speed,
            reason=f"{reason_of('store_used_ratio')} {reason_of('spilled_bytes')} A minute, since a burst passes.",
            board="raymon-nodes",
            labels=("SessionName",),
        ),
        Alert(
            name="RaymonMetricsMissing",
            summary="Workers that the driver sees at work are missing from the metrics.",
            description='Of run {{ $labels.run }}, {{ $value | printf "%.0f" }} workers that are up for the driver are '
            "not in the metrics: their node is not scraped, its exporter has failed, or the cluster is gone (then 1).",
            expression=f"((({up} - ({reporting} or 0 * {up})) > 0) or ({vanished}))",
            hold_seconds=60 / pace.speed,
            reason="A new worker is in the metrics within an export and a scrape, 15 s; a minute is four times that. A "
            "cluster that went while a run trained in it, and took the run's last word along, is told by its memory.",
            board="raymon-overview",
        ),
    )

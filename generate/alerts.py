"""The alerts, each with its reason; the limits come from `raymon.health`."""

from typing import Final

from generate.alert import Alert
from generate.recording_rules import LONGEST_COST, STEP_COST, STEPS_RATE, TOKEN_COST, TOKENS_RATE
from raymon import catalog
from raymon.catalog import Metric
from raymon.health import THRESHOLDS, reason_of
from raymon.queries import ray_families as ray

_WORKERS: Final = f'worker!="{catalog.DRIVER}"'
_DRIVER: Final = f'worker="{catalog.DRIVER}"'
_BUSY: Final = f'activity=~"{"|".join(name for name in catalog.ACTIVITIES if name not in ("starting", "waiting"))}"'
_SLOW_ROLLOUT: Final = 'quantile="0.99"'
_WORKER: Final = "run, worker"
_MEMORY: Final = "10m"
"""How far the rules look back for processes that reported."""
_RESTARTS_SECONDS: Final = 900
_LONG_ITERATION_SECONDS: Final = 30
"""Half the window of the step rate: longer iterations look like pauses and bursts to it."""


def _latest(metric: Metric, by: str, matchers: str = "") -> str:
    return f"max by ({by}) ({metric.name}{f'{{{matchers}}}' if matchers else ''})"


def _state(*states: str) -> str:
    return f'state="{states[0]}"' if len(states) == 1 else f'state=~"{"|".join(states)}"'


def _in_state(*states: str) -> str:
    """Return the condition that the run is in one of the states, to stand after `and` or `unless`."""
    return f"on (run) ({_latest(catalog.RUN_STATE, 'run', _state(*states))} == 1)"


_TRAINING: Final = _in_state("training")
_ENDED: Final = _in_state("finished", "stopped")
_BEGAN: Final = _latest(catalog.RUN_START, "run")
_SESSIONS: Final = f"count by (SessionName) ({ray.NODE_MEMORY_TOTAL})"
"""The Ray sessions that Prometheus scrapes now."""
_SESSIONS_OF_SEVERAL_NODES: Final = f"(count by (SessionName) (last_over_time({ray.NODE_MEMORY_TOTAL}[{_MEMORY}])) > 1)"
"""The Ray sessions of the last minutes that had more than one node."""


def _last_training_driver() -> str:
    """Return the newest driver process of each run if its last known state is training, alive or not."""
    began = f"last_over_time({catalog.RUN_START.name}[{_MEMORY}])"
    newest = f"({began} == on (run) group_left () max by (run) ({began}))"
    training = f"(last_over_time({catalog.RUN_STATE.name}{{{_state('training')}}}[{_MEMORY}]) == 1)"
    return f"({training} and on (run, WorkerId) {newest})"


def _worker_dead() -> Alert:
    heartbeat = _latest(catalog.HEARTBEAT, _WORKER, _WORKERS)
    reported = f"max by ({_WORKER}) (last_over_time({catalog.HEARTBEAT.name}{{{_WORKERS}}}[{_MEMORY}]))"
    reported_in_run = f"({reported} > on (run) group_left () {_BEGAN})"
    given_up = f"({_latest(catalog.WORKER_TROUBLE, _WORKER, _state('given_up'))} == 1)"
    pooled = f"max by ({_WORKER}) (last_over_time({catalog.TASK_PROCESSES.name}[{_MEMORY}]))"
    return Alert(
        name="RaymonWorkerDead",
        summary="A worker of a training run does not report any more.",
        description="Worker {{ $labels.worker }} of run {{ $labels.run }} is dead or stopped: it does not report.",
        expression=f"(({reported_in_run} unless {heartbeat} unless {pooled}) or {given_up}) and {_TRAINING}",
        hold_seconds=30,
        reason="Ray drops the gauges of a process within half a minute of its end, and a replacement reports under the "
        "same number within seconds: a worker that is missing for another half minute is not being replaced. A worker "
        "that last reported before the run began belongs to an earlier run of that name. A worker that the driver gave "
        "up stays lost. Ray ends idle processes that ran tasks: they are not lost.",
        board="raymon-worker",
        labels=("run", "worker"),
    )


def _worker_stalled() -> Alert:
    heartbeat = _latest(catalog.HEARTBEAT, _WORKER, _WORKERS)
    # Compared with the process's own heartbeat, the age does not depend on how often Ray exports.
    progress_age = f"({heartbeat} - {_latest(catalog.PROGRESS, _WORKER)})"
    slowest = _latest(catalog.ROLLOUT_LATENCY, _WORKER, _SLOW_ROLLOUT)
    normal = f"{THRESHOLDS.progress_latency_factor:g} * {slowest}"
    starting = f"(({progress_age} <= {THRESHOLDS.startup_grace_seconds:g}) unless {slowest})"
    busy = f"on (run, worker) ({_latest(catalog.ACTIVITY, _WORKER, _BUSY)} == 1)"
    late = f"({progress_age} > {THRESHOLDS.progress_stalled_seconds:g})"
    return Alert(
        name="RaymonWorkerStalled",
        summary="A worker is alive and busy but makes no progress.",
        description="Worker {{ $labels.worker }} of run {{ $labels.run }} has made no progress for "
        '{{ $value | printf "%.0f" }} s although it is sampling.',
        expression=f"((({late} and {busy}) unless ({progress_age} <= {normal})) unless {starting}) unless {_ENDED}",
        hold_seconds=20,
        reason=f"{reason_of('progress_stalled_seconds')} {reason_of('progress_latency_factor')} Before the first "
        f"rollout has ended: {reason_of('startup_grace_seconds')} Held for 20 s, since Ray may export only every 10 s.",
        board="raymon-worker",
        labels=("run", "worker"),
    )


def _relative(cost: str) -> str:
    """Return a cost of each worker divided by the median of its run, or by the lower of two."""
    median = f"(quantile by (run) (0.5, {cost}) and on (run) (count by (run) ({cost}) > 2))"
    return f"{cost} / on (run) group_left () ({median} or min by (run) ({cost}))"


def _worker_straggling() -> Alert:
    slow = {cost: f"({_relative(cost)} > {THRESHOLDS.slow_factor:g})" for cost in (STEP_COST, TOKEN_COST, LONGEST_COST)}
    slow_tokens = f"({slow[TOKEN_COST]} and {slow[LONGEST_COST]})"
    return Alert(
        name="RaymonWorkerStraggling",
        summary="A worker needs far more time for an environment step, or for a token, than the others.",
        description="Worker {{ $labels.worker }} of run {{ $labels.run }} needs "
        '{{ $value | printf "%.1f" }} times the normal time for an environment step or a token.',
        expression=f"({slow[STEP_COST]} or {slow_tokens}) unless {_ENDED}",
        hold_seconds=120,
        reason=f"{reason_of('slow_factor')} Compared with the median of three or more workers, or the faster of two. "
        "Two minutes, so that a busy moment of the node passes. A rollout worker of a language model is slow if it "
        "needs more time for each token and for each token of the longest responses: one of the two depends on how "
        "long its responses happen to be.",
        board="raymon-worker",
        labels=("run", "worker"),
    )


def _rollouts_failing() -> Alert:
    failed = f"sum by ({_WORKER}) (rate({catalog.ROLLOUT_FAILURES.name}[2m]))"
    succeeded = f"(sum by ({_WORKER}) (rate({catalog.ROLLOUTS.name}[2m])) or 0 * {failed})"
    number = f"sum by ({_WORKER}) (increase({catalog.ROLLOUT_FAILURES.name}[2m]))"
    alive = _latest(catalog.HEARTBEAT, _WORKER, _WORKERS)
    ratio = f"({failed} / ({failed} + {succeeded}) > {THRESHOLDS.failing_ratio:g})"
    return Alert(
        name="RaymonRolloutsFailing",
        summary="Rollouts of a worker raise exceptions.",
        description="{{ $value | humanizePercentage }} of the rollouts of worker {{ $labels.worker }} of run "
        "{{ $labels.run }} raise an exception.",
        expression=f"({ratio} and {number} >= {THRESHOLDS.failures_least_count:g} and {alive}) unless {_ENDED}",
        hold_seconds=30,
        reason=f"{reason_of('failing_ratio')} {reason_of('failures_least_count')} A loop that only waits for its calls "
        "does not notice the exceptions. Held for half a minute, so that a burst passes.",
        board="raymon-worker",
        labels=("run", "worker"),
    )


def _worker_restart_loop() -> Alert:
    restarts = f"sum by ({_WORKER}) ({catalog.WORKER_RESTARTS.name})"
    window = f"{_RESTARTS_SECONDS}s"
    before = f"sum by ({_WORKER}) ({catalog.WORKER_RESTARTS.name} offset {window})"
    known = f"(max by (run) ({catalog.RUN_START.name} offset {window}) or ({_BEGAN} > time() - {_RESTARTS_SECONDS}))"
    return Alert(
        name="RaymonWorkerRestartLoop",
        summary="A worker is replaced again and again.",
        description="Worker {{ $labels.worker }} of run {{ $labels.run }} was replaced "
        '{{ $value | printf "%.0f" }} times within 15 minutes.',
        expression=f"(({restarts} - ({before} or (0 * {restarts} and on (run) {known}))) "
        f">= {THRESHOLDS.restart_loop_count:g}) and {_TRAINING}",
        hold_seconds=0,
        reason=f"{reason_of('restart_loop_count')} A difference, since the series begins at 1 and increase() does not "
        "see the first restart. Without a value 15 minutes ago it counts from 0 only if Prometheus knew the run then "
        "or the run began later: a new Prometheus cannot say when earlier restarts were.",
        board="raymon-worker",
        labels=("run", "worker"),
    )


def _throughput_collapsed() -> Alert:
    def low(rate: str) -> str:
        return f"({rate} < {THRESHOLDS.throughput_collapsed_ratio:g} * avg_over_time({rate}[30m]))"

    long = f"{_latest(catalog.ITERATION_SECONDS, 'run')} > {_LONG_ITERATION_SECONDS}"
    low_tokens = f"({low(TOKENS_RATE)} unless on (run) ({STEPS_RATE} > 0))"
    return Alert(
        name="RaymonThroughputCollapsed",
        summary="A run takes far fewer environment steps, or generates far fewer tokens, per second than before.",
        description="Run {{ $labels.run }} takes less than half of the environment steps per second, or generates less "
        "than half of the tokens, of its average over the last half hour.",
        expression=f"((({low(STEPS_RATE)} or {low_tokens}) and {_TRAINING}) unless on (run) {long})",
        hold_seconds=120,
        reason=f"{reason_of('throughput_collapsed_ratio')} Two minutes, so that a checkpoint or an evaluation passes. "
        "Healthy iterations longer than half a minute look the same, so they are left out.",
    )


def _no_update() -> Alert:
    heartbeat = _latest(catalog.HEARTBEAT, "run", _DRIVER)
    began = f"{_BEGAN} + {THRESHOLDS.startup_grace_seconds:g}"
    age = f"({heartbeat} - ({_latest(catalog.LAST_UPDATE, 'run')} or {began}))"
    normal = f"{THRESHOLDS.no_update_factor:g} * {_latest(catalog.ITERATION_SECONDS, 'run')}"
    rollout = f"{THRESHOLDS.no_update_seconds:g} + {_latest(catalog.ROLLOUT_LATENCY, 'run', _SLOW_ROLLOUT)}"
    late = f"({age} > {THRESHOLDS.no_update_seconds:g})"
    late = f"(({late} unless ({age} <= {normal}) unless ({age} <= {rollout})) and {_TRAINING})"
    gone = f"max by (run) ({_last_training_driver()} and on (SessionName) {_SESSIONS}) unless on (run) {heartbeat}"
    return Alert(
        name="RaymonNoUpdate",
        summary="A run has not updated its policy for too long, or its driver is gone.",
        description="Run {{ $labels.run }} makes no policy updates: its driver waits for samples, hangs, or died "
        "without reporting the end of training.",
        expression=f"{late} or ({gone})",
        hold_seconds=45,
        reason=f"{reason_of('no_update_seconds')} {reason_of('no_update_factor')} {reason_of('startup_grace_seconds')} "
        "The gauges of a dead driver are gone, so that their age cannot grow: the second half remembers which process "
        "was training last, as long as its cluster is scraped. Held for 45 s, so that an evaluation between two "
        "iterations passes. An update may have to wait for a rollout, however fast the iterations were before.",
    )


def _loss_not_finite() -> Alert:
    return Alert(
        name="RaymonLossNotFinite",
        summary="Updates of a run produce NaN or infinite values.",
        description="Updates of run {{ $labels.run }} had a loss or gradient that is not finite.",
        expression=f"(sum by (run) (increase({catalog.NONFINITE_UPDATES.name}[5m])) > 0)"
        f" and {_in_state('training', 'failed')}",
        hold_seconds=0,
        reason="A single such update is a defect of the data or the model, and none of them trains anything.",
        board="raymon-learner",
    )


def _policy_diverging() -> Alert:
    return Alert(
        name="RaymonPolicyDiverging",
        summary="Updates move the policy much too far.",
        description='The updates of run {{ $labels.run }} have a KL divergence of {{ $value | printf "%.2f" }} nats.',
        expression=f"(max by (run) (avg_over_time({catalog.KL.name}[1m])) > {THRESHOLDS.kl_diverging_nats:g})"
        f" and {_in_state('training', 'failed')}",
        hold_seconds=30,
        reason=f"{reason_of('kl_diverging_nats')} The mean of a minute, since single updates scatter.",
        board="raymon-learner",
    )


def _no_learning_signal() -> Alert:
    groups = f"sum by (run) (increase({catalog.GROUPS.name}[5m]))"
    equal = f'sum by (run) (increase({catalog.GROUPS.name}{{signal="no"}}[5m]))'
    return Alert(
        name="RaymonNoLearningSignal",
        summary="Nearly all groups of responses of a run have equal rewards.",
        description="Nearly all groups of responses of run {{ $labels.run }} have equal rewards: it learns nothing.",
        expression=f"({equal} / {groups} > {THRESHOLDS.no_signal_ratio:g}"
        f" and {groups} >= {THRESHOLDS.no_signal_least_groups:g}) and {_TRAINING}",
        hold_seconds=60,
        reason=f"{reason_of('no_signal_ratio')} {reason_of('no_signal_least_groups')} Over five minutes and held for "
        "one, since batches of prompts differ.",
        board="raymon-language",
    )


def _weights_stale() -> Alert:
    role = _latest(catalog.ROLE, _WORKER, 'role="rollout"')
    rollouts = f"on (run, worker) ({role} == 1)"
    newest = f"max by (run) ({_latest(catalog.POLICY_VERSION, _WORKER)} and {rollouts})"
    behind = f"({_latest(catalog.LEARNER_VERSION, 'run')} - {newest})"
    return Alert(
        name="RaymonWeightsStale",
        summary="The rollout workers of a run generate with old weights.",
        description="Every rollout worker of run {{ $labels.run }} generates with weights that are at least "
        '{{ $value | printf "%.0f" }} updates old.',
        expression=f"({behind} > {THRESHOLDS.stale_weights_updates:g}) and {_TRAINING}",
        hold_seconds=60,
        reason=f"{reason_of('stale_weights_updates')} Measured from the newest version of any rollout worker, so "
        "that one hanging worker does not raise it. Held for a minute: a synchronization may take as long as several "
        "updates.",
        board="raymon-language",
    )


def _buffer_overfull() -> Alert:
    age = f"(time() - min by (run) ({catalog.BUFFER_OLDEST.name} > 0))"
    normal = f"{THRESHOLDS.no_update_factor:g} * {_latest(catalog.ITERATION_SECONDS, 'run')}"
    old = f"(({age} > {THRESHOLDS.buffer_old_seconds:g}) unless ({age} <= {normal}))"
    bounded = f"on (run) ({_latest(catalog.BUFFER_CAPACITY, 'run')} > 0)"
    grows = f"on (run) (sum by (run) (deriv({catalog.BUFFER_DEPTH.name}[5m])) > 0)"
    return Alert(
        name="RaymonBufferOverfull",
        summary="Samples wait longer and longer to be trained on.",
        description="The oldest sample in the buffer of run {{ $labels.run }} was generated "
        '{{ $value | printf "%.0f" }} s ago, and the buffer grows.',
        expression=f"(({old} and {grows}) unless {bounded}) and {_TRAINING}",
        hold_seconds=120,
        reason=f"{reason_of('buffer_old_seconds')} {reason_of('no_update_factor')} A buffer with a capacity is left "
        "out: it cannot grow beyond it. Held for two minutes, so that one long update passes.",
        board="raymon-language",
    )


def _object_store_pressure() -> Alert:
    def sessions(*states: str) -> str:
        return f"count by (SessionName) ({catalog.RUN_STATE.name}{{{_state(*states)}}} == 1)"

    over = f"({sessions('finished', 'stopped', 'failed')} unless on (SessionName) {sessions('training', 'starting')})"
    sampling = f"on (SessionName) count by (SessionName) ({catalog.HEARTBEAT.name}{{{_WORKERS}}})"
    used, free = (f"sum by (SessionName) ({family})" for family in (ray.STORE_USED, ray.STORE_AVAILABLE))
    spilled = f"sum by (SessionName) ({ray.STORE_MEMORY}{{{ray.LOCATION_SPILLED}}})"
    return Alert(
        name="RaymonObjectStorePressure",
        summary="Ray's object store is nearly full or spills to disk.",
        description="The object store of Ray session {{ $labels.SessionName }}, which a training run uses, is nearly "
        "full or has objects on disk.",
        expression=f"(({used} / ({used} + {free}) > {THRESHOLDS.store_used_ratio:g})"
        f" or ({spilled} > {THRESHOLDS.spilled_bytes:g})) and {sampling} unless on (SessionName) {over}",
        hold_seconds=60,
        reason=f"{reason_of('store_used_ratio')} {reason_of('spilled_bytes')} A minute, since a burst passes. What "
        "lies in the store after the last run of a session has ended harms nobody.",
        board="raymon-nodes",
        labels=("SessionName",),
    )


def _metrics_missing() -> Alert:
    reporting = f"count by (run) ({_latest(catalog.HEARTBEAT, _WORKER, _WORKERS)})"
    up = _latest(catalog.WORKERS, "run", _state("up"))
    cluster_gone = (
        f"max by (run) (({_last_training_driver()} and on (SessionName) {_SESSIONS_OF_SEVERAL_NODES})"
        f" unless on (SessionName) {_SESSIONS})"
    )
    return Alert(
        name="RaymonMetricsMissing",
        summary="Workers that run are missing from the metrics.",
        description='Of run {{ $labels.run }}, {{ $value | printf "%.0f" }} workers that the driver counts as up are '
        "not in the metrics: their node is not scraped, its exporter has failed, or the cluster is gone (then 1).",
        expression=f"(((({up} - ({reporting} or 0 * {up})) > 0) and {_TRAINING}) or ({cluster_gone}))",
        hold_seconds=60,
        reason="A new worker is in the metrics within an export and a scrape, 15 s; a minute is four times that. The "
        "second half remembers a run whose whole cluster disappeared while it trained. It leaves out clusters of one "
        "node: such a cluster often ends together with its run, within less than a scrape, and that is no alert.",
    )


ALERTS: Final = (
    _worker_dead(),
    _worker_stalled(),
    _worker_straggling(),
    _rollouts_failing(),
    _worker_restart_loop(),
    _throughput_collapsed(),
    _no_update(),
    _loss_not_finite(),
    _policy_diverging(),
    _no_learning_signal(),
    _weights_stale(),
    _buffer_overfull(),
    _object_store_pressure(),
    _metrics_missing(),
)
"""Every alert, in the order of the runbook."""

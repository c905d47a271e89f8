"""Promtool cases of the alerts: series over which each one fires, stays silent, and loses a series.

Samples come every five seconds from second 0 on, which is also the clock of the rules: `time()` is the second.
"""

from typing import Any, Final

from alert_case import STEP_SECONDS, Case, ray_series, series

from generate.alerts import ALERTS
from raymon import catalog
from raymon.health import THRESHOLDS
from raymon.queries import ray_families as ray

NOW: Final = f"0+{STEP_SECONDS}x"
"""A timestamp that is always now; the number of further samples follows."""
BEAT_0: Final = series(catalog.HEARTBEAT, worker="0")
BEAT_1: Final = series(catalog.HEARTBEAT, worker="1")
DRIVER_BEAT: Final = series(catalog.HEARTBEAT, worker=catalog.DRIVER)
TRAINING: Final = series(catalog.RUN_STATE, state="training")
WORKER_0: Final = {"run": "r", "worker": "0"}
WORKER_1: Final = {"run": "r", "worker": "1"}


STOP: Final = 60
"""The second at which the timestamps of the gauges stop in the cases."""


def _passed(limit: float, hold: int = 0) -> int:
    """Return the first step at which a timestamp of second 60 has been older than a limit for `hold` seconds."""
    return STOP + (int(limit) // STEP_SECONDS + 1) * STEP_SECONDS + hold


STALLED: Final = _passed(THRESHOLDS.progress_stalled_seconds, 20)
STALLED_LONG: Final = _passed(THRESHOLDS.progress_latency_factor * 20, 20)
STALLED_FIRST: Final = _passed(THRESHOLDS.startup_grace_seconds, 20)
NO_UPDATE: Final = _passed(THRESHOLDS.no_update_seconds, 45)
NEVER_UPDATED: Final = _passed(THRESHOLDS.startup_grace_seconds + THRESHOLDS.no_update_seconds, 45)
NODE: Final = ray_series(ray.NODE_MEMORY_TOTAL, SessionName="s", ip="10.0.0.1")
NODE_2: Final = ray_series(ray.NODE_MEMORY_TOTAL, SessionName="s", ip="10.0.0.2")
WORKERS_UP: Final = series(catalog.WORKERS, state="up")
FIRST: Final = {"WorkerId": "first"}
SECOND: Final = {"WorkerId": "second"}


BUFFER_OLD: Final = {
    series(catalog.BUFFER_DEPTH): "0+10x120",
    series(catalog.BUFFER_OLDEST): "1x120",
    series(catalog.ITERATION_SECONDS): "1x120",
    TRAINING: "1x120",
}
GROUPS_EQUAL: Final = series(catalog.GROUPS, signal="no")
GROUPS_USEFUL: Final = series(catalog.GROUPS, signal="yes")
LEARNER: Final = series(catalog.LEARNER_VERSION)


def _weights(version: str) -> dict[str, str]:
    """Return the series of a rollout worker that generates with a version of the weights."""
    role = series(catalog.ROLE, worker="0", role="rollout")
    return {series(catalog.POLICY_VERSION, worker="0"): version, role: "1x60"}


def _progress(progress: str, activity: str, p99: str = "0.5x80", beat: str = f"{NOW}80") -> dict[str, str]:
    rows = {
        BEAT_0: beat,
        series(catalog.PROGRESS, worker="0"): progress,
        series(catalog.ACTIVITY, worker="0", activity="environment"): activity,
    }
    return rows | ({series(catalog.ROLLOUT_LATENCY, worker="0", quantile="0.99"): p99} if p99 else {})


def _updates(last: str, seconds: str) -> dict[str, str]:
    return {
        series(catalog.LAST_UPDATE): last,
        series(catalog.ITERATION_SECONDS): seconds,
        TRAINING: "1x80",
        DRIVER_BEAT: f"{NOW}80",
    }


def _life(began: str, training: str, finished: str, beat: str, **process: str) -> dict[str, str]:
    """Return the series of a driver process from its start to its end."""
    return {
        series(catalog.RUN_START, **process): began,
        series(catalog.RUN_STATE, state="training", **process): training,
        series(catalog.RUN_STATE, state="finished", **process): finished,
        series(catalog.HEARTBEAT, worker=catalog.DRIVER, **process): beat,
    }


def _restarts(began: str, **reasons: str) -> dict[str, str]:
    rows = {series(catalog.WORKER_RESTARTS, worker="0", reason=reason): values for reason, values in reasons.items()}
    return {**rows, TRAINING: "1x400", series(catalog.RUN_START): began}


def _costs(*steps_per_sample: int) -> dict[str, str]:
    rows = {}
    for worker, steps in enumerate(steps_per_sample):
        rows[series(catalog.ENV_STEPS, worker=str(worker))] = f"0+{steps}x60"
        rows[series(catalog.ROLLOUT_SECONDS, worker=str(worker))] = "0+5x60"
    return rows


def _tokens(*workers: tuple[int, int]) -> dict[str, str]:
    """Return the series of rollout workers by their tokens, and those of the longest responses, per second."""
    rows = {}
    for worker, (tokens, longest) in enumerate(workers):
        rows[series(catalog.TOKENS, worker=str(worker), direction="out")] = f"0+{5 * tokens}x60"
        rows[series(catalog.TOKENS, worker=str(worker), direction="in")] = "0+5000x60"
        rows[series(catalog.GENERATION_LENGTH, worker=str(worker), part="body")] = f"0+{4 * longest}x60"
        rows[series(catalog.GENERATION_LENGTH, worker=str(worker), part="tail")] = f"0+{longest}x60"
        rows[series(catalog.GENERATION_SECONDS, worker=str(worker))] = "0+5x60"
    return rows


def _rollouts(succeeded: str, failed: str, beat: str = f"{NOW}80") -> dict[str, str]:
    rows = {series(catalog.ROLLOUT_FAILURES, worker="0", exception="TypeError"): failed, BEAT_0: beat}
    return rows | ({series(catalog.ROLLOUTS, worker="0"): succeeded} if succeeded else {})


def _store(used: str, spilled: str) -> dict[str, str]:
    return {
        ray_series(ray.STORE_USED, SessionName="s"): used,
        ray_series(ray.STORE_AVAILABLE, SessionName="s"): "10x60",
        ray_series(ray.STORE_MEMORY, SessionName="s", Location="SPILLED"): spilled,
        BEAT_0: f"{NOW}60",
    }


CASES: Final = (
    # The heartbeat is last seen at 60 s, missing from 65 s on, and the alert holds 30 s.
    Case(
        "RaymonWorkerDead",
        "its heartbeat vanishes",
        {BEAT_0: f"{NOW}12 stale _x40", BEAT_1: f"{NOW}60", TRAINING: "1x60", series(catalog.RUN_START): "1x60"},
        silent_at=(60, 90),
        fires_at=(95, 200),
        labels=WORKER_0,
    ),
    Case(
        "RaymonWorkerDead",
        "Ray has ended a process that ran tasks",
        {
            BEAT_0: f"{NOW}12 stale _x40",
            BEAT_1: f"{NOW}60",
            series(catalog.TASK_PROCESSES, worker="0"): "1x60",
            TRAINING: "1x60",
            series(catalog.RUN_START): "1x60",
        },
        silent_at=(95, 200),
    ),
    Case(
        "RaymonWorkerDead",
        "a replacement reports under its number",
        {
            BEAT_0: f"{NOW}12 stale _x40",
            series(catalog.HEARTBEAT, worker="0", WorkerId="new"): f"_x16 80+{STEP_SECONDS}x40",
            TRAINING: "1x60",
            series(catalog.RUN_START): "1x60",
        },
        silent_at=(95, 120, 200),
    ),
    Case(
        "RaymonWorkerDead",
        "the run began again with fewer workers",
        {BEAT_0: f"{NOW}60", BEAT_1: f"{NOW}12 stale _x60", TRAINING: "1x60", series(catalog.RUN_START): "1x12 70x60"},
        silent_at=(95, 120, 200),
    ),
    Case(
        "RaymonWorkerDead",
        "it was given up long ago",
        {
            BEAT_1: f"{NOW}400",
            TRAINING: "1x400",
            series(catalog.RUN_START): "1x400",
            series(catalog.WORKER_TROUBLE, worker="0", state="given_up"): "0x12 1x380",
        },
        silent_at=(60, 90),
        fires_at=(95, 1800),
        labels=WORKER_0,
    ),
    Case(
        "RaymonWorkerDead",
        "the run has finished",
        {BEAT_0: f"{NOW}12 stale _x40", TRAINING: "1x12 0x40", series(catalog.RUN_START): "1x60"},
        silent_at=(95, 200),
    ),
    Case(
        "RaymonWorkerStalled",
        "no progress while in the environment",
        _progress(f"{NOW}12 60x60", "1x80"),
        silent_at=(STOP, STALLED - STEP_SECONDS),
        fires_at=(STALLED,),
        labels=WORKER_0,
        value=str(STALLED - STOP),
    ),
    Case(
        "RaymonWorkerStalled",
        "it waits for its next call",
        _progress(f"{NOW}12 60x60", "0x80"),
        silent_at=(STALLED, 2 * STALLED),
    ),
    Case(
        "RaymonWorkerStalled",
        "its rollouts are long",
        _progress(f"{NOW}12 60x60", "1x80", "20x80"),
        silent_at=(STALLED, STALLED_LONG - STEP_SECONDS),
        fires_at=(STALLED_LONG,),
        labels=WORKER_0,
        value=str(STALLED_LONG - STOP),
    ),
    Case(
        "RaymonWorkerStalled",
        "its first rollout has not ended",
        _progress(f"{NOW}12 60x60", "1x80", ""),
        silent_at=(STALLED, STALLED_FIRST - STEP_SECONDS),
        fires_at=(STALLED_FIRST,),
        labels=WORKER_0,
        value=str(STALLED_FIRST - STOP),
    ),
    # Ray exports every ten seconds: between two exports the age grows by what nobody knows, not by a hang.
    Case(
        "RaymonWorkerStalled",
        "it is healthy, and reports rarely",
        _progress(
            "0 0 0 10 10 20 20 30 30 40 40 50 50 60x3 75x3 90x40",
            "1x80",
            "0.5x80",
            "0 0 0 10 10 20 20 30 30 40 40 50 50 60x3 75x3 90x40",
        ),
        silent_at=(60, 75, 90, 200),
    ),
    Case(
        "RaymonWorkerStalled",
        "its gauges vanish",
        _progress(f"{NOW}12 stale _x60", "1x12 stale _x60", "0.5x12 stale _x60", f"{NOW}12 stale _x60"),
        silent_at=(STALLED, 2 * STALLED),
    ),
    Case(
        "RaymonWorkerStalled",
        "the run was stopped while a worker hung",
        {
            **_progress(f"{NOW}12 60x60", "1x80"),
            series(catalog.RUN_STATE, state="stopped"): "0x13 1x80",
        },
        silent_at=(STOP, STALLED, 2 * STALLED),
    ),
    # A rate over a minute is there with the second sample; the alert holds two minutes from 5 s on.
    Case(
        "RaymonWorkerStraggling",
        "three times the median of three",
        _costs(300, 300, 100),
        silent_at=(60, 120),
        fires_at=(130,),
        labels={"run": "r", "worker": "2"},
        value="3.0",
    ),
    Case(
        "RaymonWorkerStraggling",
        "three times the faster of two",
        _costs(300, 100),
        silent_at=(120,),
        fires_at=(130,),
        labels=WORKER_1,
        value="3.0",
    ),
    Case(
        "RaymonWorkerStraggling",
        "three times the time per token of the others",
        _tokens((300, 30), (300, 30), (100, 10)),
        silent_at=(60, 120),
        fires_at=(130,),
        labels={"run": "r", "worker": "2"},
        value="3.0",
    ),
    # It decodes batches at once, and drew short responses and one long one in each.
    Case(
        "RaymonWorkerStraggling",
        "its responses are short, and its longest as long as the others'",
        _tokens((300, 30), (300, 30), (100, 30)),
        silent_at=(130, 200),
    ),
    Case(
        "RaymonWorkerStraggling",
        "a worker of another role counts other steps",
        {**_costs(300, 300, 100), series(catalog.ROLE, worker="2", role="reward"): "1x60"},
        silent_at=(130, 200),
    ),
    Case("RaymonWorkerStraggling", "within half of the others", _costs(300, 300, 200), silent_at=(130, 200)),
    Case("RaymonWorkerStraggling", "the counters of the dead stay, flat", _costs(300, 300, 0), silent_at=(130, 200)),
    Case(
        "RaymonWorkerStraggling",
        "the run finishes before the alert has held",
        {**_costs(300, 300, 100), series(catalog.RUN_STATE, state="finished"): "0x22 1x40"},
        silent_at=(110, 130, 200),
    ),
    Case(
        "RaymonWorkerStraggling",
        "its counters vanish",
        {name: values.replace("x60", "x12 stale _x40") for name, values in _costs(300, 300, 100).items()},
        silent_at=(130, 200),
    ),
    # Half of the rollouts fail from 60 s on: three failures are counted at 80 s, and the alert holds half a minute.
    Case(
        "RaymonRolloutsFailing",
        "half of the rollouts fail",
        _rollouts("0+1x11 11x1 12x1 13+1x60", "_x11 0+1x60"),
        silent_at=(60, 75, 90),
        fires_at=(200,),
        labels=WORKER_0,
        value="50%",
    ),
    Case(
        "RaymonRolloutsFailing",
        "every rollout fails",
        _rollouts("", "1+1x60"),
        silent_at=(35,),
        fires_at=(60, 200),
        labels=WORKER_0,
        value="100%",
    ),
    Case(
        "RaymonRolloutsFailing", "one rollout in a hundred fails", _rollouts("0+99x60", "0+1x60"), silent_at=(60, 200)
    ),
    Case("RaymonRolloutsFailing", "two rollouts have failed", _rollouts("", "1 2x60"), silent_at=(60, 200)),
    Case(
        "RaymonRolloutsFailing",
        "the worker vanishes before the alert has held",
        _rollouts("", "1+1x3 stale _x40", f"{NOW}4 stale _x40"),
        silent_at=(30, 60, 200),
    ),
    Case(
        "RaymonRolloutsFailing",
        "the run is stopped before the alert has held",
        {**_rollouts("", "1+1x60"), series(catalog.RUN_STATE, state="stopped"): "0x3 1x60"},
        silent_at=(35, 60, 200),
    ),
    Case(
        "RaymonWorkerRestartLoop",
        "three restarts, the series beginning with the first",
        _restarts("0x400", killed="_x4 1x4 2x4 3x40"),
        silent_at=(20, 55),
        fires_at=(70,),
        labels=WORKER_0,
        value="3",
    ),
    Case(
        "RaymonWorkerRestartLoop",
        "two restarts, for two reasons",
        _restarts("0x400", killed="_x4 1x60", oom="_x4 1x60"),
        silent_at=(60, 200),
    ),
    Case(
        "RaymonWorkerRestartLoop",
        "the driver's series vanish",
        {**_restarts("0x4", killed="1x4 2x4 3x4 stale _x40"), TRAINING: "1x12 stale _x40"},
        silent_at=(75, 200),
    ),
    # A run that began two hours before the first sample: its three restarts may have been hours apart.
    Case(
        "RaymonWorkerRestartLoop",
        "Prometheus is new and the run is not",
        _restarts("-7200x400", killed="3x400"),
        silent_at=(70, 600, 1500),
    ),
    Case(
        "RaymonWorkerRestartLoop",
        "a run known for long loses its first workers",
        _restarts("-7200x400", killed="_x200 1x4 2x4 3x100"),
        silent_at=(1000, 1030),
        fires_at=(1100,),
        labels=WORKER_0,
        value="3",
    ),
    Case(
        "RaymonThroughputCollapsed",
        "a tenth of what it was",
        {series(catalog.ENV_STEPS, worker="0"): "0+100x120 12000+10x60", TRAINING: "1x200"},
        silent_at=(600, 740),
        fires_at=(800,),
    ),
    Case(
        "RaymonThroughputCollapsed",
        "a tenth of the tokens, where no environment steps are counted",
        {series(catalog.TOKENS, worker="0", direction="out"): "0+100x120 12000+10x60", TRAINING: "1x200"},
        silent_at=(600, 740),
        fires_at=(800,),
    ),
    Case(
        "RaymonThroughputCollapsed",
        "a tenth of the tokens, where environment steps are counted",
        {
            series(catalog.TOKENS, worker="0", direction="out"): "0+100x120 12000+10x60",
            series(catalog.ENV_STEPS, worker="0"): "0+100x180",
            TRAINING: "1x200",
        },
        silent_at=(740, 800, 900),
    ),
    Case(
        "RaymonThroughputCollapsed",
        "three quarters of what it was",
        {series(catalog.ENV_STEPS, worker="0"): "0+100x120 12000+75x60", TRAINING: "1x200"},
        silent_at=(740, 900),
    ),
    Case(
        "RaymonThroughputCollapsed",
        "iterations of minutes, in which sampling and learning take turns",
        {
            series(catalog.ENV_STEPS, worker="0"): "0+100x120 12000x60",
            TRAINING: "1x200",
            series(catalog.ITERATION_SECONDS): "360x200",
        },
        silent_at=(740, 800, 900),
    ),
    Case(
        "RaymonThroughputCollapsed",
        "the counters vanish with the run",
        {series(catalog.ENV_STEPS, worker="0"): "0+100x120 stale _x60", TRAINING: "1x120 stale _x60"},
        silent_at=(740, 900),
    ),
    Case(
        "RaymonNoUpdate",
        "the last update grows old",
        _updates(f"{NOW}12 60x80", "1x80"),
        silent_at=(STOP, NO_UPDATE - STEP_SECONDS),
        fires_at=(NO_UPDATE,),
    ),
    Case(
        "RaymonNoUpdate",
        "iterations of a minute",
        _updates(f"{NOW}12 60x80", "60x80"),
        silent_at=(NO_UPDATE, 2 * NO_UPDATE),
    ),
    Case(
        "RaymonNoUpdate",
        "rollouts of two minutes and quick iterations",
        {**_updates(f"{NOW}12 60x80", "1x80"), series(catalog.ROLLOUT_LATENCY, worker="0", quantile="0.99"): "120x80"},
        silent_at=(NO_UPDATE, NO_UPDATE + 100),
        fires_at=(NO_UPDATE + 130,),
    ),
    Case(
        "RaymonNoUpdate",
        "there never was an update",
        {series(catalog.RUN_START): f"{STOP}x80", TRAINING: "1x80", DRIVER_BEAT: f"{NOW}80"},
        silent_at=(STOP, NEVER_UPDATED - STEP_SECONDS),
        fires_at=(NEVER_UPDATED,),
    ),
    Case(
        "RaymonNoUpdate",
        "the driver's gauges vanish",
        {
            **_life("0x12 stale _x60", "1x12 stale _x60", "0x12 stale _x60", f"{NOW}12 stale _x60", **FIRST),
            NODE: "1x80",
        },
        silent_at=(60, 105),
        fires_at=(110, 200),
    ),
    Case(
        "RaymonNoUpdate",
        "the run finished before the driver ended",
        {
            **_life("0x13 stale _x60", "1x12 0 stale _x60", "0x12 1 stale _x60", f"{NOW}12 60 stale _x60", **FIRST),
            NODE: "1x80",
        },
        silent_at=(110, 200),
    ),
    Case(
        "RaymonNoUpdate",
        "the run finished, was resumed, and its driver died",
        {
            **_life("0x6 stale _x60", "1x5 0 stale _x60", "0x5 1 stale _x60", f"{NOW}6 stale _x60", **FIRST),
            **_life(
                "_x8 40x10 stale _x60", "_x8 1x10 stale _x60", "_x8 0x10 stale _x60", "_x8 40+5x10 stale _x60", **SECOND
            ),
            NODE: "1x80",
        },
        silent_at=(60, 90, 135),
        fires_at=(145, 200),
    ),
    Case(
        "RaymonNoUpdate",
        "the driver died, and the run was resumed and finished",
        {
            **_life("0x6 stale _x60", "1x6 stale _x60", "0x6 stale _x60", f"{NOW}6 stale _x60", **FIRST),
            **_life(
                "_x8 40x10 stale _x60",
                "_x8 1x9 0 stale _x60",
                "_x8 0x9 1 stale _x60",
                "_x8 40+5x10 stale _x60",
                **SECOND,
            ),
            NODE: "1x80",
        },
        silent_at=(70, 145, 200),
    ),
    Case(
        "RaymonNoUpdate",
        "the cluster ends with the driver",
        {
            **_life("0x12 stale _x60", "1x12 stale _x60", "0x12 stale _x60", f"{NOW}12 stale _x60", **FIRST),
            NODE: "1x12 stale _x60",
        },
        silent_at=(110, 200),
    ),
    Case(
        "RaymonLossNotFinite",
        "one update was not finite",
        {series(catalog.NONFINITE_UPDATES): "0x12 1x40", TRAINING: "1x60"},
        silent_at=(60,),
        fires_at=(70,),
    ),
    Case(
        "RaymonLossNotFinite",
        "all are finite",
        {series(catalog.NONFINITE_UPDATES): "0x60", TRAINING: "1x60"},
        silent_at=(70, 200),
    ),
    Case(
        "RaymonLossNotFinite",
        "the run ended after the update, within one scrape",
        {series(catalog.NONFINITE_UPDATES): "0x12 1x40", TRAINING: "1x12 0x4 stale _x40"},
        silent_at=(60, 70, 200),
    ),
    Case(
        "RaymonLossNotFinite",
        "the counter vanishes",
        {series(catalog.NONFINITE_UPDATES): "0x12 stale _x60", TRAINING: "1x12 stale _x60"},
        silent_at=(70, 200),
    ),
    # A mean over a minute of 0.01 and then 1 nat passes 0.3 at 75 s, and the alert holds 30 s.
    Case(
        "RaymonPolicyDiverging",
        "a nat for half a minute",
        {series(catalog.KL): "0.01x11 1x60", TRAINING: "1x80"},
        silent_at=(60, 95),
        fires_at=(150,),
        value="1.00",
    ),
    Case(
        "RaymonPolicyDiverging",
        "one update out of line",
        {series(catalog.KL): "0.01x11 1 0.01x60", TRAINING: "1x80"},
        silent_at=(60, 95, 150),
    ),
    Case(
        "RaymonPolicyDiverging",
        "the run finishes before the alert has held",
        {series(catalog.KL): "0.01x11 1x10 stale _x60", TRAINING: "1x16 0x4 stale _x60"},
        silent_at=(95, 110, 150),
    ),
    Case(
        "RaymonPolicyDiverging",
        "the gauge vanishes",
        {series(catalog.KL): "0.01x11 1x2 stale _x60", TRAINING: "1x13 stale _x60"},
        silent_at=(95, 200),
    ),
    # Full from 60 s on, and the alert holds a minute.
    # Twenty groups in each sample: enough are counted from second 5 on.
    Case(
        "RaymonNoLearningSignal",
        "all groups have equal rewards",
        {GROUPS_EQUAL: "0+20x60", GROUPS_USEFUL: "0x60", TRAINING: "1x60"},
        silent_at=(60,),
        fires_at=(65, 200),
    ),
    Case(
        "RaymonNoLearningSignal",
        "half of the groups have equal rewards",
        {GROUPS_EQUAL: "0+20x60", GROUPS_USEFUL: "0+20x60", TRAINING: "1x60"},
        silent_at=(65, 200),
    ),
    Case(
        "RaymonNoLearningSignal",
        "the run vanishes",
        {GROUPS_EQUAL: "0+20x10 stale _x60", GROUPS_USEFUL: "0x10 stale _x60", TRAINING: "1x10 stale _x60"},
        silent_at=(65, 200),
    ),
    # The learner makes an update in each sample: nine are made at second 45.
    Case(
        "RaymonWeightsStale",
        "weights are not synchronized",
        {LEARNER: "0+1x60", **_weights("0x60"), TRAINING: "1x60"},
        silent_at=(100,),
        fires_at=(105,),
        value="21",
    ),
    Case(
        "RaymonWeightsStale",
        "weights are two updates old",
        {LEARNER: "2+1x60", **_weights("0+1x60"), TRAINING: "1x60"},
        silent_at=(105, 200),
    ),
    Case(
        "RaymonWeightsStale",
        "the rollout worker vanishes",
        {LEARNER: "0+1x60", **_weights("0x15 stale _x60"), TRAINING: "1x60"},
        silent_at=(105, 200),
    ),
    # The oldest sample is of second 1: older than half a minute from second 35 on, and the alert holds two minutes.
    Case(
        "RaymonBufferOverfull",
        "the oldest sample waits, and the buffer grows",
        BUFFER_OLD,
        silent_at=(100, 150),
        fires_at=(155,),
        value="154",
    ),
    Case(
        "RaymonBufferOverfull",
        "the buffer does not grow",
        {**BUFFER_OLD, series(catalog.BUFFER_DEPTH): "500x120"},
        silent_at=(155, 300),
    ),
    Case(
        "RaymonBufferOverfull",
        "samples are trained on within seconds",
        {**BUFFER_OLD, series(catalog.BUFFER_OLDEST): "1+5x120"},
        silent_at=(155, 300),
    ),
    Case(
        "RaymonBufferOverfull",
        "the buffer has a capacity",
        {**BUFFER_OLD, series(catalog.BUFFER_CAPACITY): "9000x120"},
        silent_at=(155, 300),
    ),
    Case(
        "RaymonBufferOverfull",
        "iterations of minutes",
        {**BUFFER_OLD, series(catalog.ITERATION_SECONDS): "100x120"},
        silent_at=(155, 300),
    ),
    Case(
        "RaymonBufferOverfull",
        "the controller vanishes",
        {name: values.replace("x120", "x20 stale _x60") for name, values in BUFFER_OLD.items()},
        silent_at=(150, 155, 300),
    ),
    Case(
        "RaymonObjectStorePressure",
        "nearly full",
        _store("1x11 90x60", "0x60"),
        silent_at=(60, 115),
        fires_at=(120,),
        labels={"SessionName": "s"},
    ),
    Case(
        "RaymonObjectStorePressure",
        "spilled",
        _store("1x60", "0x11 6e7x60"),
        silent_at=(60, 115),
        fires_at=(120,),
        labels={"SessionName": "s"},
    ),
    Case("RaymonObjectStorePressure", "half full", _store("10x60", "1e6x60"), silent_at=(120, 200)),
    Case(
        "RaymonObjectStorePressure",
        "the only run has finished, and its processes stay",
        {
            **_store("1x11 90x60", "0x60"),
            series(catalog.RUN_STATE, state="training"): "1x15 0x60",
            series(catalog.RUN_STATE, state="finished"): "0x15 1x60",
        },
        silent_at=(60, 120, 200),
    ),
    Case(
        "RaymonObjectStorePressure", "the node vanishes", _store("1x11 90x4 stale _x60", "0x60"), silent_at=(120, 200)
    ),
    # The worker's heartbeat is missing from 65 s on, and the alert holds a minute.
    Case(
        "RaymonMetricsMissing",
        "one of two workers is not in the metrics",
        {WORKERS_UP: "2x60", BEAT_0: f"{NOW}60", BEAT_1: f"{NOW}12 stale _x60", TRAINING: "1x60"},
        silent_at=(60, 120),
        fires_at=(125,),
        value="1",
    ),
    Case(
        "RaymonMetricsMissing",
        "no worker is in the metrics",
        {WORKERS_UP: "2x60", TRAINING: "1x60"},
        silent_at=(55,),
        fires_at=(60,),
        value="2",
    ),
    Case(
        "RaymonMetricsMissing",
        "the driver still counts its workers after the run has finished",
        {
            WORKERS_UP: "2x60",
            BEAT_0: f"{NOW}13 stale _x60",
            BEAT_1: f"{NOW}13 stale _x60",
            TRAINING: "1x12 0x60",
        },
        silent_at=(60, 130, 200),
    ),
    Case(
        "RaymonMetricsMissing",
        "the driver vanishes too",
        {
            WORKERS_UP: "2x12 stale _x60",
            BEAT_0: f"{NOW}12 stale _x60",
            TRAINING: "1x12 stale _x60",
            NODE: "1x80",
            NODE_2: "1x80",
        },
        silent_at=(125, 200),
    ),
    Case(
        "RaymonMetricsMissing",
        "a cluster of two nodes vanishes while the run trains",
        {
            **_life("0x12 stale _x60", "1x12 stale _x60", "0x12 stale _x60", f"{NOW}12 stale _x60", **FIRST),
            NODE: "1x12 stale _x60",
            NODE_2: "1x12 stale _x60",
        },
        silent_at=(60, 120),
        fires_at=(125, 200),
        value="1",
    ),
    Case(
        "RaymonMetricsMissing",
        "a cluster of two nodes ends after its run has finished",
        {
            **_life("0x13 stale _x60", "1x12 0 stale _x60", "0x12 1 stale _x60", f"{NOW}12 60 stale _x60", **FIRST),
            NODE: "1x13 stale _x60",
            NODE_2: "1x13 stale _x60",
        },
        silent_at=(125, 200),
    ),
    Case(
        "RaymonMetricsMissing",
        "a cluster of one node ends with its run, before the end was scraped",
        {
            **_life("0x12 stale _x60", "1x12 stale _x60", "0x12 stale _x60", f"{NOW}12 stale _x60", **FIRST),
            NODE: "1x12 stale _x60",
        },
        silent_at=(60, 125, 200),
    ),
)


def promtool_document(rules: str, cases: tuple[Case, ...] = CASES) -> dict[str, Any]:
    """Return the document that `promtool test rules` reads, for a file of rules."""
    by_name = {alert.name: alert for alert in ALERTS}
    return {
        "rule_files": [rules],
        "evaluation_interval": f"{STEP_SECONDS}s",
        "tests": [case.unit(by_name[case.alert]) for case in cases],
    }

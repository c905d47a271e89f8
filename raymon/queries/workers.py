"""Queries on workers: who is in trouble among all of them, and one of them in depth."""

from typing import Final

from raymon import catalog
from raymon.queries.query import (
    WORKER,
    WORKERS_ONLY,
    Query,
    age,
    bottom,
    latest,
    of,
    rate,
    share,
    top,
)

_EACH: Final = "run, worker"
_UP: Final = 'state="up"'
_NAME: Final = "{{run}} worker {{worker}}"

# --- all workers: one row each in the table, the worst few in graphs ------------------------------------------------
HEARTBEAT_AGE: Final = Query(
    "Heartbeat",
    "s",
    "Time since the worker last handed its metrics to Ray; more than some seconds is a stopped process.",
    age(catalog.HEARTBEAT, _EACH, WORKERS_ONLY),
    _NAME,
)
PROGRESS_AGE: Final = Query(
    "Last progress",
    "s",
    "Time since the worker last finished a step, an episode or a rollout.",
    age(catalog.PROGRESS, _EACH),
    _NAME,
)
STEPS: Final = Query(
    "Steps/s",
    "cps",
    "Environment steps of the worker per second.",
    rate(catalog.ENV_STEPS, _EACH),
    _NAME,
)
LATENCY_P95: Final = Query(
    "Rollout p95",
    "s",
    "Duration that 95 % of the worker's rollouts of the last minute stayed below.",
    latest(catalog.ROLLOUT_LATENCY, _EACH, 'quantile="0.95"'),
    _NAME,
)
RESTARTS: Final = Query(
    "Restarts",
    "short",
    "How often the driver replaced the worker.",
    f"sum by ({_EACH}) ({of(catalog.WORKER_RESTARTS)})",
    _NAME,
)
WORKER_MEMORY: Final = Query(
    "Memory",
    "bytes",
    "Resident memory of the worker.",
    latest(catalog.RESIDENT_MEMORY, _EACH, WORKERS_ONLY),
    _NAME,
)
WORKER_LAG: Final = Query(
    "Policy lag",
    "short",
    "Updates between the policy the worker samples with and the learner's.",
    f"clamp_min({latest(catalog.LEARNER_VERSION, 'run')} - on (run) group_right ()"
    f" {latest(catalog.POLICY_VERSION, _EACH)}, 0)",
    _NAME,
)
PROCESS_IDS: Final = Query(
    "Process",
    "none",
    "Process id on its node, for py-spy, gdb and the log files.",
    latest(catalog.PROCESS_ID, "run, worker, NodeAddress", WORKERS_ONLY),
    _NAME,
)
SLOWEST: Final = Query(
    "Slowest rollouts",
    "s",
    "The ten workers whose 95th percentile of the rollout duration is largest.",
    top(latest(catalog.ROLLOUT_LATENCY, _EACH, 'quantile="0.95"')),
    _NAME,
)
FEWEST_STEPS: Final = Query(
    "Fewest steps",
    "cps",
    "The ten workers that take the fewest environment steps per second.",
    bottom(rate(catalog.ENV_STEPS, _EACH)),
    _NAME,
)
LONGEST_SILENT: Final = Query(
    "Longest without progress",
    "s",
    "The ten workers that finished nothing for longest; it grows while a worker waits for its next call, too.",
    top(age(catalog.PROGRESS, _EACH)),
    _NAME,
)

# --- one worker -----------------------------------------------------------------------------------------------------
ACTIVITY: Final = Query(
    "Activity",
    "none",
    "What the worker said it was doing: starting, environment, inference, sending or waiting.",
    top(latest(catalog.ACTIVITY, "run, worker, activity", WORKER)),
    "{{activity}}",
)
ONE_HEARTBEAT_AGE: Final = Query(
    "Since its heartbeat",
    "s",
    "Time since the process last handed its metrics to Ray; it grows while the process is stopped.",
    age(catalog.HEARTBEAT, _EACH, WORKER, WORKERS_ONLY),
    "heartbeat {{worker}}",
)
ONE_PROGRESS_AGE: Final = Query(
    "Since its last progress",
    "s",
    "Time since the worker finished a step, an episode or a rollout.",
    age(catalog.PROGRESS, _EACH, WORKER),
    "progress {{worker}}",
)
ONE_STEPS: Final = Query(
    "Its steps per second",
    "cps",
    "Environment steps of this worker per second.",
    top(rate(catalog.ENV_STEPS, _EACH, WORKER)),
    "worker {{worker}}",
)
MEAN_STEPS: Final = Query(
    "Mean of all workers",
    "cps",
    "Environment steps per second of the run over the workers that are up, to compare with.",
    top(f"{rate(catalog.ENV_STEPS, 'run')} / ({latest(catalog.WORKERS, 'run', _UP)} > 0)"),
    "mean of {{run}}",
)
ONE_ROLLOUTS: Final = Query(
    "Rollouts per second",
    "cps",
    "Rollouts the worker finished per second.",
    top(rate(catalog.ROLLOUTS, _EACH, WORKER)),
    "worker {{worker}}",
)
ONE_FAILURES: Final = Query(
    "Failed rollouts per second",
    "short",
    "Rollouts of the worker that raised an exception, by its class.",
    rate(catalog.ROLLOUT_FAILURES, "run, worker, exception", WORKER),
    "{{run}} {{worker}} {{exception}}",
)
ONE_MEAN_ROLLOUT: Final = Query(
    "Mean duration of a rollout",
    "s",
    "Wall time inside rollouts over the number of rollouts; exact, unlike a mean taken from a histogram.",
    top(f"{rate(catalog.ROLLOUT_SECONDS, _EACH, WORKER)} / ({rate(catalog.ROLLOUTS, _EACH, WORKER)} > 0)"),
    "mean {{worker}}",
)
ONE_LATENCY: Final = Query(
    "Rollout duration",
    "s",
    "Quantiles of the duration of the worker's rollouts over the last minute.",
    top(latest(catalog.ROLLOUT_LATENCY, "run, worker, quantile", WORKER)),
    "q{{quantile}} {{worker}}",
)
ONE_PHASES: Final = Query(
    "Where its time goes",
    "percentunit",
    "Share of the worker's time in each phase.",
    share(catalog.WORKER_PHASE, "phase", WORKER),
    "{{phase}}",
)
ONE_EPISODES: Final = Query(
    "Its episodes per second",
    "cps",
    "Episodes the worker finished per second.",
    top(rate(catalog.EPISODES, _EACH, WORKER)),
    "worker {{worker}}",
)
ONE_RETURN: Final = Query(
    "Its mean return",
    "short",
    "Mean undiscounted return of the worker's last 100 episodes.",
    top(latest(catalog.EPISODE_RETURN, _EACH, WORKER)),
    "worker {{worker}}",
)
ONE_VERSION: Final = Query(
    "Its policy version",
    "short",
    "Version of the policy the worker samples with.",
    top(latest(catalog.POLICY_VERSION, _EACH, WORKER)),
    "worker {{worker}}",
)
ONE_MEMORY: Final = Query(
    "Its memory",
    "bytes",
    "Resident memory of the process.",
    top(latest(catalog.RESIDENT_MEMORY, _EACH, WORKER)),
    "worker {{worker}}",
)
ONE_CPU: Final = Query(
    "Its processor time",
    "percentunit",
    "Processor seconds per second of the process; 100 % is one core.",
    top(rate(catalog.CPU_SECONDS, _EACH, WORKER)),
    "worker {{worker}}",
)
ONE_RESTARTS: Final = Query(
    "Its restarts",
    "short",
    "How often the driver replaced the worker in the run, by reason.",
    top(f"sum by (worker, reason) ({of(catalog.WORKER_RESTARTS, WORKER)})"),
    "{{worker}}: {{reason}}",
)
ONE_PROCESS: Final = Query(
    "Its process",
    "none",
    "Process id on its node, for py-spy, gdb and the log files.",
    latest(catalog.PROCESS_ID, "run, worker, NodeAddress", WORKER, WORKERS_ONLY),
    "{{NodeAddress}} pid",
)
STRAGGLING: Final = Query(
    "Slower than the others",
    "none",
    "Seconds of rollout per environment step of each worker over the median of its run: 2 means half as fast.",
    top(
        f"({rate(catalog.ROLLOUT_SECONDS, _EACH)} / ({rate(catalog.ENV_STEPS, _EACH)} > 0))"
        f" / on (run) group_left () quantile by (run) (0.5, {rate(catalog.ROLLOUT_SECONDS, _EACH)}"
        f" / ({rate(catalog.ENV_STEPS, _EACH)} > 0))"
    ),
    _NAME,
)

"""Queries on workers: all of them in a table, the worst few in graphs, and selected ones in depth."""

from typing import Final

from raymon import catalog
from raymon.queries.query import (
    WORKER,
    WORKERS_ONLY,
    Query,
    age,
    coded,
    largest_now,
    latest,
    of,
    of_top_workers,
    rate,
    share,
    smallest_now,
    top,
    with_role,
)

_EACH: Final = "run, worker"
_UP: Final = latest(catalog.WORKERS, "run", 'state="up"')
_NAME: Final = "{{run}} {{worker}}"
_ROLE_AND_NAME: Final = "{{run}} {{role}}{{worker}}"
_OTHER_ROLE: Final = f"unless on ({_EACH}) {latest(catalog.ROLE, _EACH)}"
"""Workers of other roles than `env` count other steps, and are not measured by those that sample environments."""
_ONLY_ROLLOUTS: Final = f"unless on ({_EACH}) " + latest(catalog.ROLE, _EACH, 'role!="rollout"')
"""The calls of workers of other roles than `env` and `rollout` are not rollouts."""
_P95: Final = latest(catalog.ROLLOUT_LATENCY, _EACH, 'quantile="0.95"')
STEP_COST: Final = f"{rate(catalog.ROLLOUT_SECONDS, _EACH)} / ({rate(catalog.ENV_STEPS, _EACH)} > 0) {_OTHER_ROLE}"
_RELATIVE_COST: Final = f"({STEP_COST}) / on (run) group_left () quantile by (run) (0.5, ({STEP_COST}))"
_NONE_YET: Final = f"0 * {latest(catalog.HEARTBEAT, _EACH, WORKERS_ONLY)}"
"""0 for every worker, where a counter has no series before its first event."""
_ONE_P95: Final = latest(catalog.ROLLOUT_LATENCY, _EACH, WORKER, 'quantile="0.95"')
"""The order in which the workers of the graph of rollout durations are chosen."""


def _of_worker(title: str, unit: str, help_text: str, expression: str, legend: str = _NAME) -> Query:
    return Query(title, unit, help_text, expression, legend)


# --- all workers: one row each in the table, the worst few in graphs ------------------------------------------------
RELATIVE_COST: Final = _of_worker(
    "Slowness",
    "none",
    "Rollout time per environment step divided by the median of those of the run's workers that sample environments: 2 "
    "is half as fast as the others.",
    _RELATIVE_COST,
)
PROGRESS_AGE: Final = _of_worker(
    "Last progress",
    "s",
    "Time since the worker last finished a step, an episode or a rollout; exporting and scraping can take 15 s, and "
    "the alert RaymonWorkerStalled compares the rest with its rollouts.",
    age(catalog.PROGRESS, _EACH),
)
HEARTBEAT_AGE: Final = _of_worker(
    "Heartbeat",
    "s",
    "Time since the worker last handed its metrics to Ray; it grows while the process is stopped.",
    age(catalog.HEARTBEAT, _EACH, WORKERS_ONLY),
)
STEPS: Final = _of_worker(
    "Steps/s",
    "short",
    "Environment steps per second of the worker.",
    rate(catalog.ENV_STEPS, _EACH),
)
LATENCY_P95: Final = _of_worker(
    "Rollout p95",
    "s",
    "95th percentile of the duration of the worker's rollouts of the last minute.",
    _P95,
)
FAILURES: Final = _of_worker(
    "Failures/s",
    "short",
    "Rollouts per second of the worker that raised an exception.",
    f"{rate(catalog.ROLLOUT_FAILURES, _EACH)} or {_NONE_YET}",
)
RESTARTS: Final = _of_worker(
    "Restarts",
    "short",
    "Number of times the driver replaced the worker.",
    f"sum by ({_EACH}) ({of(catalog.WORKER_RESTARTS)}) or {_NONE_YET}",
)
WORKER_LAG: Final = _of_worker(
    "Policy lag",
    "short",
    "Updates between the policy that the worker samples with and the learner's.",
    f"clamp_min({latest(catalog.LEARNER_VERSION, 'run')} - on (run) group_right ()"
    f" {latest(catalog.POLICY_VERSION, _EACH)}, 0)",
)
WORKER_MEMORY: Final = _of_worker(
    "Memory",
    "bytes",
    "Resident memory of the worker.",
    latest(catalog.RESIDENT_MEMORY, _EACH, WORKERS_ONLY),
)
PROCESS_IDS: Final = _of_worker(
    "Process",
    "none",
    "Process id on its node, for py-spy, gdb and the log files.",
    latest(catalog.PROCESS_ID, "run, worker, NodeAddress", WORKERS_ONLY),
)
ROLE: Final = _of_worker(
    "Role",
    "none",
    "Role of the worker: `env` samples environments, the others work on language models.",
    f"{latest(catalog.ROLE, 'run, worker, role')} == 1 or on ({_EACH})"
    f' label_replace({_NONE_YET}, "role", "env", "", "")',
)
STRAGGLING: Final = _of_worker(
    "Slower than the others",
    "none",
    "Rollout time per environment step of the ten slowest workers, divided by the median of their run.",
    largest_now(_RELATIVE_COST),
)
SLOWEST: Final = _of_worker(
    "Slowest rollouts",
    "s",
    "The ten workers with the largest 95th percentile of the rollout duration, of the roles env and rollout.",
    largest_now(f"{with_role(_P95)} {_ONLY_ROLLOUTS}"),
    _ROLE_AND_NAME,
)
FEWEST_STEPS: Final = _of_worker(
    "Fewest steps per second",
    "short",
    "The ten workers that take the fewest environment steps per second, of the role env.",
    smallest_now(f"{rate(catalog.ENV_STEPS, _EACH)} {_OTHER_ROLE}"),
)
LONGEST_SILENT: Final = _of_worker(
    "Longest without progress",
    "s",
    "The ten workers with the oldest progress; the age also grows while a worker waits for its next call and in a "
    "rollout that is normally long, and the alert RaymonWorkerStalled fires for a stalled one.",
    largest_now(with_role(age(catalog.PROGRESS, _EACH))),
    _ROLE_AND_NAME,
)

# --- the selected workers -------------------------------------------------------------------------------------------
ACTIVITY: Final = _of_worker(
    "Activity",
    "none",
    f"Activity that the worker last reported: {', '.join(catalog.ACTIVITIES[:-1])} or {catalog.ACTIVITIES[-1]}.",
    top(coded(catalog.ACTIVITY, _EACH, "activity", catalog.ACTIVITIES, WORKER)),
)
ONE_HEARTBEAT_AGE: Final = Query(
    "Since the heartbeat",
    "s",
    "Time since the process last handed its metrics to Ray; it grows while the process is stopped.",
    top(age(catalog.HEARTBEAT, _EACH, WORKER, WORKERS_ONLY), 5),
    "{{run}} {{worker}} heartbeat",
)
ONE_PROGRESS_AGE: Final = Query(
    "Since the last progress",
    "s",
    "Time since the worker finished a step, an episode or a rollout.",
    top(age(catalog.PROGRESS, _EACH, WORKER), 5),
    "{{run}} {{worker}} progress",
)
ONE_HEARTBEAT_NOW: Final = _of_worker(
    "Heartbeat",
    "s",
    "Process, node, age of the heartbeat and restarts of each selected worker.",
    age(catalog.HEARTBEAT, _EACH, WORKER, WORKERS_ONLY),
)
ONE_RESTARTS: Final = _of_worker(
    "Restarts",
    "short",
    "Number of times the driver replaced the worker.",
    f"sum by ({_EACH}) ({of(catalog.WORKER_RESTARTS, WORKER)})"
    f" or 0 * {latest(catalog.HEARTBEAT, _EACH, WORKER, WORKERS_ONLY)}",
)
ONE_PROCESS: Final = Query(
    "Process",
    "none",
    "Process id on its node, for py-spy, gdb and the log files.",
    latest(catalog.PROCESS_ID, "run, worker, NodeAddress", WORKER, WORKERS_ONLY),
    "{{run}} {{worker}} on {{NodeAddress}}",
)
ONE_STEPS: Final = _of_worker(
    "Worker's steps per second",
    "short",
    "Environment steps per second of the worker.",
    top(rate(catalog.ENV_STEPS, _EACH, WORKER), 8),
)
MEAN_STEPS: Final = Query(
    "Mean of all workers",
    "short",
    "Environment steps per second of the run divided by its workers that are up.",
    top(f"{rate(catalog.ENV_STEPS, 'run')} / ({_UP} > 0)", 2),
    "{{run}} mean of all",
)
ONE_ROLLOUTS: Final = _of_worker(
    "Rollouts per second",
    "short",
    "Rollouts per second that the worker finished.",
    top(rate(catalog.ROLLOUTS, _EACH, WORKER), 5),
)
ONE_FAILURES: Final = Query(
    "Failed rollouts per second",
    "short",
    "Rollouts per second of the worker that raised an exception, by its class; those without a step as `no step`.",
    top(
        f"{rate(catalog.ROLLOUT_FAILURES, 'run, worker, exception', WORKER)}"
        f' or label_replace({rate(catalog.EMPTY_ROLLOUTS, _EACH, WORKER)}, "exception", "no step", "", "")',
        5,
    ),
    "{{run}} {{worker}} {{exception}}",
)
ONE_MEAN_ROLLOUT: Final = Query(
    "Mean duration of a rollout",
    "s",
    "Wall time inside rollouts divided by the number of rollouts.",
    of_top_workers(
        f"{rate(catalog.ROLLOUT_SECONDS, _EACH, WORKER)} / ({rate(catalog.ROLLOUTS, _EACH, WORKER)} > 0)", _ONE_P95
    ),
    "{{run}} {{worker}} mean",
)
ONE_LATENCY_P50: Final = Query(
    "Rollout duration",
    "s",
    "Median, 95th percentile and mean duration of the last minute, of the three workers with the largest percentile.",
    of_top_workers(latest(catalog.ROLLOUT_LATENCY, _EACH, WORKER, 'quantile="0.5"'), _ONE_P95),
    "{{run}} {{worker}} p50",
)
ONE_LATENCY_P95: Final = Query(
    "Rollout duration, 95th percentile",
    "s",
    "95th percentile of the duration of the worker's rollouts over the last minute.",
    of_top_workers(_ONE_P95, _ONE_P95),
    "{{run}} {{worker}} p95",
)
ONE_PHASES: Final = Query(
    "Where the worker's time goes",
    "percentunit",
    "Share of each phase in the selected workers' time, all selected runs together; a phase counts when it ends: a "
    "hang is a gap.",
    share(catalog.WORKER_PHASE, "phase", WORKER),
    "{{phase}}",
)
ONE_EPISODES: Final = _of_worker(
    "Worker's episodes per second",
    "short",
    "Episodes per second that the worker finished.",
    top(rate(catalog.EPISODES, _EACH, WORKER)),
)
ONE_RETURN: Final = _of_worker(
    "Worker's mean return",
    "short",
    "Mean undiscounted return of the worker's last 100 episodes.",
    top(latest(catalog.EPISODE_RETURN, _EACH, WORKER)),
)
ONE_VERSION: Final = _of_worker(
    "Worker's policy version",
    "short",
    "Version of the policy that the worker samples with.",
    top(latest(catalog.POLICY_VERSION, _EACH, WORKER)),
)
ONE_MEMORY: Final = _of_worker(
    "Worker's memory",
    "bytes",
    "Resident memory of the process.",
    top(latest(catalog.RESIDENT_MEMORY, _EACH, WORKER, WORKERS_ONLY)),
)
ONE_CPU: Final = _of_worker(
    "Worker's processor time",
    "percentunit",
    "Processor seconds per second of the process; 100 % is one core.",
    top(rate(catalog.CPU_SECONDS, _EACH, WORKER, WORKERS_ONLY)),
)
ONE_CPU_WAIT: Final = _of_worker(
    "Worker's wait for a core",
    "percentunit",
    "Share of the time for which the worker was ready to run and other processes had all the cores.",
    top(rate(catalog.CPU_WAIT_SECONDS, _EACH, WORKER, WORKERS_ONLY)),
    f"{_NAME} waits",
)

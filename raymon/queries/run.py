"""Queries on a run as a whole: is it alive, how fast is it, where does its time go, is it learning?"""

from typing import Final

from raymon import catalog
from raymon.queries import recorded_rules
from raymon.queries.query import (
    RATE_INTERVAL,
    RUN,
    Query,
    age,
    coded,
    each_rate,
    latest,
    of,
    of_top_runs,
    rate,
    share,
    sum_by_role,
    top,
)

STATES: Final = ("finished", "stopped", "failed", "starting", "training")
"""The states of a run by their number in `RUN_STATE`; live ones last, so that a resumed run shows its newer state."""
_UP: Final = "sum(" + latest(catalog.WORKERS, "run", 'state="up"') + ")"
_EXPECTED: Final = "sum(" + latest(catalog.WORKERS, "run", 'state="expected"') + ")"
_FIRING: Final = 'ALERTS{alertstate="firing",alertname=~"Raymon.*",run=~"($run)|"}'
_UNTIL_RECORDED: Final = "30s"
"""A run that began less long ago may have no recorded series: a rate needs two samples and an evaluation."""
LATE_SECONDS: Final = 20
LATE_ITERATIONS: Final = 5
"""An update is late after so many seconds, and after so many times what an iteration of the run takes."""
_UPDATE_AGE: Final = age(catalog.LAST_UPDATE, "run")
_IN_TIME: Final = f"{_UPDATE_AGE} <= {LATE_ITERATIONS} * {latest(catalog.ITERATION_SECONDS, 'run')}"
_LATE: Final = f"{_UPDATE_AGE} > {LATE_SECONDS} unless {_IN_TIME}"
ACTIVITIES_BY_ROLE: Final = sum_by_role(f"max by (run, worker, activity) ({of(catalog.ACTIVITY)} == 1)", "activity")
PHASES_BY_ROLE: Final = sum_by_role(each_rate(catalog.WORKER_PHASE), "phase")
_WORKER_PHASES: Final = f"sum by (role, phase) ({PHASES_BY_ROLE})"


def _in_trouble(state: str, name: str) -> str:
    """Return the workers in a state of trouble, with a name in the label that alerts use for theirs."""
    workers = latest(catalog.WORKER_TROUBLE, "run, worker", f'state="{state}"')
    return f'label_replace({workers} == 1, "alertname", "{name}", "", "")'


def _without_rules() -> str:
    """Return the runs with the counters, but without the series, of the recording rules, named as alerts are."""
    counters = (of(catalog.ENV_STEPS), of(catalog.TOKENS, 'direction="out"'))
    counted = " or ".join(
        f"count by (run) ({counter}) and count by (run) ({counter} offset {_UNTIL_RECORDED})" for counter in counters
    )
    recorded = " or ".join(f"max by (run) ({rule}{{{RUN}}})" for rule in recorded_rules.RATES)
    return f'label_replace(({counted}) unless ({recorded}), "alertname", "rules not loaded", "", "")'


# --- is it alive? ---------------------------------------------------------------------------------------------------
RUN_STATE: Final = Query(
    "State",
    "none",
    "State of each run, as its driver last reported it.",
    coded(catalog.RUN_STATE, "run", "state", STATES),
)
RUN_INFO: Final = Query(
    "Runs",
    "none",
    "Engine, algorithm, sampler and environment of each run, and the time since training began.",
    f"max by (run, engine, algorithm, sampler, environment) ({of(catalog.RUN_INFO)})",
)
RUN_AGE: Final = Query(
    "Running for",
    "s",
    "Time since training began in the current driver process.",
    age(catalog.RUN_START, "run"),
)
PROBLEMS: Final = Query(
    "What is wrong now",
    "none",
    "Alerts of raymon's rules that are firing, workers that are being restarted or were given up, and whether "
    "Prometheus has loaded the rules.",
    f"max by (alertname, run, worker) ({_FIRING}"
    f" or {_in_trouble('restarting', 'worker restarting')} or {_in_trouble('given_up', 'worker given up')}"
    f" or {_without_rules()})",
    legend="",
)
DRIVER_AGE: Final = Query(
    "Driver's heartbeat",
    "s",
    "Time since the driver last handed its metrics to Ray; it grows while the driver is stopped.",
    age(catalog.HEARTBEAT, "run", f'worker="{catalog.DRIVER}"'),
)
UPDATE_AGE: Final = Query(
    "Since the last update",
    "s",
    "Time since the last policy update ended; late after 20 s and five iterations, since exporting and scraping alone "
    "can take 15 s.",
    f'label_replace({_LATE}, "late", ", late", "", "") or on (run) {_UPDATE_AGE}',
    "{{run}}{{late}}",
)
WORKERS_UP: Final = Query(
    "Workers now",
    "short",
    "Workers that the drivers count as up, that they expect, and that are missing, all selected runs together.",
    _UP,
    "up",
)
WORKERS_EXPECTED: Final = Query(
    "Workers expected",
    "short",
    "Workers that the drivers are configured to have, all selected runs together.",
    _EXPECTED,
    "expected",
)
WORKERS_MISSING: Final = Query(
    "Workers missing",
    "short",
    "Workers that are expected and not up, all selected runs together.",
    f"clamp_min({_EXPECTED} - {_UP}, 0)",
    "missing",
)
WORKERS_BY_STATE: Final = Query(
    "Workers by state",
    "short",
    "Workers expected, up, restarting and given up, as drivers count them, and those that report, all selected runs "
    "together.",
    f"sum by (state) (max by (run, state) ({of(catalog.WORKERS)}))",
    "{{state}}",
)
ACTIVITIES: Final = Query(
    "What the workers are doing now",
    "short",
    "Number of workers by role, if not env, and by their last reported activity, all selected runs together.",
    f"sum by (role, activity) ({ACTIVITIES_BY_ROLE})",
    "{{role}}{{activity}}",
)
LOSSES: Final = Query(
    "Workers lost",
    "short",
    "Workers lost in the dashboard's time range by reason, all selected runs together.",
    f"round(sum by (reason) (increase({of(catalog.WORKER_LOSSES)}[$__range])))",
    "{{reason}}",
)
ROLLOUT_FAILURES: Final = Query(
    "Failed rollouts per second",
    "short",
    "Rollouts of all workers that raised an exception, by run and class; those without a step as `no step`.",
    top(
        f"{rate(catalog.ROLLOUT_FAILURES, 'run, exception')}"
        f' or label_replace({rate(catalog.EMPTY_ROLLOUTS, "run")}, "exception", "no step", "", "")'
    ),
    "{{run}} {{exception}}",
)

# --- how fast, and where does the time go? --------------------------------------------------------------------------
STEPS_PER_SECOND: Final = Query(
    "Environment steps per second",
    "short",
    "Steps per second of all workers of a run.",
    top(rate(catalog.ENV_STEPS, "run")),
)
STEPS_PER_SECOND_NOW: Final = Query(
    "Steps per second",
    "short",
    "Environment steps per second of all workers, all selected runs together.",
    f"sum({rate(catalog.ENV_STEPS, 'run')})",
    legend="",
)
UPDATES_PER_SECOND: Final = Query(
    "Updates per second",
    "short",
    "Policy updates (iterations of collecting and learning) per second.",
    top(rate(catalog.UPDATES, "run")),
)
ITERATION_SECONDS: Final = Query(
    "Duration of an iteration",
    "s",
    "Mean wall time of the iterations of the last ten seconds.",
    top(latest(catalog.ITERATION_SECONDS, "run")),
)
DRIVER_PHASES: Final = Query(
    "Where the driver's time goes",
    "percentunit",
    "Share of each phase in the wall time of the iterations, all selected runs together; other is outside every phase.",
    share(catalog.PHASE_SECONDS, "phase"),
    "{{phase}}",
)
WORKER_PHASES: Final = Query(
    "Where the workers' time goes now",
    "percentunit",
    "Share of each phase in the time of the workers of a role, all selected runs together; if waiting is large, they "
    "are not the bottleneck.",
    f"{_WORKER_PHASES} / on (role) group_left () sum by (role) ({PHASES_BY_ROLE})",
    "{{role}}{{phase}}",
)
FLEET_ROLLOUTS: Final = Query(
    "Rollout durations of all workers",
    "s",
    "Number of rollouts by duration, as drivers received them, all selected runs together; two bands mean two kinds "
    "of workers.",
    f"sum by (le) (increase({of(catalog.FLEET_ROLLOUT, suffix='_bucket')}[{RATE_INTERVAL}]))",
    "{{le}}",
)

# --- is it learning? ------------------------------------------------------------------------------------------------
FLEET_RETURN: Final = Query(
    "Mean return",
    "short",
    "Mean undiscounted return of the last 100 episodes of all workers.",
    top(latest(catalog.FLEET_RETURN, "run", 'statistic="mean"')),
)
FLEET_RETURN_RANGE: Final = Query(
    "Return: mean, min, max",
    "short",
    "Mean, smallest and largest undiscounted return of the last 100 episodes of at most three runs.",
    of_top_runs(
        latest(catalog.FLEET_RETURN, "run, statistic"), latest(catalog.FLEET_RETURN, "run", 'statistic="mean"')
    ),
    "{{run}} {{statistic}}",
)
FLEET_LENGTH: Final = Query(
    "Episode length",
    "short",
    "Mean length in environment steps of the last 100 episodes of all workers.",
    top(latest(catalog.FLEET_LENGTH, "run")),
)
EPISODES_PER_SECOND: Final = Query(
    "Episodes per second",
    "short",
    "Episodes per second that all workers of a run finish.",
    top(rate(catalog.EPISODES, "run")),
)
TRAINED_STEPS: Final = Query(
    "Steps trained on",
    "short",
    "Environment steps that the policy was trained on so far, including those before a resume.",
    top(latest(catalog.TRAINED_STEPS, "run")),
)
TRAINED_RATIO: Final = Query(
    "Progress",
    "percentunit",
    "Steps trained on divided by the steps after which the run ends; runs without an end are not shown.",
    f"{latest(catalog.TRAINED_STEPS, 'run')} / ({latest(catalog.TARGET_STEPS, 'run')} > 0)",
)

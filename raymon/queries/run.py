"""Queries on a run as a whole: is it alive, how fast is it, where does its time go, is it learning?"""

from typing import Final

from raymon import catalog
from raymon.queries.query import RATE_INTERVAL, Query, age, latest, of, rate, share, top

_UP: Final = 'state="up"'
_EXPECTED: Final = 'state="expected"'

# --- is it alive? ---------------------------------------------------------------------------------------------------
RUN_STATE: Final = Query(
    "State",
    "none",
    "What each run is doing, as its driver last said: starting, training, finished or failed.",
    f"max by (run, state) ({of(catalog.RUN_STATE)}) == 1",
    "{{run}}: {{state}}",
)
RUN_INFO: Final = Query(
    "Runs",
    "none",
    "What each run is: engine, algorithm, sampler and environment.",
    f"max by (run, engine, algorithm, sampler, environment) ({of(catalog.RUN_INFO)})",
    "{{run}}",
)
RUN_AGE: Final = Query(
    "Running for",
    "s",
    "Time since training began in the driver that is running now.",
    age(catalog.RUN_START, "run"),
    "{{run}}",
)
DRIVER_AGE: Final = Query(
    "Driver's heartbeat",
    "s",
    "Time since the driver last handed its metrics to Ray; it grows while the driver is stopped.",
    age(catalog.HEARTBEAT, "run", f'worker="{catalog.DRIVER}"'),
    "{{run}}",
)
UPDATE_AGE: Final = Query(
    "Since the last update",
    "s",
    "Time since the last policy update ended; compare it with the duration of an iteration.",
    age(catalog.LAST_UPDATE, "run"),
    "{{run}}",
)
WORKERS_UP: Final = Query(
    "Workers up",
    "short",
    "Workers the drivers see up.",
    f"sum({latest(catalog.WORKERS, 'run', _UP)})",
)
WORKERS_EXPECTED: Final = Query(
    "Workers expected",
    "short",
    "Workers the drivers were told to have.",
    f"sum({latest(catalog.WORKERS, 'run', _EXPECTED)})",
)
WORKERS_BY_STATE: Final = Query(
    "Workers by state",
    "short",
    "Workers expected, up, being restarted and given up, as the drivers count them.",
    f"sum by (state) (max by (run, state) ({of(catalog.WORKERS)}))",
    "{{state}}",
)
WORKER_TROUBLE: Final = Query(
    "Workers in trouble",
    "none",
    "Workers that are being restarted or were given up; empty when there are none.",
    f"{latest(catalog.WORKER_TROUBLE, 'run, worker, state')} == 1",
    "{{run}} worker {{worker}}: {{state}}",
)
ACTIVITIES: Final = Query(
    "What the workers are doing now",
    "short",
    "Number of workers by what each said it was doing when it last reported.",
    f"sum by (activity) (max by (run, worker, activity) ({of(catalog.ACTIVITY)}))",
    "{{activity}}",
)
LOSSES: Final = Query(
    "Workers lost",
    "short",
    "Workers lost in the dashboard's time range, by reason.",
    f"sum by (reason) (increase({of(catalog.WORKER_LOSSES)}[$__range]))",
    "{{reason}}",
)

# --- how fast, and where does the time go? --------------------------------------------------------------------------
STEPS_PER_SECOND: Final = Query(
    "Environment steps per second",
    "cps",
    "Steps taken by all workers of a run, per second.",
    top(rate(catalog.ENV_STEPS, "run")),
    "{{run}}",
)
STEPS_PER_SECOND_NOW: Final = Query(
    "Steps per second",
    "cps",
    "Steps taken by all workers of the chosen runs, per second.",
    f"sum(rate({of(catalog.ENV_STEPS)}[{RATE_INTERVAL}]))",
)
UPDATES_PER_SECOND: Final = Query(
    "Updates per second",
    "cps",
    "Policy updates (iterations of collecting and learning) per second.",
    top(rate(catalog.UPDATES, "run")),
    "{{run}}",
)
ITERATION_SECONDS: Final = Query(
    "Duration of an iteration",
    "s",
    "Mean wall time of the iterations of the last ten seconds.",
    top(latest(catalog.ITERATION_SECONDS, "run")),
    "{{run}}",
)
DRIVER_PHASES: Final = Query(
    "Where the driver's time goes",
    "percentunit",
    "Share of the wall time of the drivers' iterations by phase; other is what no phase names.",
    share(catalog.PHASE_SECONDS, "phase"),
    "{{phase}}",
)
WORKER_PHASES: Final = Query(
    "Where the workers' time goes now",
    "percentunit",
    "Share of the workers' time in each phase; much waiting means that they are not the limit.",
    share(catalog.WORKER_PHASE, "phase"),
    "{{phase}}",
)
FLEET_ROLLOUTS: Final = Query(
    "Rollout durations of all workers",
    "s",
    "How many rollouts took how long, as received by the driver; two bands are two kinds of workers.",
    f"sum by (le) (increase({of(catalog.FLEET_ROLLOUT, suffix='_bucket')}[{RATE_INTERVAL}]))",
    "{{le}}",
)

# --- is it learning? ------------------------------------------------------------------------------------------------
FLEET_RETURN: Final = Query(
    "Mean return",
    "short",
    "Mean undiscounted return of the last 100 episodes of all workers.",
    top(latest(catalog.FLEET_RETURN, "run", 'statistic="mean"')),
    "{{run}}",
)
FLEET_RETURN_RANGE: Final = Query(
    "Return: mean, least, largest",
    "short",
    "Mean, least and largest undiscounted return of the last 100 episodes, over the chosen runs.",
    f"avg by (statistic) (max by (run, statistic) ({of(catalog.FLEET_RETURN)}))",
    "{{statistic}}",
)
FLEET_LENGTH: Final = Query(
    "Episode length",
    "short",
    "Mean length of the last 100 episodes of all workers, in environment steps.",
    top(latest(catalog.FLEET_LENGTH, "run")),
    "{{run}}",
)
EPISODES_PER_SECOND: Final = Query(
    "Episodes per second",
    "cps",
    "Episodes finished by all workers of a run, per second.",
    top(rate(catalog.EPISODES, "run")),
    "{{run}}",
)
TRAINED_STEPS: Final = Query(
    "Steps trained on",
    "short",
    "Environment steps the policy was trained on so far, those before a resume included.",
    top(latest(catalog.TRAINED_STEPS, "run")),
    "{{run}}",
)
TRAINED_RATIO: Final = Query(
    "Progress",
    "percentunit",
    "Steps trained on over the steps after which the run ends; runs without an end are not shown.",
    f"{latest(catalog.TRAINED_STEPS, 'run')} / ({latest(catalog.TARGET_STEPS, 'run')} > 0)",
    "{{run}}",
)

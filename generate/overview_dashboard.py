"""The dashboard to open first: is it alive, what is wrong, is it learning, where does the time go, who is slow?

The first screen of 1600 x 1000 pixels shows the first 19 units of height.
"""

from typing import Final

from generate.colours import AGE_STEPS, GREEN, NEUTRAL, RED, RUN_STATES, SEVERITIES, YELLOW, Steps
from generate.dashboard import Dashboard, Row, choice, link_to, of_runs
from generate.panel import Panel
from generate.table import Table
from raymon import catalog
from raymon.health import THRESHOLDS
from raymon.queries import cluster, flow, run, verdicts, workers
from raymon.queries.query import RUN

TO_WORKER: Final = link_to("raymon-worker", "Details of this worker", "run", "worker")
TO_LEARNER: Final = link_to("raymon-learner", "Learner of this run", "run")
SESSIONS: Final = choice(
    "session", "Ray session", f"label_values({catalog.HEARTBEAT.name}{{{RUN}}}, SessionName)", hide=2, filtered=True
)

_NO_EXPORT: Final = "no verdict: start raymon export"
_ANY_IS_BAD: Final[Steps] = ((None, NEUTRAL), (0.5, RED))
_SLOW: Final[Steps] = ((None, GREEN), (0.75 * THRESHOLDS.slow_factor, YELLOW), (THRESHOLDS.slow_factor, RED))
_STORE: Final[Steps] = (
    (None, GREEN),
    (THRESHOLDS.store_used_ratio - 0.15, YELLOW),
    (THRESHOLDS.store_used_ratio, RED),
)

FIRST: Final = Row(
    "At a glance",
    (
        Panel("stat", (run.RUN_STATE,), width=5, height=3, states=RUN_STATES, empty="no run reports"),
        Panel(
            "stat",
            (run.WORKERS_UP, run.WORKERS_EXPECTED, run.WORKERS_MISSING),
            width=6,
            height=3,
            series_steps={"missing": _ANY_IS_BAD},
        ),
        Panel("stat", (run.UPDATE_AGE,), width=5, height=3, series_steps={"/, late$/": AGE_STEPS}),
        Panel("stat", (run.STEPS_PER_SECOND_NOW,), width=4, height=3),
        Panel("bargauge", (run.TRAINED_RATIO,), width=4, height=3, maximum=1, empty="no end set"),
        Panel("state-timeline", (verdicts.SEVERITY,), width=24, height=3, states=SEVERITIES, zero=_NO_EXPORT),
        Panel("timeseries", (run.FLEET_RETURN,), height=7, free_axis=True),
        Panel("timeseries", (run.DRIVER_PHASES,), height=7, stacked=True, maximum=1),
        Table(
            "table",
            (run.PROBLEMS,),
            height=7,
            keys=("alertname", "run", "worker"),
            renamed={"alertname": "problem"},
            hidden=(run.PROBLEMS.title,),
            column_links={"worker": TO_WORKER},
            empty="no alert is firing",
        ),
        Panel("bargauge", (workers.STRAGGLING,), height=5, steps=_SLOW),
        Table(
            "table",
            (run.RUN_INFO, run.RUN_AGE),
            width=16,
            height=5,
            keys=("run", "engine", "algorithm", "sampler", "environment"),
            order=("run", run.RUN_AGE.title, "engine", "algorithm", "sampler", "environment"),
            hidden=(run.RUN_INFO.title,),
            widths={"run": 200, run.RUN_AGE.title: 110, "engine": 90, "algorithm": 110, "sampler": 100},
            column_links={"run": TO_LEARNER},
        ),
    ),
)
ALIVE: Final = Row(
    "Is it alive?",
    (
        Panel("timeseries", (run.WORKERS_BY_STATE, flow.WORKERS_REPORTING), names={"given_up": "given up"}),
        Panel("timeseries", (run.DRIVER_AGE,)),
        Panel("bargauge", (run.ACTIVITIES,)),
        Panel("bargauge", (run.LOSSES,), steps=_ANY_IS_BAD, decimals=0, empty="none lost"),
        Panel("timeseries", (run.ROLLOUT_FAILURES,), width=16, legend="right", empty="no rollout failed"),
        Table(
            "table",
            (verdicts.FINDINGS,),
            width=12,
            keys=("run", "code", "severity"),
            hidden=(verdicts.FINDINGS.title,),
            empty=_NO_EXPORT,
        ),
        Panel("timeseries", (verdicts.WORKER_STATES,), width=12, empty=_NO_EXPORT),
    ),
)
LEARNING: Final = Row(
    "Is it learning?",
    (
        Panel("timeseries", (run.FLEET_LENGTH,), width=12),
        Panel("timeseries", (run.TRAINED_STEPS,), width=12, free_axis=True),
    ),
)
TIME: Final = Row(
    "Where does the time go?",
    (
        Panel("timeseries", (run.STEPS_PER_SECOND,)),
        Panel("timeseries", (run.ITERATION_SECONDS,)),
        Panel("bargauge", (run.WORKER_PHASES,), maximum=1),
    ),
)
WHICH: Final = Row(
    "Which worker?",
    (
        Table(
            "table",
            (
                workers.RELATIVE_COST,
                workers.PROGRESS_AGE,
                workers.HEARTBEAT_AGE,
                workers.STEPS,
                workers.LATENCY_P95,
                workers.FAILURES,
                workers.RESTARTS,
                workers.WORKER_LAG,
                workers.WORKER_MEMORY,
                workers.ROLE,
            ),
            width=24,
            height=10,
            title="Workers",
            keys=("run", "worker", "role"),
            hidden=(workers.ROLE.title,),
            column_links={"worker": TO_WORKER},
            column_steps={
                workers.RELATIVE_COST.title: _SLOW,
                workers.HEARTBEAT_AGE.title: AGE_STEPS,
                workers.FAILURES.title: ((None, NEUTRAL), (0.001, RED)),
            },
            sort=workers.RELATIVE_COST.title,
        ),
        Panel("bargauge", (workers.SLOWEST,)),
        Panel("bargauge", (workers.FEWEST_STEPS,), empty="no worker of the role env"),
        Panel("bargauge", (workers.LONGEST_SILENT,)),
        Panel("heatmap", (run.FLEET_ROLLOUTS,), width=24, height=13),
    ),
)
WAITING: Final = Row(
    "What does it wait for?",
    (
        Panel("timeseries", (flow.FRAGMENTS,)),
        Panel("timeseries", (flow.DROPPED,)),
        Panel("timeseries", (flow.POLICY_LAG,)),
        Panel("timeseries", (flow.PUT_BYTES,)),
        Panel("timeseries", (flow.REFS_HELD_BYTES,)),
        Panel("timeseries", (flow.REFS_AGE,), empty="no reference is held"),
        Panel("timeseries", (flow.ACTOR_CALLS,)),
        Panel("timeseries", (flow.INFERENCE_BATCH,), empty="only with --sampler step"),
        Panel("timeseries", (flow.DROPPED_RATIO,), maximum=1),
    ),
)
RESOURCES: Final = Row(
    "What does it use?",
    (
        Panel("bargauge", (flow.MEMORY,)),
        Panel("bargauge", (flow.CPU,)),
        Panel("gauge", (cluster.STORE_USED_RATIO,), maximum=1, steps=_STORE),
        Panel("stat", (flow.RECORDING_COST,)),
        Panel("stat", (flow.RECORDING_DROPPED,), steps=_ANY_IS_BAD, decimals=0),
        Panel("stat", (flow.REPORTING, flow.TASK_PROCESSES)),
    ),
    collapsed=True,
)

OVERVIEW: Final = Dashboard(
    "raymon-overview",
    "raymon / Overview",
    "Reinforcement learning on Ray: is it alive, what is wrong, is it learning, where does the time go, who is slow?",
    (FIRST, ALIVE, LEARNING, TIME, WHICH, WAITING, RESOURCES),
    of_runs(SESSIONS),
)

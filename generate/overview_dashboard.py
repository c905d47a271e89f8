"""The dashboard to open first: alive? learning? where does the time go? which worker? what does it wait for?"""

from typing import Final

from generate.dashboard import Dashboard, Row, choice, link_to, of_runs
from generate.panel import GREEN, RED, YELLOW, Panel
from generate.table import Table
from raymon import catalog
from raymon.health import THRESHOLDS
from raymon.queries import cluster, flow, run, workers
from raymon.queries.query import RUN

TO_WORKER: Final = link_to("raymon-worker", "This worker in depth", "run", "worker")
TO_LEARNER: Final = link_to("raymon-learner", "The learner of this run", "run")
SESSIONS: Final = choice(
    "session", "Ray session", f"label_values({catalog.HEARTBEAT.name}{{{RUN}}}, SessionName)", hide=2, filtered=True
)

_UPDATE_STEPS = ((None, GREEN), (THRESHOLDS.no_update_seconds / 2, YELLOW), (THRESHOLDS.no_update_seconds, RED))
_STORE_STEPS = ((None, GREEN), (THRESHOLDS.store_used_ratio - 0.15, YELLOW), (THRESHOLDS.store_used_ratio, RED))
_BEAT_STEPS = ((None, GREEN), (THRESHOLDS.heartbeat_stalled_seconds, RED))

ALIVE: Final = Row(
    "Is it alive?",
    (
        Panel("stat", (run.RUN_STATE,), width=6, height=4, text="name"),
        Panel("stat", (run.WORKERS_UP,), width=3, height=4),
        Panel("stat", (run.WORKERS_EXPECTED,), width=3, height=4),
        Panel("stat", (flow.WORKERS_REPORTING,), width=3, height=4),
        Panel("stat", (run.UPDATE_AGE,), width=3, height=4, steps=_UPDATE_STEPS),
        Panel("stat", (run.STEPS_PER_SECOND_NOW,), width=3, height=4),
        Panel("gauge", (run.TRAINED_RATIO,), width=3, height=4, maximum=1, empty="no end set"),
        Panel("bargauge", (run.ACTIVITIES,), width=12),
        Panel("timeseries", (run.WORKERS_BY_STATE,), width=6),
        Panel("timeseries", (run.DRIVER_AGE,), width=6),
        Table(
            "table",
            (run.RUN_INFO, run.RUN_AGE),
            width=12,
            height=6,
            title="Runs",
            keys=("run", "engine", "algorithm", "sampler", "environment"),
            hidden=("Value #A",),
            column_links={"run": TO_LEARNER},
        ),
        Panel("bargauge", (run.LOSSES,), width=6, height=6),
        Panel("stat", (run.WORKER_TROUBLE,), width=6, height=6, text="value_and_name", empty="none"),
    ),
)
LEARNING: Final = Row(
    "Is it learning?",
    (
        Panel("timeseries", (run.FLEET_RETURN,), width=8),
        Panel("timeseries", (run.FLEET_LENGTH,), width=8),
        Panel("timeseries", (run.TRAINED_STEPS,), width=8),
    ),
)
TIME: Final = Row(
    "Where does the time go?",
    (
        Panel("timeseries", (run.STEPS_PER_SECOND,), width=12),
        Panel("timeseries", (run.DRIVER_PHASES,), width=12, stacked=True, maximum=1),
        Panel("timeseries", (run.ITERATION_SECONDS,), width=12),
        Panel("bargauge", (run.WORKER_PHASES,), width=12, maximum=1),
    ),
)
WHICH: Final = Row(
    "Which worker?",
    (
        Table(
            "table",
            (
                workers.PROGRESS_AGE,
                workers.HEARTBEAT_AGE,
                workers.STEPS,
                workers.LATENCY_P95,
                workers.RESTARTS,
                workers.WORKER_LAG,
                workers.WORKER_MEMORY,
            ),
            width=24,
            height=10,
            title="Workers",
            column_links={"worker": TO_WORKER},
            column_steps={workers.HEARTBEAT_AGE.title: _BEAT_STEPS},
            sort=workers.PROGRESS_AGE.title,
        ),
        Panel("bargauge", (workers.STRAGGLING,), width=6),
        Panel("bargauge", (workers.SLOWEST,), width=6),
        Panel("bargauge", (workers.FEWEST_STEPS,), width=6),
        Panel("bargauge", (workers.LONGEST_SILENT,), width=6),
        Panel("heatmap", (run.FLEET_ROLLOUTS,), width=24),
    ),
)
WAITING: Final = Row(
    "What does it wait for?",
    (
        Panel("timeseries", (flow.FRAGMENTS,), width=8),
        Panel("timeseries", (flow.DROPPED,), width=8),
        Panel("timeseries", (flow.POLICY_LAG,), width=8),
        Panel("timeseries", (flow.PUT_BYTES,), width=8),
        Panel("timeseries", (flow.REFS_HELD_BYTES,), width=8),
        Panel("timeseries", (flow.REFS_AGE,), width=8),
        Panel("timeseries", (flow.ACTOR_CALLS,), width=8),
        Panel("timeseries", (flow.INFERENCE_BATCH,), width=8, empty="only with --sampler step"),
        Panel("stat", (flow.DROPPED_RATIO,), width=8, steps=((None, GREEN), (THRESHOLDS.dropped_ratio, RED))),
    ),
)
RESOURCES: Final = Row(
    "What does it use?",
    (
        Panel("bargauge", (flow.MEMORY,), width=8),
        Panel("bargauge", (flow.CPU,), width=8),
        Panel("gauge", (cluster.STORE_USED_RATIO,), width=8, maximum=1, steps=_STORE_STEPS),
        Panel("stat", (flow.RECORDING_COST,), width=8),
        Panel("stat", (flow.RECORDING_DROPPED,), width=8),
        Panel("stat", (flow.REPORTING,), width=8),
    ),
    collapsed=True,
)

OVERVIEW: Final = Dashboard(
    "raymon-overview",
    "raymon / Overview",
    "Reinforcement learning on Ray: is it alive, is it learning, where does the time go, which worker is in trouble?",
    (ALIVE, LEARNING, TIME, WHICH, WAITING, RESOURCES),
    of_runs(SESSIONS),
)

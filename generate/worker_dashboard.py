"""The dashboard on one worker, or a few, in detail; linked from the overview's table of workers."""

from typing import Final

from generate.colours import ACTIVITIES, AGE_STEPS
from generate.dashboard import WORKERS, Dashboard, Row, of_runs
from generate.panel import Panel
from generate.table import Table
from raymon.queries import workers

ALIVE: Final = Row(
    "Is it alive?",
    (
        Table(
            "table",
            (workers.ONE_HEARTBEAT_NOW, workers.ONE_RESTARTS, workers.ONE_PROCESS),
            width=12,
            title="Processes",
            keys=("run", "worker", "NodeAddress"),
            renamed={"NodeAddress": "node"},
            column_steps={workers.ONE_HEARTBEAT_NOW.title: AGE_STEPS},
            sort=workers.ONE_HEARTBEAT_NOW.title,
        ),
        Panel("state-timeline", (workers.ACTIVITY,), width=12, states=ACTIVITIES),
        Panel(
            "timeseries",
            (workers.ONE_HEARTBEAT_AGE, workers.ONE_PROGRESS_AGE),
            width=24,
            title="Since the last heartbeat and the last progress",
            legend="right",
        ),
    ),
)
FAST: Final = Row(
    "Is it as fast as the others?",
    (
        Panel("timeseries", (workers.ONE_STEPS, workers.MEAN_STEPS), width=12),
        Panel("timeseries", (workers.ONE_ROLLOUTS, workers.ONE_FAILURES), width=12),
        Panel(
            "timeseries",
            (workers.ONE_LATENCY_P50, workers.ONE_LATENCY_P95, workers.ONE_MEAN_ROLLOUT),
            width=12,
            legend="right",
        ),
        Panel("timeseries", (workers.ONE_PHASES,), width=12, stacked=True, maximum=1),
    ),
)
SAMPLES: Final = Row(
    "What does it sample?",
    (
        Panel("timeseries", (workers.ONE_RETURN,), free_axis=True),
        Panel("timeseries", (workers.ONE_EPISODES,)),
        Panel("timeseries", (workers.ONE_VERSION,), free_axis=True),
    ),
)
USES: Final = Row(
    "What does it use?",
    (
        Panel("timeseries", (workers.ONE_MEMORY,), width=12),
        Panel("timeseries", (workers.ONE_CPU, workers.ONE_CPU_WAIT), width=12),
    ),
)

ONE_WORKER: Final = Dashboard(
    "raymon-worker",
    "raymon / Worker",
    "One worker in detail: whether it is alive, its speed compared with the others, where its time goes, what it uses.",
    (ALIVE, FAST, SAMPLES, USES),
    of_runs(WORKERS),
)

"""The dashboard on one worker, or a few, in depth; reached from a row of the overview's table."""

from typing import Final

from generate.dashboard import WORKERS, Dashboard, Row, of_runs
from generate.panel import GREEN, RED, Panel
from raymon.health import THRESHOLDS
from raymon.queries import workers

_BEAT_STEPS = ((None, GREEN), (THRESHOLDS.heartbeat_stalled_seconds, RED))

ALIVE: Final = Row(
    "Is it alive?",
    (
        Panel("stat", (workers.ONE_HEARTBEAT_AGE,), width=4, height=5, steps=_BEAT_STEPS),
        Panel("stat", (workers.ONE_PROCESS,), width=4, height=5, text="value_and_name"),
        Panel("bargauge", (workers.ONE_RESTARTS,), width=4, height=5, empty="never restarted"),
        Panel("state-timeline", (workers.ACTIVITY,), width=12, height=5),
        Panel(
            "timeseries",
            (workers.ONE_HEARTBEAT_AGE, workers.ONE_PROGRESS_AGE),
            width=24,
            title="Since its last heartbeat, since its last progress",
        ),
    ),
)
FAST: Final = Row(
    "Is it as fast as the others?",
    (
        Panel("timeseries", (workers.ONE_STEPS, workers.MEAN_STEPS), width=8),
        Panel("timeseries", (workers.ONE_LATENCY, workers.ONE_MEAN_ROLLOUT), width=8),
        Panel("timeseries", (workers.ONE_ROLLOUTS, workers.ONE_FAILURES), width=8),
        Panel("timeseries", (workers.ONE_PHASES,), width=24, stacked=True, maximum=1),
    ),
)
SAMPLES: Final = Row(
    "What does it sample?",
    (
        Panel("timeseries", (workers.ONE_RETURN,), width=8),
        Panel("timeseries", (workers.ONE_EPISODES,), width=8),
        Panel("timeseries", (workers.ONE_VERSION,), width=8),
    ),
)
USES: Final = Row(
    "What does it use?",
    (
        Panel("timeseries", (workers.ONE_MEMORY,), width=12),
        Panel("timeseries", (workers.ONE_CPU,), width=12),
    ),
)

ONE_WORKER: Final = Dashboard(
    "raymon-worker",
    "raymon / Worker",
    "One worker in depth: signs of life, speed beside the others, where its time goes, what it uses.",
    (ALIVE, FAST, SAMPLES, USES),
    of_runs(WORKERS),
)

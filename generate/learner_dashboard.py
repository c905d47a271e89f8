"""The dashboard on the learner: returns, losses, size of the updates, its samples, its GPU."""

from typing import Final

from generate.colours import GREEN, RED
from generate.dashboard import Dashboard, Row, of_runs
from generate.panel import Panel
from raymon.queries import flow, learning, run

RETURNS: Final = Row(
    "Is it learning?",
    (
        Panel("timeseries", (run.FLEET_RETURN_RANGE,), free_axis=True),
        Panel("timeseries", (learning.LOSS,), free_axis=True),
        Panel("timeseries", (learning.EXPLAINED_VARIANCE,), free_axis=True),
    ),
)
STEPS: Final = Row(
    "Are the updates of the right size?",
    (
        Panel("timeseries", (learning.KL,), width=6, free_axis=True),
        Panel("timeseries", (learning.ENTROPY,), width=6, free_axis=True),
        Panel("timeseries", (learning.CLIP_RATIO,), width=6),
        Panel("timeseries", (learning.GRADIENT_NORM,), width=6),
        Panel("stat", (learning.NONFINITE,), width=4, height=6, steps=((None, GREEN), (0.5, RED)), decimals=0),
        Panel("timeseries", (learning.LEARNING_RATE,), width=10, height=6, decimals=2),
        Panel("timeseries", (learning.VERSION,), width=10, height=6, free_axis=True),
    ),
)
SPEED: Final = Row(
    "How fast is it?",
    (
        Panel("timeseries", (run.UPDATES_PER_SECOND,)),
        Panel("timeseries", (learning.SAMPLES_PER_SECOND,)),
        Panel("timeseries", (run.EPISODES_PER_SECOND,)),
        Panel("timeseries", (run.DRIVER_PHASES,), width=12, stacked=True, maximum=1),
        Panel("timeseries", (run.ITERATION_SECONDS,), width=12),
    ),
)
DATA: Final = Row(
    "How fresh are its samples?",
    (
        Panel("timeseries", (flow.POLICY_LAG,)),
        Panel("timeseries", (flow.FRAGMENT_STEPS,)),
        Panel("timeseries", (flow.DROPPED,)),
    ),
)
GPU: Final = Row(
    "What does its GPU do?",
    (
        Panel("timeseries", (learning.GPU,), width=12, maximum=1, empty="the learner is not on CUDA"),
        Panel("timeseries", (learning.GPU_MEMORY,), width=12, empty="the learner is not on CUDA"),
    ),
    collapsed=True,
)

LEARNER: Final = Dashboard(
    "raymon-learner",
    "raymon / Learner",
    "The learner: losses, divergence, gradients, phases, policy lag, and the samples it used and dropped.",
    (RETURNS, STEPS, SPEED, DATA, GPU),
    of_runs(),
)

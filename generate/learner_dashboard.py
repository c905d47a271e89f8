"""The dashboard on the learner: returns, losses, how far updates go, the ledger of samples, its GPU."""

from typing import Final

from generate.dashboard import Dashboard, Row, of_runs
from generate.panel import GREEN, RED, Panel
from raymon.queries import flow, learner, run

RETURNS: Final = Row(
    "Is it learning?",
    (
        Panel("timeseries", (run.FLEET_RETURN_RANGE,), width=12),
        Panel("timeseries", (learner.LOSS,), width=6),
        Panel("timeseries", (learner.EXPLAINED_VARIANCE,), width=6),
    ),
)
STEPS: Final = Row(
    "Are its steps sound?",
    (
        Panel("timeseries", (learner.KL,), width=6),
        Panel("timeseries", (learner.ENTROPY,), width=6),
        Panel("timeseries", (learner.CLIP_RATIO,), width=6),
        Panel("timeseries", (learner.GRADIENT_NORM,), width=6),
        Panel("stat", (learner.NONFINITE,), width=4, height=6, steps=((None, GREEN), (0.5, RED))),
        Panel("timeseries", (learner.LEARNING_RATE,), width=10, height=6),
        Panel("timeseries", (learner.VERSION,), width=10, height=6),
    ),
)
SPEED: Final = Row(
    "How fast is it?",
    (
        Panel("timeseries", (run.UPDATES_PER_SECOND,), width=8),
        Panel("timeseries", (learner.SAMPLES_PER_SECOND,), width=8),
        Panel("timeseries", (run.EPISODES_PER_SECOND,), width=8),
        Panel("timeseries", (run.DRIVER_PHASES,), width=12, stacked=True, maximum=1),
        Panel("timeseries", (run.ITERATION_SECONDS,), width=12),
    ),
)
DATA: Final = Row(
    "How fresh are its samples?",
    (
        Panel("timeseries", (flow.POLICY_LAG,), width=8),
        Panel("timeseries", (flow.FRAGMENT_STEPS,), width=8),
        Panel("timeseries", (flow.DROPPED,), width=8),
    ),
)
GPU: Final = Row(
    "What does its GPU do?",
    (
        Panel("timeseries", (learner.GPU,), width=12, maximum=1, empty="the learner is not on CUDA"),
        Panel("timeseries", (learner.GPU_MEMORY,), width=12, empty="the learner is not on CUDA"),
    ),
    collapsed=True,
)

LEARNER: Final = Dashboard(
    "raymon-learner",
    "raymon / Learner",
    "The learner: losses, divergence, gradients, phases, policy lag, and what became of the samples.",
    (RETURNS, STEPS, SPEED, DATA, GPU),
    of_runs(),
)

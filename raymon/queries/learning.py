"""Queries on the learner: losses, size of the updates, and the learner's GPU."""

from typing import Final

from raymon import catalog
from raymon.queries.query import Query, latest, of, of_top_runs, rate, top

LOSS: Final = Query(
    "Loss by term",
    "short",
    "Terms of the loss of the last update, of at most two runs; the optimizer minimizes the total.",
    of_top_runs(latest(catalog.LOSS, "run, term"), latest(catalog.LOSS, "run", 'term="total"'), number=2),
    "{{run}} {{term}}",
)
KL: Final = Query(
    "KL divergence",
    "short",
    "Approximate divergence, in nats, of the policy after the last update from the one before; if it grows, the steps "
    "are too large.",
    top(latest(catalog.KL, "run")),
)
ENTROPY: Final = Query(
    "Policy entropy",
    "short",
    "Mean entropy of the policy in nats; near zero early in training means that it stopped exploring.",
    top(latest(catalog.ENTROPY, "run")),
)
CLIP_RATIO: Final = Query(
    "Clipped samples",
    "percentunit",
    "Share of samples whose probability ratio was clipped in the last update.",
    top(latest(catalog.CLIP_RATIO, "run")),
)
EXPLAINED_VARIANCE: Final = Query(
    "Explained variance",
    "percentunit",
    "Share of the variance of the returns that the value function explains; negative is worse than a constant.",
    top(latest(catalog.EXPLAINED_VARIANCE, "run")),
)
GRADIENT_NORM: Final = Query(
    "Gradient norm",
    "short",
    "Norm before clipping, mean over the last update.",
    top(latest(catalog.GRADIENT_NORM, "run")),
)
LEARNING_RATE: Final = Query(
    "Learning rate",
    "sci",
    "Step size of the optimizer.",
    top(latest(catalog.LEARNING_RATE, "run")),
)
NONFINITE: Final = Query(
    "Non-finite updates",
    "short",
    "Updates in the time range, all selected runs together, whose loss or gradient was not finite; `raymon train` "
    "skips them.",
    f"round(sum(increase({of(catalog.NONFINITE_UPDATES)}[$__range])))",
    legend="",
)
VERSION: Final = Query(
    "Policy version",
    "short",
    "Number of updates of the policy.",
    top(latest(catalog.LEARNER_VERSION, "run")),
)
SAMPLES_PER_SECOND: Final = Query(
    "Steps trained on per second",
    "short",
    "Environment steps per second in fragments that were trained on.",
    top(rate(catalog.FRAGMENT_STEPS, "run", 'outcome="trained"')),
)
GPU: Final = Query(
    "GPU of the learner",
    "percentunit",
    "Utilization of the learner's GPU; only if the learner runs on CUDA.",
    top(latest(catalog.GPU_UTILIZATION, "run")),
)
GPU_MEMORY: Final = Query(
    "GPU memory of the learner",
    "bytes",
    "GPU memory allocated by the learner; only if the learner runs on CUDA.",
    top(latest(catalog.GPU_MEMORY, "run")),
)

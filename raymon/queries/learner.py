"""Queries on the learner: losses, how far an update moves the policy, what the learner's GPU does."""

from typing import Final

from raymon import catalog
from raymon.queries.query import Query, latest, of, rate, top

LOSS: Final = Query(
    "Loss by term",
    "short",
    "Terms of the loss of the last update, mean over the chosen runs; the total is what the optimiser sees.",
    f"avg by (term) (max by (run, term) ({of(catalog.LOSS)}))",
    "{{term}}",
)
KL: Final = Query(
    "KL divergence",
    "short",
    "Approximate divergence of the last update's policy from the one before, in nats; growing means too large steps.",
    top(latest(catalog.KL, "run")),
    "{{run}}",
)
ENTROPY: Final = Query(
    "Entropy of the policy",
    "short",
    "Mean entropy of the policy, in nats; near zero early in training means that it stopped exploring.",
    top(latest(catalog.ENTROPY, "run")),
    "{{run}}",
)
CLIP_RATIO: Final = Query(
    "Clipped samples",
    "percentunit",
    "Share of samples whose probability ratio was clipped in the last update.",
    top(latest(catalog.CLIP_RATIO, "run")),
    "{{run}}",
)
EXPLAINED_VARIANCE: Final = Query(
    "Explained variance",
    "percentunit",
    "How much of the returns the value function explains: 1 all, 0 nothing, negative worse than a constant.",
    top(latest(catalog.EXPLAINED_VARIANCE, "run")),
    "{{run}}",
)
GRADIENT_NORM: Final = Query(
    "Norm of the gradient",
    "short",
    "Norm before clipping, mean over the last update.",
    top(latest(catalog.GRADIENT_NORM, "run")),
    "{{run}}",
)
LEARNING_RATE: Final = Query(
    "Learning rate",
    "sci",
    "Step size of the optimiser.",
    top(latest(catalog.LEARNING_RATE, "run")),
    "{{run}}",
)
NONFINITE: Final = Query(
    "Updates that were not finite",
    "short",
    "Updates skipped in the dashboard's time range since their loss or gradient was not finite.",
    f"sum(increase({of(catalog.NONFINITE_UPDATES)}[$__range]))",
)
VERSION: Final = Query(
    "Policy version",
    "short",
    "Updates made to the policy.",
    top(latest(catalog.LEARNER_VERSION, "run")),
    "{{run}}",
)
SAMPLES_PER_SECOND: Final = Query(
    "Steps trained on per second",
    "cps",
    "Environment steps in fragments that were trained on, per second.",
    top(rate(catalog.FRAGMENT_STEPS, "run", 'outcome="trained"')),
    "{{run}}",
)
GPU: Final = Query(
    "The learner's GPU",
    "percentunit",
    "Utilisation of the learner's GPU; only with the learner on CUDA.",
    top(latest(catalog.GPU_UTILIZATION, "run")),
    "{{run}}",
)
GPU_MEMORY: Final = Query(
    "The learner's GPU memory",
    "bytes",
    "GPU memory allocated by the learner; only with the learner on CUDA.",
    top(latest(catalog.GPU_MEMORY, "run")),
    "{{run}}",
)

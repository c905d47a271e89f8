"""Queries on the training of language models: tokens, responses, groups, the buffer, synchronizations of weights."""

from typing import Final

from raymon import catalog
from raymon.queries.query import Query, age, latest, of_top_runs, rate, top

_NO_SIGNAL: Final = rate(catalog.GROUPS, "run", 'signal="no"')
_TOKENS_OUT: Final = rate(catalog.TOKENS, "run", 'direction="out"')


def _of_few_runs(expression: str) -> str:
    return of_top_runs(expression, _TOKENS_OUT, number=2)


TOKENS: Final = Query(
    "Tokens per second",
    "short",
    "Tokens of prompts (in) and of responses (out), of at most two runs.",
    _of_few_runs(rate(catalog.TOKENS, "run, direction")),
    "{{run}} {{direction}}",
)
RESPONSE_LENGTH: Final = Query(
    "Response length",
    "short",
    "Quantiles, in tokens, of the responses of the last minute; the longest among the processes that generate.",
    _of_few_runs(latest(catalog.RESPONSE_LENGTH, "run, quantile")),
    "{{run}} q{{quantile}}",
)
RESPONSES: Final = Query(
    "Responses per second",
    "short",
    "Responses that were complete, truncated at the length limit, or aborted, of at most two runs.",
    _of_few_runs(rate(catalog.RESPONSES, "run, end")),
    "{{run}} {{end}}",
)
NO_SIGNAL: Final = Query(
    "Groups without a learning signal",
    "percentunit",
    "Share of the groups of responses whose rewards are all equal.",
    top(f"{_NO_SIGNAL} / ({rate(catalog.GROUPS, 'run')} > 0)"),
    "{{run}}",
)
BUFFER_DEPTH: Final = Query(
    "Samples in the buffer",
    "short",
    "Samples that wait to be trained on.",
    top(latest(catalog.BUFFER_DEPTH, "run")),
    "{{run}}",
)
BUFFER_CAPACITY: Final = Query(
    "Capacity of the buffer",
    "short",
    "Samples that the buffer can hold.",
    top(f"{latest(catalog.BUFFER_CAPACITY, 'run')} > 0"),
    "{{run}} capacity",
)
BUFFER_AGE: Final = Query(
    "Age of the oldest sample in the buffer",
    "s",
    "Seconds since the oldest waiting sample was generated.",
    top(f"{age(catalog.BUFFER_OLDEST, 'run')} and ({latest(catalog.BUFFER_OLDEST, 'run')} > 0)"),
    "{{run}}",
)
WEIGHT_SYNC_SECONDS: Final = Query(
    "Duration of a weight synchronization",
    "s",
    "Mean wall time of synchronizing weights to the rollout workers.",
    top(f"{rate(catalog.WEIGHT_SYNC_SECONDS, 'run')} / ({rate(catalog.WEIGHT_SYNCS, 'run')} > 0)"),
    "{{run}}",
)
WEIGHT_SYNC_BYTES: Final = Query(
    "Weights synchronized per second",
    "binBps",
    "Bytes of weights sent to the rollout workers.",
    top(rate(catalog.WEIGHT_SYNC_BYTES, "run")),
    "{{run}}",
)
ROLES: Final = Query(
    "Processes by role",
    "short",
    "Processes whose role is not env.",
    _of_few_runs(f"count by (run, role) ({latest(catalog.ROLE, 'run, worker, role')})"),
    "{{run}} {{role}}",
)

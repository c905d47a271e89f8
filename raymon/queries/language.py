"""Queries on the training of language models: tokens, responses, groups, the buffer, synchronizations of weights."""

from collections.abc import Callable, Mapping
from typing import Final

from raymon import catalog
from raymon.queries.engine_families import CACHE_USED as CACHE_FAMILIES
from raymon.queries.engine_families import FIRST_TOKEN as FIRST_TOKEN_FAMILIES
from raymon.queries.query import (
    RATE_INTERVAL,
    Query,
    age,
    each_rate,
    largest_now,
    latest,
    of_top_runs,
    rate,
    role_of_each,
    top,
)

_NO_SIGNAL: Final = rate(catalog.GROUPS, "run", 'signal="no"')
_TOKENS_OUT: Final = rate(catalog.TOKENS, "run", 'direction="out"')
TAIL_LENGTH: Final = rate(catalog.GENERATION_LENGTH, "run", 'part="tail"')
_EACH: Final = "run, worker"
_GENERATING: Final = rate(catalog.GENERATION_SECONDS, _EACH)
_TOKENS_OUT_OF_EACH: Final = rate(catalog.TOKENS, _EACH, 'direction="out"')
SECONDS_PER_TOKEN: Final = f"{_GENERATING} / ({_TOKENS_OUT_OF_EACH} > 0)"
_ROLE: Final = role_of_each()
WORKERS_BY_ROLE: Final = f"count by (run, role) ({_ROLE})"
PHASE_SHARES: Final = (
    f"sum by (run, role, phase) ({each_rate(catalog.WORKER_PHASE)} * on (run, worker) group_left (role) {_ROLE})"
    f" / on (run, role) group_left () {WORKERS_BY_ROLE}"
)
LAG_OF_EACH: Final = (
    f"clamp_min({latest(catalog.LEARNER_VERSION, 'run')} - on (run) group_right ()"
    f" ({latest(catalog.POLICY_VERSION, _EACH)} and on (run, worker) {_ROLE}), 0)"
)


def _of_few_runs(expression: str) -> str:
    return of_top_runs(expression, _TOKENS_OUT, number=2)


def longest_response(percent: int) -> str:
    """Return a percentile of the length of the responses of the last minute, the largest of a run's processes."""
    return latest(catalog.RESPONSE_LENGTH, "run", f'quantile="{percent / 100}"')


def _response_length(percent: int, title: str = "", help_text: str = "") -> Query:
    """Return the query of a percentile; the first one of a panel gives title and help for all of them."""
    name = f"{percent}th percentile"
    return Query(
        title or f"Response length, {name}",
        "short",
        help_text or f"{name} of the length, in tokens, of the responses of the last minute.",
        _of_few_runs(longest_response(percent)),
        f"{{{{run}}}} p{percent}",
    )


TOKENS: Final = Query(
    "Tokens per second",
    "short",
    "Tokens of prompts (in) and of responses (out), of at most two runs.",
    _of_few_runs(rate(catalog.TOKENS, "run, direction")),
    "{{run}} {{direction}}",
)
RESPONSE_LENGTH_P50: Final = _response_length(
    50,
    "Response length",
    "Median, 95th and 99th percentile, in tokens, of the last minute; the longest of the processes that generate.",
)
RESPONSE_LENGTH_P95: Final = _response_length(95)
RESPONSE_LENGTH_P99: Final = _response_length(99)
RESPONSES: Final = Query(
    "Responses per second",
    "short",
    "Responses that were complete, truncated at the length limit, or aborted, of at most two runs.",
    _of_few_runs(rate(catalog.RESPONSES, "run, end")),
    "{{run}} {{end}}",
)
TAIL: Final = Query(
    "Generation for the last responses",
    "percentunit",
    "Share of the generation, in tokens of the longest response, for which only the last 3 % of a batch are running.",
    top(f"{TAIL_LENGTH} / ({rate(catalog.GENERATION_LENGTH, 'run')} > 0)"),
)
TAIL_RESPONSES: Final = Query(
    "Last responses per second",
    "short",
    "Responses that were the last of their batch to end, for which the others wait.",
    top(rate(catalog.TAIL_RESPONSES, "run")),
)
TOKEN_COST: Final = Query(
    "Slower per token than the others",
    "none",
    "Time of generation per token of the ten slowest workers, divided by the median of their run.",
    largest_now(f"({SECONDS_PER_TOKEN}) / on (run) group_left () quantile by (run) (0.5, ({SECONDS_PER_TOKEN}))"),
    "{{run}} {{worker}}",
)
ROLE_PHASES: Final = Query(
    "What each role does",
    "percentunit",
    "Share of the time of the processes of a role that they spend in each phase, of at most two runs.",
    _of_few_runs(f"{PHASE_SHARES} > 0.01"),
    "{{run}} {{role}} {{phase}}",
)
WEIGHT_AGE: Final = Query(
    "Updates behind the learner",
    "short",
    "Updates between the learner's policy and the one that a rollout worker generates with; the ten largest.",
    top(LAG_OF_EACH),
    "{{run}} {{worker}}",
)
NO_SIGNAL: Final = Query(
    "Groups without a learning signal",
    "percentunit",
    "Share of the groups of responses whose rewards are all equal.",
    top(f"{_NO_SIGNAL} / ({rate(catalog.GROUPS, 'run')} > 0)"),
)
BUFFER_DEPTH: Final = Query(
    "Samples in the buffer",
    "short",
    "Samples that wait to be trained on.",
    top(latest(catalog.BUFFER_DEPTH, "run")),
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
)
WEIGHT_SYNC_SECONDS: Final = Query(
    "Duration of a weight synchronization",
    "s",
    "Mean wall time of synchronizing weights to the rollout workers.",
    top(f"{rate(catalog.WEIGHT_SYNC_SECONDS, 'run')} / ({rate(catalog.WEIGHT_SYNCS, 'run')} > 0)"),
)
WEIGHT_SYNC_BYTES: Final = Query(
    "Weights synchronized per second",
    "binBps",
    "Bytes of weights sent to the rollout workers.",
    top(rate(catalog.WEIGHT_SYNC_BYTES, "run")),
)
ROLES: Final = Query(
    "Processes by role",
    "short",
    "Processes whose role is not env.",
    _of_few_runs(WORKERS_BY_ROLE),
    "{{run}} {{role}}",
)


def _of_engines(families: Mapping[str, tuple[str, ...]], read: Callable[[str], str]) -> str:
    """Return what is read of each engine's family, with the engine as a label; nothing where none is exported."""
    engines = (
        f'label_replace({" or ".join(read(name) for name in names)}, "engine", "{engine}", "", "")'
        for engine, names in families.items()
    )
    return " or ".join(engines)


FIRST_TOKEN: Final = Query(
    "Time to the first token",
    "s",
    "95th percentile of the time from a request to the first token, where vLLM or SGLang export it to this Prometheus.",
    _of_engines(
        FIRST_TOKEN_FAMILIES,
        lambda name: f"histogram_quantile(0.95, sum by (le) (rate({name}[{RATE_INTERVAL}])))",
    ),
    "{{engine}}",
)
CACHE_USED: Final = Query(
    "Key-value cache in use",
    "percentunit",
    "Largest share of the key-value cache in use of any engine, where vLLM or SGLang export it to this Prometheus.",
    _of_engines(CACHE_FAMILIES, lambda name: f"max({name})"),
    "{{engine}}",
)

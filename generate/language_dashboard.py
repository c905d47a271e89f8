"""The dashboard on language models: what is generated, what it waits for, whether there is something to learn."""

from typing import Final

from generate.colours import BLUE, RED, YELLOW
from generate.dashboard import Dashboard, Row, of_runs
from generate.panel import Panel
from raymon.health import THRESHOLDS
from raymon.queries import flow, language, run

_NONE: Final = "no language model"
_NO_ROLE: Final = "no process has a role"
_NO_ENGINE: Final = "no engine exports it here"
_SLOW: Final = ((None, BLUE), (THRESHOLDS.slow_weak_factor, YELLOW), (THRESHOLDS.slow_factor, RED))

GENERATED: Final = Row(
    "What does it generate?",
    (
        Panel("timeseries", (language.TOKENS,), empty=_NONE),
        Panel(
            "timeseries",
            (language.RESPONSE_LENGTH_P50, language.RESPONSE_LENGTH_P95, language.RESPONSE_LENGTH_P99),
            empty=_NONE,
        ),
        Panel("timeseries", (language.RESPONSES,), empty=_NONE),
    ),
)
TIME: Final = Row(
    "Where does the time go?",
    (
        Panel("timeseries", (run.DRIVER_PHASES,), stacked=True, maximum=1),
        Panel("timeseries", (language.TAIL,), maximum=1, empty=_NONE),
        Panel("timeseries", (language.WEIGHT_SYNC_SECONDS,), empty="no weights synchronized"),
        Panel("timeseries", (language.ROLE_PHASES,), width=16, maximum=1, legend="right", empty=_NO_ROLE),
        Panel("bargauge", (language.TOKEN_COST,), steps=_SLOW, empty=_NONE),
    ),
)
LEARNING: Final = Row(
    "Is there something to learn?",
    (
        Panel("timeseries", (run.FLEET_RETURN_RANGE,), title="Reward", free_axis=True),
        Panel("timeseries", (language.NO_SIGNAL,), maximum=1, empty="no groups counted"),
        Panel("timeseries", (run.UPDATES_PER_SECOND,)),
    ),
)
FRESH: Final = Row(
    "How fresh are its samples?",
    (
        Panel("timeseries", (flow.POLICY_LAG,)),
        Panel("timeseries", (language.BUFFER_DEPTH, language.BUFFER_CAPACITY), empty="no buffer"),
        Panel("timeseries", (language.BUFFER_AGE,), empty="no sample waits"),
        Panel("timeseries", (language.WEIGHT_AGE,), empty="no version of rollout workers"),
        Panel("timeseries", (language.WEIGHT_SYNC_BYTES,), empty="no weights synchronized"),
        Panel("timeseries", (language.TAIL_RESPONSES,), empty=_NONE),
    ),
)
ENGINES: Final = Row(
    "What do the engines say?",
    (
        Panel("timeseries", (language.FIRST_TOKEN,), empty=_NO_ENGINE),
        Panel("timeseries", (language.CACHE_USED,), maximum=1, empty=_NO_ENGINE),
        Panel("timeseries", (language.ROLES,), empty=_NO_ROLE),
    ),
)

LANGUAGE: Final = Dashboard(
    "raymon-language",
    "raymon / Language models",
    "Training of language models: tokens, lengths and their tail, rewards, staleness, the buffer, weights, engines.",
    (GENERATED, TIME, LEARNING, FRESH, ENGINES),
    of_runs(),
)

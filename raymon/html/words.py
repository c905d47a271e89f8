"""The vocabulary of page, terminal and reports: one word, one shape and one colour class for every state and phase.

Colours are in `style.css`, under the class of the same name. Each colour comes with a shape and a word.
"""

from collections.abc import Mapping
from typing import Final

from raymon.catalog import DRIVER_PHASES, LANGUAGE_PHASES, ROLES, WORK_PHASES
from raymon.format import ago, count, duration, listing, share
from raymon.health import THRESHOLDS
from raymon.health.node_problems import is_silent, short_of
from raymon.html.markup import Html, tag
from raymon.views import NodeView, WorkerView

DRIVER_ORDER: Final = (*DRIVER_PHASES[:-1], *LANGUAGE_PHASES, DRIVER_PHASES[-1])
WORKER_ORDER: Final = (*WORK_PHASES, *LANGUAGE_PHASES, "waiting")
"""The phases of drivers and workers in the order in which they are drawn."""

WORD: Final[Mapping[str, str]] = {
    "given_up": "given up",
    "sample": "sampling",
    "learn": "learning",
    "weights": "weights out",
    "log": "logging",
    "generate": "generating",
    "train": "training",
    "weight_sync": "weight sync",
    "absent": "not seen",
}

MEANING: Final[Mapping[str, str]] = {
    "environment": "Stepping the environment (the simulator).",
    "inference": "Computing actions with the policy.",
    "sending": "Packing and sending the fragment.",
    "waiting": "Waiting for work or weights from the driver: idle, not broken.",
    "starting": "Importing and loading the environment; it has not sampled yet.",
    "stalled": "No heartbeat, or no progress although it should sample.",
    "suspect": "Silent for unusually long; not an alarm yet.",
    "failing": "Its rollouts raise an exception or return no step; none succeeds.",
    "slow": "Its rollouts take far longer than those of the other workers.",
    "restarting": "Lost; the driver is replacing it.",
    "dead": "Its process is gone.",
    "given_up": "Lost too often; the driver continues without it.",
    "running": "Sampling normally.",
    "unknown": "Too little is known.",
    "absent": "No data from this worker at that time.",
    "sample": "The driver collects fragments, that is, it waits for workers.",
    "transfer": "Fetching fragments from the object store.",
    "weights": "Sending the new policy to the workers.",
    "learn": "Gradient steps of the update.",
    "checkpoint": "Writing checkpoints.",
    "log": "Writing progress and logs.",
    "generate": "Generating responses with the language model.",
    "reward": "Computing rewards.",
    "reference": "Computing log-probabilities of the reference model.",
    "advantage": "Computing advantages.",
    "train": "Gradient steps of the update.",
    "weight_sync": "Sending the new weights to the rollout workers.",
    "other": "Not covered by a named phase; all phases together are the whole wall time.",
}

HEADLINE: Final[Mapping[str, str]] = {
    "memory_growth": "Memory grows",
    "object_store": "Object store under pressure",
    "no_phases": "No phases named",
    "weights_stale": "Weights are stale",
    "no_learning_signal": "No learning signal",
    "weight_sync_bound": "Weight-sync-bound",
    "unknown": "Not known yet",
}

# Paths in a 16 by 16 box; different outlines, so that they differ in black and white too.
_SHAPES: Final[Mapping[str, str]] = {
    "running": '<circle cx="8" cy="8" r="5.5"/>',
    "waiting": '<circle cx="8" cy="8" r="4.5" class="hollow"/>',
    "starting": '<circle cx="8" cy="8" r="4.5" class="hollow"/><path d="M8 3.5a4.5 4.5 0 0 1 0 9z"/>',
    "slow": '<path d="M8 2 15 14H1z"/>',
    "suspect": '<path d="M8 2.5 14 13.5H2z" class="hollow"/><path d="M8 6.5v3M8 11v1" class="hollow"/>',
    "stalled": '<path d="M3 3h4v10H3zM9 3h4v10H9z"/>',
    "failing": '<path d="M9 1 3 9h4l-1 6 7-9H9z"/>',
    "restarting": '<path d="M12.5 8A4.5 4.5 0 1 1 8 3.5h2" class="hollow"/><path d="M9 .5 13 3.5 9 6.5z"/>',
    "dead": '<path d="M3.5 3.5l9 9m0-9l-9 9" class="hollow thick"/>',
    "given_up": '<circle cx="8" cy="8" r="5" class="hollow"/><path d="M4.5 11.5l7-7" class="hollow"/>',
    "unknown": '<path d="M5 6a3 3 0 1 1 3 3v1.5" class="hollow"/><circle cx="8" cy="13.2" r="1.2"/>',
    "ok": '<path d="M2.5 8.5 6.5 12.5 13.5 4" class="hollow thick"/>',
    "info": '<path d="M8 1.5 14.5 8 8 14.5 1.5 8z"/>',
    "warning": '<path d="M8 2 15 14H1z"/>',
    "critical": '<path d="M5 1.5h6L14.5 5v6L11 14.5H5L1.5 11V5z"/>',
}


ROLE_TITLE: Final[Mapping[str, str]] = {
    **{role: f"{role.capitalize()} workers" for role in ROLES},
    "env": "Environment workers",
    "trainer": "Trainers",
    "critic": "Critics",
    "buffer": "Buffers",
}


def word(name: str) -> str:
    """Return the word for a state, an activity or a phase."""
    return WORD.get(name, name.replace("_", " "))


def headline(state: str) -> str:
    """Return the few words that open the verdict on a run."""
    if state in HEADLINE:
        return HEADLINE[state]
    limit = state.removesuffix("_bound")
    return f"{limit.capitalize()}-bound" if limit != state else limit.replace("_", " ").capitalize()


def verdict_shape(state: str, severity: str) -> Html:
    """Return the drawing of a verdict: of its state where that has one, else of its severity."""
    return shape("starting" if state == "starting" else severity)


def shape(name: str) -> Html:
    """Return the small drawing of a state; decoration, since the word is next to it."""
    inner = Html(_SHAPES.get(name, _SHAPES["unknown"]))
    return tag("svg", inner, class_="shape", viewBox="0 0 16 16", aria_hidden="true")


def state_badge(state: str) -> Html:
    """Return shape and word of a worker's state in its colour."""
    return tag("span", shape(state), word(state), class_=f"state is-{state}", data_help=MEANING.get(state))


def failing(worker: WorkerView) -> str:
    """Return how its rollouts fail: `fails: TypeError, 23/s`; empty while none fails."""
    rates = sorted(((rate, name) for name, rate in worker.failures.items() if rate > 0.0), reverse=True)
    if not rates:
        return ""
    names = listing([name for _, name in rates], most=2)
    return f"fails: {names}, {count(sum(rate for rate, _ in rates))}/s"


def node_trouble(node: NodeView, elapsed: float) -> str:
    """Return what is wrong with a node, `elapsed` seconds after the snapshot; empty while nothing is."""
    workers = f"; workers {listing(node.workers)} run on it" if node.workers else ""
    if node.silent_seconds is None:
        return f"has never answered ({node.error})" if node.error else ""
    if is_silent(node, THRESHOLDS):
        silent = node.silent_seconds + elapsed
        if not node.listed:
            verb = {"planned": "was drained or stopped", "failure": "was lost"}.get(node.departure, "left the cluster")
            why = f" ({node.departure_reason})" if node.departure_reason else ""
            return f"{verb} {ago(silent)}{why}{workers}"
        reason = f" ({node.error})" if node.error else ""
        return f"has not answered for {duration(silent)}{reason}{workers}"
    direction = "behind" if node.clock_offset_seconds > 0 else "ahead"
    problems = [
        f"its clock is {duration(value)} {direction}" if name == "clock" else f"{share(value)} of its {name} is used"
        for name, value in short_of(node, THRESHOLDS).items()
    ]
    return f"{', '.join(problems)}{workers}" if problems else ""

"""The page's vocabulary: one word, one shape and one colour class for every state, activity and phase.

Colours are in `style.css`, under the class of the same name. Colour never stands alone: a shape and a word go with it.
"""

from collections.abc import Mapping
from typing import Final

from raymon.html.markup import Html, tag

WORD: Final[Mapping[str, str]] = {
    "given_up": "given up",
    "sample": "sampling",
    "learn": "learning",
    "inference": "inference",
    "transfer": "transfer",
    "weights": "weights out",
    "checkpoint": "checkpoint",
    "log": "logging",
    "other": "other",
    "absent": "not seen",
}

MEANING: Final[Mapping[str, str]] = {
    "environment": "Stepping the environment (the simulator).",
    "inference": "Computing actions with the policy.",
    "sending": "Packing and sending the fragment.",
    "waiting": "Waiting for work or weights from the driver: idle, not broken.",
    "starting": "Loading the environment, importing, not yet sampling.",
    "stalled": "No heartbeat, or no progress while it should sample.",
    "slow": "Needs far longer for its rollouts than the other workers.",
    "failing": "Its rollouts raise an exception; none succeeds.",
    "restarting": "Lost; the driver is replacing it.",
    "dead": "Its process is gone.",
    "given_up": "Lost too often; the driver goes on without it.",
    "running": "Sampling as it should.",
    "unknown": "Too little is known to say.",
    "absent": "No data from this worker at that time.",
    "sample": "The driver collects fragments, that is, it waits for workers.",
    "transfer": "Fetching fragments out of the object store.",
    "weights": "Handing the new policy to the workers.",
    "learn": "Gradient steps of the update.",
    "checkpoint": "Writing checkpoints.",
    "log": "Writing progress and logs.",
    "other": "What no named phase covers; all phases together are the whole wall time.",
}

HEADLINE: Final[Mapping[str, str]] = {
    "driver_gone": "Driver gone",
    "no_progress": "No progress",
    "workers_lost": "Workers lost",
    "worker_stalled": "Worker stalled",
    "object_store": "Object store under pressure",
    "references_kept": "References kept",
    "memory_growth": "Memory grows",
    "samples_dropped": "Samples dropped",
    "loss_not_finite": "Loss not finite",
    "rollouts_failing": "Rollouts failing",
    "no_phases": "No phases named",
    "unknown": "Not known yet",
}

# Paths in a 16 by 16 box; told apart by outline alone, in black and white too.
_SHAPES: Final[Mapping[str, str]] = {
    "running": '<circle cx="8" cy="8" r="5.5"/>',
    "waiting": '<circle cx="8" cy="8" r="4.5" class="hollow"/>',
    "starting": '<circle cx="8" cy="8" r="4.5" class="hollow"/><path d="M8 3.5a4.5 4.5 0 0 1 0 9z"/>',
    "slow": '<path d="M8 2 15 14H1z"/>',
    "stalled": '<path d="M3 3h4v10H3zM9 3h4v10H9z"/>',
    "failing": '<circle cx="8" cy="8" r="5.5" class="hollow"/><path d="M8 4.5v4.5m0 2v1" class="hollow thick"/>',
    "restarting": '<path d="M12.5 8A4.5 4.5 0 1 1 8 3.5h2" class="hollow"/><path d="M9 .5 13 3.5 9 6.5z"/>',
    "dead": '<path d="M3.5 3.5l9 9m0-9l-9 9" class="hollow thick"/>',
    "given_up": '<circle cx="8" cy="8" r="5" class="hollow"/><path d="M4.5 11.5l7-7" class="hollow"/>',
    "unknown": '<path d="M5 6a3 3 0 1 1 3 3v1.5" class="hollow"/><circle cx="8" cy="13.2" r="1.2"/>',
    "ok": '<path d="M2.5 8.5 6.5 12.5 13.5 4" class="hollow thick"/>',
    "info": '<path d="M8 1.5 14.5 8 8 14.5 1.5 8z"/>',
    "warning": '<path d="M8 2 15 14H1z"/>',
    "critical": '<path d="M5 1.5h6L14.5 5v6L11 14.5H5L1.5 11V5z"/>',
}


def word(name: str) -> str:
    """Return the word people read for a state, an activity or a phase."""
    return WORD.get(name, name.replace("_", " "))


def headline(state: str) -> str:
    """Return the few words that open the verdict on a run."""
    if state in HEADLINE:
        return HEADLINE[state]
    spoken = state.removesuffix("_bound")
    return f"{spoken.capitalize()}-bound" if spoken != state else spoken.replace("_", " ").capitalize()


def verdict_shape(state: str, severity: str) -> Html:
    """Return the drawing of a verdict: by what it says where that has a shape of its own, else by how grave it is."""
    return shape("starting" if state == "starting" else severity)


def shape(name: str) -> Html:
    """Return the small drawing of a state; decoration, since the word stands beside it."""
    inner = Html(_SHAPES.get(name, _SHAPES["unknown"]))
    return tag("svg", inner, class_="shape", viewBox="0 0 16 16", aria_hidden="true")


def state_badge(state: str) -> Html:
    """Return shape and word of a worker's state in its colour."""
    return tag("span", shape(state), word(state), class_=f"state is-{state}", data_help=MEANING.get(state))

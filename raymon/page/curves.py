"""Whether it learns, and what lies in the object store: curves over time or over environment steps."""

from collections.abc import Callable
from typing import Final

import numpy as np

from raymon.format import count, duration, plain, position, share, size, whole
from raymon.html.chart import Format, Line, chart, legend
from raymon.html.markup import Html, tag
from raymon.html.words import shape
from raymon.live.snapshot import Floats
from raymon.page.context import Context
from raymon.page.tiles import capacity

# name of the series, title, format, whether the axis holds zero, how it is computed
_LEARNING: Final[tuple[tuple[str, str, Format, bool, str], ...]] = (
    ("return_mean", "Mean return", plain, False, "Return of the last 100 episodes; shaded: worst to best."),
    ("episode_length", "Episode length", count, True, "Mean steps of the last 100 episodes of all workers."),
    ("policy", "Policy loss", plain, True, "Clipped surrogate loss of the last update."),
    ("value", "Value loss", plain, True, "Squared error of the value function in the last update."),
    ("policy_entropy", "Entropy", plain, True, "Mean entropy of the policy, in nats; falling means more certain."),
    ("kl", "KL divergence", plain, True, "Approximate divergence of the new policy from the old one, in nats."),
    ("clip_ratio", "Clipped", share, True, "Share of the samples whose probability ratio was clipped."),
    ("explained_variance", "Explained variance", plain, True, "1 - Var[return - value] / Var[return]; 1 is perfect."),
    ("gradient_norm", "Gradient norm", plain, True, "Before clipping, mean over the last update."),
    ("learning_rate", "Learning rate", plain, True, "Step size of the optimiser."),
)


def learning(context: Context) -> Html:
    """Return the learning curves, those of a second run laid over them."""
    over_steps = context.choice.axis == "steps"
    where = _over_steps if over_steps else _over_time
    along = _steps_label if over_steps else position
    contexts = [context] + ([context.other] if context.other else [])
    domain = _domain(contexts, where) if over_steps else context.domain
    drawn = [
        _curve(contexts, name, title, form, zero, meaning, where, along, domain)
        for name, title, form, zero, meaning in _LEARNING
        if name == "return_mean" or any(np.isfinite(_values(s, name)).any() for s in contexts)
    ]
    toggle = [
        tag(
            "button",
            title,
            type="button",
            class_="chip",
            data_set=f"axis={axis}",
            aria_pressed="true" if context.choice.axis == axis else "false",
        )
        for axis, title in (("time", "over time"), ("steps", "over steps"))
    ]
    nothing = np.empty(0)
    compared = [Line(s.run.run, nothing, nothing, style) for s, style in zip(contexts, "ab", strict=False)]
    bad = context.run.learning.get("nonfinite_updates") or 0
    told = f"{whole(bad)} update{'s' if bad != 1 else ''} not finite, skipped"
    skipped = tag("span", shape("warning"), told, class_="soft") if bad else None
    return tag(
        "section",
        tag("h2", "Is it learning?", skipped),
        tag(
            "div",
            tag("div", *toggle, class_="chips", role="group", aria_label="Horizontal axis"),
            legend(compared) if context.other else None,
            class_="tools",
        ),
        tag("div", *drawn, class_="charts"),
        class_="panel",
        data_section="learning",
    )


def _curve(
    contexts: list[Context],
    name: str,
    title: str,
    form: Format,
    zero: bool,
    meaning: str,
    where: Callable[[Context], Floats],
    along: Format,
    domain: tuple[float, float],
) -> Html:
    lines = [
        Line(context.run.run if len(contexts) > 1 else title, where(context), _values(context, name), style)
        for context, style in zip(contexts, ("a", "b"), strict=False)
    ]
    band = None
    if name == "return_mean":
        x = where(contexts[0])
        band = (x, _values(contexts[0], "return_min"), _values(contexts[0], "return_max"))
    note = "After the first episode has ended." if name in ("return_mean", "episode_length") else ""
    return chart(
        title,
        lines,
        domain=domain,
        form=form,
        along=along,
        meaning=meaning,
        from_zero=zero,
        band=band,
        note=note,
        named=False,
    )


def _values(context: Context, name: str) -> Floats:
    return context.series(name)[1]


def _over_time(context: Context) -> Floats:
    return context.series("return_mean")[0]


def _over_steps(context: Context) -> Floats:
    return context.series("trained_steps")[1]


def _domain(contexts: list[Context], where: Callable[[Context], Floats]) -> tuple[float, float]:
    every = np.concatenate([where(context) for context in contexts])
    known = every[np.isfinite(every)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)


def _steps_label(steps: float | None) -> str:
    return f"{count(steps)} steps"


def store(context: Context) -> Html:
    """Return the object store over time: what is in use, what the driver keeps alive, what goes through it."""
    view = context.run.store
    age = context.age(view.refs_oldest_age_seconds)
    oldest = f"oldest {duration(age)}" if view.refs_held and age is not None else ""
    used, spilled = context.series("store_used_bytes"), context.series("store_spilled_bytes")
    lines = [Line("in use", *used)]
    if np.nan_to_num(spilled[1]).any():
        lines.append(Line("spilled to disk", *spilled, "b"))
    kinds = [
        Line(kind, *context.series(f"put_{kind}_bytes_per_second"), style)
        for kind, style in (("rollouts", "a"), ("weights", "b"))
    ]
    domain = context.domain
    total = capacity(view)
    charts = [
        chart(
            "In use",
            lines,
            domain=domain,
            form=size,
            along=position,
            meaning="Shared memory of the object store in use, all nodes; Ray spills to disk when it is full.",
        ),
        chart(
            "References held",
            [Line("references", *context.series("refs_held"))],
            domain=domain,
            form=count,
            along=position,
            meaning="References the driver holds: each keeps its object in the store.",
        ),
        chart(
            "Sent through it",
            kinds,
            domain=domain,
            form=lambda v: f"{size(v)}/s",
            along=position,
            meaning="Bytes a second of rollouts and of weights that go through the object store.",
        ),
    ]
    about = " · ".join(part for part in (f"of {size(total)}" if total else "", oldest) if part)
    return tag(
        "section",
        tag("h2", "Object store", tag("small", about)),
        tag("div", *charts, class_="charts"),
        class_="panel",
        data_section="store",
    )

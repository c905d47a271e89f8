"""Whether the run learns, and what is in the object store: curves over time or over environment steps."""

from typing import Final, NamedTuple

import numpy as np

from raymon.format import count, duration, plain, position, share, size, whole
from raymon.html.chart import Band, Format, Line, chart, legend
from raymon.html.markup import Html, tag
from raymon.html.parts import choice_buttons, panel
from raymon.html.words import shape
from raymon.live.snapshot import Floats
from raymon.page.context import Context
from raymon.page.tiles import capacity


class Curve(NamedTuple):
    """One learning curve: a series of the history and how it is drawn."""

    series: str
    title: str
    format: Format
    from_zero: bool
    meaning: str


CURVES: Final = (
    Curve("return_mean", "Mean return", plain, False, "Return of the last 100 episodes; shaded: worst to best."),
    Curve("episode_length", "Episode length", count, True, "Mean steps of the last 100 episodes of all workers."),
    Curve("policy", "Policy loss", plain, True, "Clipped surrogate loss of the last update."),
    Curve("value", "Value loss", plain, True, "Squared error of the value function in the last update."),
    Curve("policy_entropy", "Entropy", plain, True, "Mean entropy of the policy, in nats; falling means more certain."),
    Curve("kl", "KL divergence", plain, True, "Approximate divergence of the new policy from the old one, in nats."),
    Curve("clip_ratio", "Clipped", share, True, "Share of the samples whose probability ratio was clipped."),
    Curve("explained_variance", "Explained variance", plain, True, "1 - Var[return - value] / Var[return]; 1 is best."),
    Curve("gradient_norm", "Gradient norm", plain, True, "Before clipping, mean over the last update."),
    Curve("learning_rate", "Learning rate", plain, True, "Step size of the optimizer."),
)


def learning(context: Context) -> Html:
    """Return the learning curves, with those of a second run laid over them."""
    contexts = [context] + ([context.other] if context.other else [])
    curves = [
        _curve(contexts, curve)
        for curve in CURVES
        if curve.series == "return_mean" or any(np.isfinite(each.series(curve.series)[1]).any() for each in contexts)
    ]
    names = [Line(each.run.run, np.empty(0), np.empty(0), style) for each, style in zip(contexts, "ab", strict=False)]
    return panel(
        "Is it learning?",
        _skipped_updates(context),
        tag("div", _axis_choice(context), legend(names) if context.other else None, class_="tools"),
        tag("div", *curves, class_="charts"),
        section="learning",
    )


def _skipped_updates(context: Context) -> Html | None:
    skipped = context.run.learning.get("nonfinite_updates") or 0
    if not skipped:
        return None
    text = f"{whole(skipped)} update{'s' if skipped != 1 else ''} not finite"
    text += ", skipped" if context.run.engine == "own" else ""
    return tag("span", shape("warning"), text, class_="soft")


def _axis_choice(context: Context) -> Html:
    axes = (("time", "over time"), ("steps", "over steps"))
    return choice_buttons(context.choice.axis, axes, "axis", "Horizontal axis")


def _curve(contexts: list[Context], curve: Curve) -> Html:
    main = contexts[0]
    over_steps = main.choice.axis == "steps"
    lines = [
        Line(each.run.run if len(contexts) > 1 else curve.title, _axis(each), each.series(curve.series)[1], style)
        for each, style in zip(contexts, ("a", "b"), strict=False)
    ]
    band = None
    if curve.series == "return_mean":
        band = Band(_axis(main), main.series("return_min")[1], main.series("return_max")[1])
    return chart(
        curve.title,
        lines,
        domain=_steps_domain(contexts) if over_steps else main.domain,
        format_y=curve.format,
        format_x=_format_steps if over_steps else position,
        meaning=curve.meaning,
        from_zero=curve.from_zero,
        band=band,
        note="After the first episode has ended." if curve.series in ("return_mean", "episode_length") else "",
        named=False,
    )


def _axis(context: Context) -> Floats:
    """Return the horizontal position of each sample, NaN where the steps are not known; `[K]`."""
    if context.choice.axis == "steps":
        return context.series("trained_steps")[1]
    return context.series("return_mean")[0]


def _steps_domain(contexts: list[Context]) -> tuple[float, float]:
    steps = np.concatenate([_axis(context) for context in contexts])
    known = steps[np.isfinite(steps)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)


def _format_steps(steps: float | None) -> str:
    return f"{count(steps)} steps"


def store(context: Context) -> Html:
    """Return the object store over time: bytes in use, references held, bytes sent."""
    view = context.run.store
    used, spilled = context.series("store_used_bytes"), context.series("store_spilled_bytes")
    held = context.series("refs_held")
    in_use = [Line("in use", *used)]
    if np.nan_to_num(spilled[1]).any():
        in_use.append(Line("spilled to disk", *spilled, "b"))
    sent = [
        Line(kind, *context.series(f"put_{kind}_bytes_per_second"), style)
        for kind, style in (("rollouts", "a"), ("weights", "b"))
    ]
    charts = [
        _over_time(
            context,
            "In use",
            in_use,
            size,
            "Shared memory of the object store in use, all nodes; Ray spills to disk when it is full.",
        ),
        _over_time(
            context,
            "References held",
            [Line("references", *held)],
            count,
            "References the driver holds: each keeps its object in the store.",
        )
        if np.isfinite(held[1]).any()
        else None,
        _over_time(
            context,
            "Sent through it",
            sent,
            lambda rate: f"{size(rate)}/s",
            "Bytes per second of rollouts and of weights that go through the object store.",
        ),
    ]
    total, age = capacity(view), context.age(view.refs_oldest_age_seconds)
    about = (
        f"of {size(total)}" if total else "",
        f"oldest reference {duration(age)}" if view.refs_held and age is not None else "",
    )
    small = " · ".join(part for part in about if part)
    return panel("Object store", small, tag("div", *charts, class_="charts"), section="store")


def _over_time(context: Context, title: str, lines: list[Line], format_y: Format, meaning: str) -> Html:
    return chart(title, lines, domain=context.domain, format_y=format_y, format_x=position, meaning=meaning)

"""The head of the page: which run, since when, how far back the charts reach, how live the numbers are."""

from raymon.format import duration
from raymon.health import THRESHOLDS
from raymon.html.age import age_old
from raymon.html.markup import Html, join, tag
from raymon.html.parts import choice_buttons
from raymon.live.snapshot import Snapshot
from raymon.page.choice import SPANS
from raymon.page.context import Context

LIVE_SECONDS = 5.0
"""Younger numbers are called live; the verdict calls them stale at its own, later threshold."""
_MARK = Html(
    '<svg class="mark" viewBox="0 0 24 24" aria-hidden="true">'
    '<rect x="2" y="4" width="13" height="4" rx="1"/><rect x="7" y="10" width="15" height="4" rx="1"/>'
    '<rect x="4" y="16" width="8" height="4" rx="1"/></svg>'
)


def header(context: Context | None) -> Html:
    """Return the head of the page; without a run only the name."""
    brand = tag("span", _MARK, tag("b", "raymon"), class_="brand")
    if context is None:
        return tag("header", brand, class_="top")
    run = context.run
    about = " · ".join(part for part in (run.algorithm, run.sampler, run.environment, run.engine) if part)
    started = context.age(run.started_seconds_ago)
    since = f"running for {duration(started)}" if started and not context.ended else None
    return tag(
        "header",
        brand,
        _run_choice(context.snapshot, context),
        tag("span", about, tag("small", since) if since else None, class_="about"),
        _span_choice(context),
        pulse(context),
        class_="top",
    )


def _span_choice(context: Context) -> Html:
    spans, label = [(span, span) for span in SPANS], "How far back the charts reach"
    return choice_buttons(context.choice.span, spans, "span", label, "chips spans")


def _run_choice(snapshot: Snapshot, context: Context) -> Html:
    if len(snapshot.runs) < 2:
        return tag("span", context.run.run, class_="run")
    runs = [tag("option", run.run, value=run.run, selected=run.run == context.run.run) for run in snapshot.runs]
    others = [tag("option", "compare with …", value="", selected=not context.choice.against)]
    others += [
        tag("option", f"against {run.run}", value=run.run, selected=context.choice.against == run.run)
        for run in snapshot.runs
        if run.run != context.run.run
    ]
    return tag(
        "span",
        tag("select", *runs, data_bind="run", aria_label="Run"),
        tag("select", *others, data_bind="against", aria_label="Run to compare with"),
        class_="run",
    )


def pulse(context: Context) -> Html:
    """Return how live the numbers are, as a word and an age."""
    age = context.data_age
    if context.snapshot.recorded is not None:
        state, text = "ended", join("recorded")
    elif context.ended:
        state, text = "ended", join(context.run.state)
    elif age is None:
        state, text = "old", join("no data")
    elif age <= LIVE_SECONDS:
        state, text = "live", join(tag("span", "live · ", class_="word"), age_old(age))
    else:
        state, text = ("late" if age <= THRESHOLDS.stale_seconds else "old"), age_old(age)
    return tag(
        "span",
        tag("i", aria_hidden="true"),
        text,
        class_=f"pulse {state}",
        data_help="Age of the newest number, from the heartbeats of the run's own processes.",
        tabindex="0",
        data_pulse=state,
    )

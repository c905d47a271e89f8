"""The page as a whole: head, sections in the order of the questions, foot; and what it says when there is no run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from raymon.format import ago, duration, size
from raymon.health import THRESHOLDS
from raymon.html.markup import Child, Html, join, tag
from raymon.html.words import headline, shape
from raymon.live.snapshot import Snapshot
from raymon.page.activity import activity, phases
from raymon.page.choice import SPANS, Choice
from raymon.page.context import Context, context_of
from raymon.page.curves import learning, store
from raymon.page.detail import detail
from raymon.page.tiles import tiles
from raymon.page.verdict import alerts, firing_alerts, verdict
from raymon.page.worker_table import table

LIVE_SECONDS: Final = 5.0
"""Younger numbers are called live; the verdict calls them stale at its own, later threshold."""
FIRST_ROUNDS: Final = 3
_MARK: Final = Html(
    '<svg class="mark" viewBox="0 0 24 24" aria-hidden="true">'
    '<rect x="2" y="4" width="13" height="4" rx="1"/><rect x="7" y="10" width="15" height="4" rx="1"/>'
    '<rect x="4" y="16" width="8" height="4" rx="1"/></svg>'
)


@dataclass(frozen=True, slots=True)
class Service:
    """A program beside raymon: whether it answers, and the command that brings it when it does not."""

    name: str
    url: str
    answers: bool
    command: str
    gives: str


def page(snapshot: Snapshot, choice: Choice, services: Sequence[Service] = ()) -> Html:
    """Return everything between the head and the foot of the page, for one viewer."""
    context = context_of(snapshot, choice)
    if context is None:
        body = join(_top(snapshot, choice, None), _nothing(snapshot), _foot(snapshot, None, services))
        return tag("div", body, class_="page empty", data_view="empty")
    dashboard = next((n.url for n in services if n.name == "Ray Dashboard" and n.answers), "")
    old, firing = _is_old(context), firing_alerts(context)
    body = join(
        _top(snapshot, choice, context),
        _old_banner(context) if old else None,
        verdict(context),
        tiles(context),
        alerts(context) if firing else None,
        detail(context, dashboard),
        tag("div", phases(context), activity(context), class_="pair"),
        tag("div", table(context), tag("div", learning(context), store(context)), class_="wide-pair"),
        None if firing else alerts(context),
        _foot(snapshot, context, services),
    )
    return tag("div", body, class_="page old" if old else "page", data_view="run", data_run=context.run.run)


def title(snapshot: Snapshot, choice: Choice) -> str:
    """Return the title of the browser's tab: the verdict comes first, since a tab is narrow."""
    context = context_of(snapshot, choice)
    return "raymon" if context is None else f"{headline(context.verdict.state)} · {context.run.run} · raymon"


def _ended(context: Context) -> bool:
    return context.run.state in ("finished", "failed")


def _is_old(context: Context) -> bool:
    age = context.run.data_age_seconds
    return not _ended(context) and (age is None or age > THRESHOLDS.stale_seconds)


def _top(snapshot: Snapshot, choice: Choice, context: Context | None) -> Html:
    mark = tag("span", _MARK, tag("b", "raymon"), class_="brand")
    if context is None:
        return tag("header", mark, class_="top")
    run = context.run
    about = " · ".join(part for part in (run.algorithm, run.sampler, run.environment, run.engine) if part)
    since = (
        f"running for {duration(run.started_seconds_ago)}" if run.started_seconds_ago and not _ended(context) else ""
    )
    spans = [
        tag(
            "button",
            span,
            type="button",
            class_="chip",
            data_set=f"span={span}",
            aria_pressed="true" if choice.span == span else "false",
        )
        for span in SPANS
    ]
    return tag(
        "header",
        mark,
        _runs(snapshot, choice, context),
        tag("span", about, tag("small", since) if since else None, class_="about"),
        tag("div", *spans, class_="chips spans", role="group", aria_label="How far back the drawings reach"),
        _pulse(context),
        class_="top",
    )


def _runs(snapshot: Snapshot, choice: Choice, context: Context) -> Html:
    if len(snapshot.runs) < 2:
        return tag("span", context.run.run, class_="run")
    options = [tag("option", r.run, value=r.run, selected=r.run == context.run.run) for r in snapshot.runs]
    others = [tag("option", "compare with …", value="", selected=not choice.against)]
    others += [
        tag("option", f"against {r.run}", value=r.run, selected=choice.against == r.run)
        for r in snapshot.runs
        if r.run != context.run.run
    ]
    return tag(
        "span",
        tag("select", *options, data_bind="run", aria_label="Run"),
        tag("select", *others, data_bind="against", aria_label="Run to compare with"),
        class_="run",
    )


def _pulse(context: Context) -> Html:
    """Return how live the numbers are, in a word and an age."""
    age = context.run.data_age_seconds
    if _ended(context):
        state, told = "ended", context.run.state or ""
    elif age is None:
        state, told = "old", "no data"
    elif age <= LIVE_SECONDS:
        state, told = "live", f"live · {duration(max(age, 0.1))} old"
    else:
        state, told = ("late" if age <= THRESHOLDS.stale_seconds else "old"), f"{duration(age)} old"
    meaning = "Age of the newest number, from the processes' own heartbeats: data that stopped never looks live."
    return tag(
        "span",
        tag("i", aria_hidden="true"),
        told,
        class_=f"pulse {state}",
        data_help=meaning,
        tabindex="0",
        data_pulse=state,
    )


def _old_banner(context: Context) -> Html:
    age = context.run.data_age_seconds
    told = f"The newest number is {duration(age)} old" if age is not None else "No number has a known age"
    failing = [target for target in context.snapshot.targets if target.error]
    why = f" {failing[0].url}: {failing[0].error}." if failing else ""
    return tag(
        "p",
        shape("warning"),
        f"{told}: what is below is the last that was seen, not the present.{why}",
        class_="banner",
        role="alert",
    )


def _nothing(snapshot: Snapshot) -> Html:
    """Return what the page says without a run: what is wrong, and the command that mends it."""
    starting = snapshot.rounds < FIRST_ROUNDS and not any(target.error for target in snapshot.targets)
    if starting:
        head, text = "Looking for runs", snapshot.problem or "The first collection is under way."
    elif snapshot.problem:
        head, text = "No run in sight", snapshot.problem
    else:
        head, text = "No run yet", "The metrics endpoints answer, but no process has recorded anything with raymon."
    ways: tuple[tuple[str, str], ...] = (
        ("Train something small and watch it here", "raymon train"),
        ("Look at a cluster on another machine", "raymon status --metrics-url http://NODE:PORT/metrics"),
        ("Make your own trainer visible", "monitor = raymon.Monitor(worker=index)"),
        ("Find out what is in the way", "raymon doctor"),
    )
    items = [tag("li", tag("span", what), tag("code", how)) for what, how in ways]
    return tag(
        "section",
        tag("div", shape("info"), tag("span", head), class_="headline"),
        tag("p", text, class_="sentence"),
        tag("ul", *items, class_="ways"),
        class_="verdict severity-unknown nothing",
        data_state="starting" if starting else "empty",
    )


def _foot(snapshot: Snapshot, context: Context | None, services: Sequence[Service]) -> Html:
    age = context.run.data_age_seconds if context else snapshot.data_age_seconds
    good = sum(1 for target in snapshot.targets if not target.error)
    source = snapshot.source or "no source yet"
    facts = [
        tag("span", tag("b", "Source"), " ", source),
        tag("span", tag("b", "Newest number"), " ", ago(age)),
        tag("span", tag("b", "Endpoints"), f" {good} of {len(snapshot.targets)} answer"),
        tag("span", tag("b", "Last round"), f" {duration(snapshot.round_seconds)}"),
    ]
    failing = [target for target in snapshot.targets if target.error]
    return tag(
        "footer",
        tag("div", *facts, class_="facts-line"),
        tag("ul", *[_failing(t.url, t.error, t.answered_seconds_ago) for t in failing[:5]], class_="plain")
        if failing
        else None,
        tag("ul", *[_service(item, context) for item in services], class_="services"),
        tag("p", f"{_page_bytes(snapshot)}Read-only: this page changes nothing in the cluster.", class_="soft"),
    )


def _dashboard(context: Context) -> str:
    """Return the path of the dashboard of what is looked at: of the chosen worker, else of the run."""
    chosen = {"var-run": context.run.run}
    if not context.choice.worker:
        return f"/d/raymon-overview?{urlencode(chosen)}"
    return f"/d/raymon-worker?{urlencode({**chosen, 'var-worker': context.choice.worker})}"


def _page_bytes(snapshot: Snapshot) -> str:
    total = sum(target.page_bytes for target in snapshot.targets)
    return f"{size(total)} read per round. " if total else ""


def _failing(url: str, error: str, answered: float | None) -> Html:
    seen = f" (answered {ago(answered)})" if answered is not None else ""
    return tag("li", shape("warning"), tag("code", url), f" {error}{seen}")


def _service(item: Service, context: Context | None) -> Html:
    if item.answers:
        href = item.url + (_dashboard(context) if context and item.name == "Grafana" else "")
        link: Child = tag("a", item.name, href=href, target="_blank", rel="noopener")
        return tag("li", shape("ok"), link, f" {item.gives}", class_="answers", data_neighbour=item.name)
    return tag(
        "li",
        shape("waiting"),
        f"{item.name} does not answer: {item.gives} ",
        tag("code", item.command),
        data_neighbour=item.name,
    )

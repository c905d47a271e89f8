"""The whole page: header, banners, sections, footer; and the page that is shown without a run."""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from raymon.html.markup import Html, join, tag, with_code
from raymon.html.parts import panel
from raymon.html.words import headline, shape
from raymon.live.snapshot import Snapshot
from raymon.page.activity import activity, phases
from raymon.page.banners import banner, is_old
from raymon.page.choice import Choice
from raymon.page.context import Context, context_of
from raymon.page.curves import learning, store
from raymon.page.detail import detail
from raymon.page.footer import Service, footer
from raymon.page.header import header
from raymon.page.incident_list import Summary, incidents
from raymon.page.language_model import language_model
from raymon.page.node_table import nodes
from raymon.page.recording_slider import moment
from raymon.page.tiles import tiles
from raymon.page.verdict import alerts, firing_alerts, verdict
from raymon.page.worker_table import table

FIRST_ROUNDS: Final = 3
_log = logging.getLogger(__name__)


def page(
    snapshot: Snapshot,
    choice: Choice,
    services: Sequence[Service] = (),
    incident_list: tuple[Summary, ...] = (),
    now: float | None = None,
) -> Html:
    """Return the page for one viewer.

    Args:
        snapshot: What was collected last.
        choice: What the viewer chose.
        services: The programs next to raymon.
        incident_list: The incidents of all runs, newest first.
        now: `time.monotonic()` of the drawing; tests set it.
    """
    elapsed = snapshot.age_seconds(now)
    context = context_of(snapshot, choice, elapsed, incident_list)
    top = [header(context), moment(snapshot), banner(snapshot, context, elapsed)]
    if context is None:
        body = join(*top, _empty(snapshot), footer(snapshot, None, services, elapsed))
        return tag("div", body, class_="page empty", data_view="empty")
    body = join(*top, *_sections(context, services), footer(snapshot, context, services, elapsed))
    css = "page old" if is_old(context) else "page"
    return tag("div", body, class_=css, data_view="run", data_run=context.run.run)


def title(snapshot: Snapshot, choice: Choice) -> str:
    """Return the title of the browser's tab; the verdict comes first, since a tab is narrow."""
    context = context_of(snapshot, choice)
    return "raymon" if context is None else f"{headline(context.verdict.state)} · {context.run.run} · raymon"


def _sections(context: Context, services: Sequence[Service]) -> list[Html]:
    dashboard = next((service.url for service in services if service.name == "Ray Dashboard" and service.answers), "")
    alert_panel = _section("Alerts", lambda: alerts(context))
    firing = bool(firing_alerts(context))
    return [
        _section("Verdict", lambda: verdict(context)),
        _section("Main numbers", lambda: tiles(context)),
        alert_panel if firing else join(),
        _section("Nodes", lambda: nodes(context)),
        _section("Incidents", lambda: incidents(context)),
        _section(f"Worker {context.choice.worker}", lambda: detail(context, dashboard)),
        tag(
            "div",
            _section("Where the time goes", lambda: phases(context)),
            _section("What each worker was doing", lambda: activity(context)),
            class_="pair",
        ),
        _section("Language model", lambda: language_model(context)),
        tag(
            "div",
            _section("Workers", lambda: table(context)),
            tag(
                "div",
                _section("Is it learning?", lambda: learning(context)),
                _section("Object store", lambda: store(context)),
            ),
            class_="wide-pair",
        ),
        join() if firing else alert_panel,
    ]


def _section(name: str, draw: Callable[[], Html | None]) -> Html:
    """Return a section, or a note in its place when drawing it fails: one odd number must not empty the page."""
    try:
        return join(draw())
    except Exception as error:  # noqa: BLE001  # whatever a run reports, the other sections are drawn
        _log.exception("the section %r could not be drawn", name)
        text = f"This section cannot be drawn ({type(error).__name__}: {error}); the others are not affected."
        note = tag("p", shape("warning"), text, class_="none", role="alert")
        return panel(name, None, note, section="broken")


def _empty(snapshot: Snapshot) -> Html:
    """Return the page without a run: what is wrong, and the commands that help."""
    starting = snapshot.rounds < FIRST_ROUNDS and not any(target.error for target in snapshot.targets)
    if starting:
        head, text = "Looking for runs", snapshot.problem or "The first collection is under way."
    elif snapshot.problem:
        head, text = "No run found", snapshot.problem
    else:
        head, text = "No run yet", "The metrics endpoints answer, but no process has recorded anything with raymon."
    commands = (
        ("Train something small and watch it here", "raymon train"),
        ("Look at a cluster on another machine", "raymon status --metrics-url http://NODE:PORT/metrics"),
        ("Make your own trainer visible", "monitor = raymon.Monitor(worker=index)"),
        ("Find out what is in the way", "raymon doctor"),
    )
    items = [tag("li", tag("span", purpose), tag("code", command)) for purpose, command in commands]
    return tag(
        "section",
        tag("div", shape("info"), tag("span", head), class_="headline"),
        tag("p", with_code(text), class_="sentence"),
        tag("ul", *items, class_="ways"),
        class_="verdict severity-unknown nothing",
        data_state="starting" if starting else "empty",
    )

"""The foot of the page: where the numbers come from, endpoints that fail, the programs next to raymon."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from raymon.catalog import ascii_label
from raymon.format import duration, size
from raymon.html.age import age_ago
from raymon.html.markup import Child, Html, join, tag
from raymon.html.words import shape
from raymon.live.snapshot import Snapshot, TargetState
from raymon.page.context import Context

SHOWN_ENDPOINTS = 5


@dataclass(frozen=True, slots=True)
class Service:
    """A program next to raymon.

    Attributes:
        answers: Whether it answered last time.
        command: The command that starts it.
        benefit: What the user gains from it.
    """

    name: str
    url: str
    answers: bool
    command: str
    benefit: str


def footer(snapshot: Snapshot, context: Context | None, services: Sequence[Service], elapsed: float) -> Html:
    """Return the foot of the page."""
    age = context.run.data_age_seconds if context else snapshot.data_age_seconds
    failing = [target for target in snapshot.targets if target.error]
    total = len(snapshot.targets)
    facts = (
        tag("span", tag("b", "Source"), " ", snapshot.source or "no source yet"),
        tag("span", tag("b", "Newest number"), " ", age_ago(None if age is None else age + elapsed)),
        tag("span", tag("b", "Endpoints"), f" {total - len(failing)} of {total} answer"),
        tag("span", tag("b", "Last collection"), f" took {duration(snapshot.round_seconds)}"),
    )
    endpoints = [_failing(target, elapsed) for target in failing[:SHOWN_ENDPOINTS]]
    if len(failing) > SHOWN_ENDPOINTS:
        endpoints.append(tag("li", f"and {len(failing) - SHOWN_ENDPOINTS} more"))
    read = sum(target.page_bytes for target in snapshot.targets)
    return tag(
        "footer",
        tag("div", *facts, class_="facts-line"),
        tag("ul", *endpoints, class_="plain") if endpoints else None,
        tag("ul", *[_service(service, context) for service in services], class_="services"),
        tag(
            "p",
            f"{size(read)} read per collection. " if read else "",
            "The page only reads: it changes nothing in the cluster.",
            class_="soft",
        ),
    )


def _failing(target: TargetState, elapsed: float) -> Html:
    ago = target.answered_seconds_ago
    seen = join(" (answered ", age_ago(ago + elapsed), ")") if ago is not None else None
    return tag("li", shape("warning"), tag("code", target.url), f" {target.error}", seen)


def _service(service: Service, context: Context | None) -> Html:
    if service.answers:
        href = service.url + (_dashboard(context) if context and service.name == "Grafana" else "")
        link: Child = tag("a", service.name, href=href, target="_blank", rel="noopener")
        return tag("li", shape("ok"), link, f" {service.benefit}", class_="answers", data_service=service.name)
    return tag(
        "li",
        shape("waiting"),
        f"{service.name} does not answer: {service.benefit} ",
        tag("code", service.command),
        data_service=service.name,
    )


def _dashboard(context: Context) -> str:
    """Return the path of the Grafana dashboard of the open worker, else of the run."""
    variables = {"var-run": ascii_label(context.run.run)}
    if not context.choice.worker:
        return f"/d/raymon-overview?{urlencode(variables)}"
    return f"/d/raymon-worker?{urlencode({**variables, 'var-worker': context.choice.worker})}"

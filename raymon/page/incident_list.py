"""The incidents of a run: what was collected when its verdict turned bad, where, and what it says about a worker."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from raymon.format import duration, moment
from raymon.html.markup import Html, join, tag
from raymon.html.parts import panel
from raymon.html.words import headline, shape
from raymon.incident.store import Incident, IncidentStore
from raymon.page.context import Context

READ_SECONDS: Final = 5.0
SHOWN_INCIDENTS: Final = 5
SHOWN_FRAMES: Final = 12


@dataclass(frozen=True, slots=True)
class Summary:
    """One incident as the page shows it.

    Attributes:
        hang: Which process hangs, and where, in words; empty if unknown.
        stacks: Process (`driver`, `worker 3`) and its frames, innermost first.
        deaths: Process id and the cause that Ray gives for its end.
    """

    run: str
    code: str
    sentence: str
    opened_at: float
    closed_at: float | None
    folder: str
    stacks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    deaths: tuple[tuple[int, str], ...] = ()
    hang: str = ""


def summary(incident: Incident) -> Summary:
    """Return the part of an incident that the page shows; parts of another shape are left out."""
    return Summary(
        incident.run,
        incident.code,
        incident.sentence,
        incident.opened_at,
        incident.closed_at,
        str(incident.folder),
        tuple(_stacks(incident.data)),
        tuple(_deaths(incident.data)),
        incident.hang,
    )


def _stacks(data: Mapping[str, Any]) -> Iterable[tuple[str, tuple[str, ...]]]:
    stacks = data.get("stacks")
    for group in stacks.get("groups", ()) if isinstance(stacks, dict) else ():
        frames = tuple(str(frame) for frame in group.get("frames", ())[:SHOWN_FRAMES])
        for process in group.get("processes", ()):
            yield str(process), frames


def _deaths(data: Mapping[str, Any]) -> Iterable[tuple[int, str]]:
    cluster = data.get("cluster")
    for actor in cluster.get("actors", ()) if isinstance(cluster, dict) else ():
        if actor.get("state") == "DEAD" and actor.get("cause"):
            yield int(actor.get("pid") or 0), str(actor["cause"])


def read(root: Path) -> tuple[Summary, ...]:
    """Return the incidents of the runs below a directory, newest first."""
    return tuple(summary(incident) for incident in IncidentStore(root).list())


def incidents(context: Context) -> Html | None:
    """Return the section of the run's incidents, newest first; None without any."""
    own = [incident for incident in context.incidents if incident.run == context.run.run]
    if not own:
        return None
    rest = len(own) - SHOWN_INCIDENTS
    more = tag("p", f"{rest} older: ", tag("code", "raymon incidents"), class_="soft") if rest > 0 else None
    return panel(
        "Incidents",
        f"{len(own)} recorded",
        tag("ul", *[_row(context, incident) for incident in own[:SHOWN_INCIDENTS]], class_="alerts incidents"),
        more,
        section="incidents",
        meaning="Stacks, states and logs from when the verdict turned bad. Open the report, or print it with "
        "raymon incidents.",
    )


def _row(context: Context, incident: Summary) -> Html:
    if incident.closed_at is None:
        lasted, state = f"open since {duration(max(0.0, context.now - incident.opened_at))}", "warning"
    else:
        lasted, state = f"lasted {duration(incident.closed_at - incident.opened_at)}", "info"
    return tag(
        "li",
        shape(state),
        tag(
            "span",
            tag("b", headline(incident.code)),
            incident.sentence,
            f" {incident.hang}" if incident.hang else None,
            join(" ", tag("code", f"{incident.folder}/report.html")),
        ),
        tag("small", f"{moment(incident.opened_at)} · {lasted}"),
        class_=f"alert severity-{state}",
    )


def last_stack(context: Context, process: str) -> tuple[Summary, tuple[str, ...]] | None:
    """Return the newest incident of the run that holds a stack of the process, and its frames, innermost first."""
    for incident in context.incidents:
        frames = dict(incident.stacks).get(process) if incident.run == context.run.run else None
        if frames:
            return incident, frames
    return None


def causes_of_death(context: Context, pid: int | None) -> list[str]:
    """Return what Ray said about the end of a process of the run, each cause once."""
    choices = [
        cause
        for incident in context.incidents
        if incident.run == context.run.run
        for dead, cause in incident.deaths
        if dead == pid
    ]
    return list(dict.fromkeys(choices))

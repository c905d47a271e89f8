"""The incidents of a run: what was collected when its verdict turned bad, where, and what it says about a worker."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from raymon.format import duration, moment
from raymon.html.markup import Html, join, tag, with_code
from raymon.html.parts import panel
from raymon.html.words import headline, shape
from raymon.incident.report import SOURCES
from raymon.incident.store import Incident, IncidentStore
from raymon.live.worker_losses import lost_because
from raymon.page.context import Context

READ_SECONDS: Final = 5.0
SHOWN_INCIDENTS: Final = 5
SHOWN_FRAMES: Final = 12
SHOWN_DEATHS: Final = 8


@dataclass(frozen=True, slots=True)
class Summary:
    """One incident as the page shows it.

    Attributes:
        hang: Which process hangs, and where, in words; empty if unknown.
        stacks: Process (`driver`, `worker 3`) and its frames, innermost first.
        deaths: Worker, why a process of it ended or failed, and the frames of the error, innermost first.
    """

    run: str
    code: str
    sentence: str
    opened_at: float
    closed_at: float | None
    folder: str
    stacks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    deaths: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
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


def _deaths(data: Mapping[str, Any]) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    """Yield what is known of ends and errors; of an incident without that part, what Ray says about its processes."""
    for each in data.get("deaths") or ():
        yield each["worker"], f"{SOURCES.get(each['kind'], 'Ray')}: {each['sentence']}", tuple(each["frames"])
    if "deaths" in data:
        return
    workers = (data.get("view") or {}).get("workers") or ()
    names = {worker["pid"]: worker["worker"] for worker in workers if worker["pid"]}
    cluster = data.get("cluster") or {}
    for actor in cluster.get("actors", ()):
        if actor["state"] == "DEAD" and actor["cause"] and actor["pid"] in names:
            yield names[actor["pid"]], f"Ray: {actor['cause']}", ()
    for process in cluster.get("ended_workers", ()):
        if process["exit"] and process["pid"] in names:
            yield names[process["pid"]], f"Ray: {process['exit']}", ()


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
            with_code(f"{incident.sentence} {incident.hang}" if incident.hang else incident.sentence),
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


def causes_of_death(context: Context, worker: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return why processes of a worker ended or failed, newest incident first, each once, and the frames of errors.

    What the driver wrote about losses that are in no incident follows, the newest first, with the moment.
    """
    causes = [
        (cause, frames)
        for incident in context.incidents
        if incident.run == context.run.run
        for dead, cause, frames in incident.deaths
        if dead == worker
    ]
    known = {cause for cause, _ in causes}
    for loss in reversed(context.run.worker_losses):
        cause = f"{SOURCES['lost']}: {lost_because(loss.reason, loss.detail)}"
        if loss.worker == worker and cause not in known:
            causes.append((f"{cause} · {moment(loss.at)}", ()))
    return list(dict.fromkeys(causes))[:SHOWN_DEATHS]

"""The post-mortem of a run without a recording: from `summary.json`, the incidents and the log of deaths."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from raymon.health import Finding, RunVerdict
from raymon.incident import FOLDER
from raymon.incident.causes import CAUSES, GAP_SECONDS, SHORTAGES, TERMINAL, PostMortem, post_mortem
from raymon.incident.death_links import Link, Moment, clock, death_links
from raymon.incident.deaths import read_deaths
from raymon.incident.store import Incident, IncidentStore
from raymon.views import NodeView, RunView, WorkerView

SUMMARY: Final = "summary.json"
MOST_FACTS: Final = 30
_NODE_FIGURES: Final = ("memory_used_bytes", "memory_total_bytes", "disk_used_bytes", "disk_free_bytes")


def from_directory(directory: Path) -> PostMortem | None:
    """Return the post-mortem of a run's directory; None if it holds neither a summary nor an incident."""
    directory = directory.resolve()
    summary, written_at = _summary(directory / SUMMARY)
    incidents = sorted(IncidentStore(directory.parent).list(directory.name), key=lambda each: each.opened_at)
    if summary is None and not incidents:
        return None
    state = str(summary["state"]) if summary is not None else None
    deaths = sorted([*read_deaths(directory / FOLDER), *read_deaths(directory)], key=lambda death: death.at)
    last = written_at or max(each.closed_at or each.opened_at for each in incidents)
    ends = [each.opened_at for each in incidents if each.code in TERMINAL]
    ends += [death.at for death in deaths if death.kind in ("driver", "gcs")]
    moments = [_moment(each) for each in incidents]
    links = [link for each in incidents for link in _links(each, min([*ends, last]))]
    links += death_links(moments, deaths)
    links.sort(key=lambda link: link.at)
    facts = tuple(f"{key}: {value}" for key, value in (summary or {}).items() if isinstance(value, str | int | float))
    note = f"There is no recording; the last file is of {clock(last)}."
    return post_mortem(directory.name, state, last, links, (note, *facts[:MOST_FACTS]))


def _summary(path: Path) -> tuple[Mapping[str, Any] | None, float]:
    """Return the summary and when it was written; None for a file that is none."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return (summary, path.stat().st_mtime) if isinstance(summary["state"], str) else (None, 0.0)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, 0.0


def _links(incident: Incident, ended_at: float) -> Iterator[Link]:
    """Yield the findings of an incident that was not over when the run ended."""
    if incident.closed_at is not None and incident.closed_at < ended_at - GAP_SECONDS:
        return
    if incident.code in CAUSES or incident.data.get("severity") == "critical":
        known = not incident.hang or " hangs in `" in incident.sentence
        sentence = incident.sentence if known else f"{incident.sentence} {incident.hang}"
        yield Link(incident.opened_at, incident.code, sentence, incident.worker, node=_node(incident))
    for each in incident.data.get("followed_by") or ():
        if each["code"] in (*CAUSES, *TERMINAL) and each["at"] is not None:
            yield Link(each["at"], each["code"], each["sentence"], each["worker"])
    for finding in incident.data.get("findings") or ():
        if finding.get("code") in SHORTAGES and finding["code"] != incident.code:
            yield Link(incident.opened_at, finding["code"], finding["sentence"])


def _node(incident: Incident) -> str:
    view = incident.data.get("view") or {}
    return _text(view.get("driver_node")) if incident.code in TERMINAL else ""


def _moment(incident: Incident) -> Moment:
    """Return what an incident holds of the view of its run: its processes and nodes."""
    view = incident.data.get("view") or {}
    workers = tuple(
        WorkerView(each["worker"], pid=each["pid"], node=each["node"], steps_per_second=each["steps_per_second"])
        for each in view.get("workers") or ()
        if each["pid"]
    )
    nodes = tuple(
        NodeView("", each["address"], 0.0, **{name: each[name] for name in _NODE_FIGURES})
        for each in view.get("nodes") or ()
    )
    pid = view.get("driver_pid")
    driver = pid if type(pid) is int else None
    run = RunView(
        incident.run, workers=workers, nodes=nodes, driver_pid=driver, driver_node=_text(view.get("driver_node"))
    )
    finding = Finding(incident.code, "unknown", incident.sentence, worker=incident.worker)
    return Moment(incident.opened_at, run, RunVerdict((finding,)))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

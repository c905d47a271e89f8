"""The report of an incident: one HTML file in the style of the status page, without requests to any network."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from raymon.format import UNKNOWN, count, duration, moment, share, size
from raymon.html.chart import sparkline
from raymon.html.markup import Child, Html, join, tag, with_code
from raymon.html.parts import document, panel, table, verdict_box
from raymon.html.words import headline
from raymon.incident.store import LARGE_PARTS, MOST_BYTES

Data = Mapping[str, Any]
MOST_ROWS: Final = 100
_STYLE: Final = (
    ":root{color-scheme:light dark}body{margin:0;background:light-dark(#f5f4f0,#0f1215)}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px;max-height:24em;overflow:auto}"
    ".page td .spark{width:240px}.page .hang{font-size:1.1rem;margin-top:.6em;max-width:80ch}"
)
_STATES: Final = {
    "python": "no progress",
    "native": "in native code",
    "stopped": "stopped by a signal",
    "disk": "waits for a device",
    "gone": "gone",
}
"""States of `raymon.incident.processes` in words."""
SOURCES: Final = {"lost": "The driver", "ended": "Ray", "failed": "Its last failed rollout"}
"""Who reports an end or error of `raymon.incident.ended_processes`, by its kind."""
_NODE_TITLES: Final = ("Node", "State", "CPU", "Memory", "Disk")


def bounded_report(data: Data) -> str:
    """Return the report of an incident in `MOST_BYTES` at most, without its largest parts where it has more."""
    text = report(data)
    for part in LARGE_PARTS:
        if len(text.encode()) <= MOST_BYTES:
            break
        data = {**data, part: {"note": f"left out: the report has more than {MOST_BYTES} bytes"}}
        text = report(data)
    return text


def report(data: Data) -> str:
    """Return the report of an incident as one HTML document; `data` is what `incident.json` holds."""
    body = tag(
        "div",
        _top(data),
        _verdict(data),
        _followed(data),
        _stacks(_part(data, "stacks")),
        _workers(data),
        _deaths(data),
        _nodes(data),
        _cluster(_part(data, "cluster")),
        _series(_part(data, "series")),
        _logs(_part(data, "logs")),
        _pairs("This machine", _part(data, "machine")),
        _pairs("Versions", _part(data, "versions")),
        class_="page",
    )
    title = f"{headline(str(data.get('code', 'unknown')))} · incident of {data.get('run', '')} · raymon"
    return document(title, body, _STYLE)


def _part(data: Data, name: str) -> Data:
    part = data.get(name)
    return part if isinstance(part, Mapping) else {}


def _top(data: Data) -> Html:
    opened, closed = data.get("opened_at"), data.get("closed_at")
    lasted = f"lasted {duration(closed - opened)}" if closed and opened else "not over when this was written"
    return tag(
        "header",
        tag("span", tag("b", "raymon incident"), class_="brand"),
        tag("span", str(data.get("run", "")), class_="run"),
        tag("span", moment(opened), tag("small", lasted), class_="about"),
        class_="top",
    )


def _verdict(data: Data) -> Html:
    code, severity = str(data.get("code", "unknown")), str(data.get("severity", "unknown"))
    others = [
        tag("li", tag("span", with_code(str(finding.get("sentence", "")))))
        for finding in data.get("findings", ())
        if isinstance(finding, Mapping) and finding.get("sentence") != data.get("sentence")
    ]
    hang = str(_part(data, "hang").get("sentence", ""))
    where = tag("p", with_code(hang), class_="hang") if hang else None
    return verdict_box(code, severity, str(data.get("sentence", "")), str(data.get("advice") or ""), others, where)


def _followed(data: Data) -> Html | None:
    rows = [
        (moment(finding.get("at")), headline(str(finding.get("code"))), with_code(str(finding.get("sentence"))))
        for finding in data.get("followed_by", ())
    ]
    return panel("What followed", "", _table(("At", "Finding", ""), rows)) if rows else None


def _stacks(stacks: Data) -> Html | None:
    if not stacks:
        return None
    rows: list[Child] = [tag("p", with_code(str(stacks.get("sentence") or stacks.get("note", ""))))]
    if standing := _standing(_part(stacks, "processes")):
        rows.append(standing)
    for group in stacks.get("groups", ()):
        frames = "\n".join(str(frame) for frame in group["frames"])
        rows.append(join(tag("h3", ", ".join(group["processes"][:12])), tag("pre", frames)))
    for name, label in (
        ("idle", "Idle, waiting for their next call:"),
        ("unreadable", "No stack could be read of"),
        ("elsewhere", "No stacks came from the nodes"),
    ):
        if stacks.get(name):
            rows.append(tag("p", f"{label} {', '.join(map(str, stacks[name][:20]))}", class_="soft"))
    return panel("Stacks", "processes with like stacks are grouped; innermost frame first", *rows)


def _standing(processes: Data) -> Html | None:
    """Return the table of what each process is doing; nothing if no process is stuck."""
    rows = [
        (
            str(name),
            _STATES.get(str(each.get("state")), ""),
            str(each.get("where", UNKNOWN)),
            ", ".join(map(str, each.get("waits_for", ()))),
        )
        for name, each in processes.items()
        if isinstance(each, Mapping) and each.get("state", "none") != "none"
    ]
    return _table(("Process", "State", "Stands in", "Waits for"), rows) if rows else None


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    more = tag("p", f"{len(rows) - MOST_ROWS} more", class_="soft") if len(rows) > MOST_ROWS else None
    return join(table(titles, rows[:MOST_ROWS]), more)


def _workers(data: Data) -> Html | None:
    workers = _part(data, "view").get("workers") or ()
    rows = [
        (
            str(worker.get("worker")),
            str(worker.get("activity") or UNKNOWN),
            count(worker.get("steps_per_second")),
            duration(worker.get("progress_age_seconds")),
            duration(worker.get("heartbeat_age_seconds")),
            size(worker.get("rss_bytes")),
            str(worker.get("node") or UNKNOWN),
            str(worker.get("pid") or UNKNOWN),
        )
        for worker in workers
        if isinstance(worker, Mapping)
    ]
    titles = ("Worker", "Activity", "Steps/s", "Last progress", "Last heartbeat", "Memory", "Node", "Pid")
    return panel("Workers", "when the incident opened", _table(titles, rows)) if rows else None


def _deaths(data: Data) -> Html | None:
    rows = [
        (
            str(each.get("worker")),
            moment(each["at"]) if each.get("at") else UNKNOWN,
            with_code(f"{SOURCES.get(str(each.get('kind')), '')}: {each.get('sentence')}"),
            " ← ".join(each.get("frames") or ()),
        )
        for each in data.get("deaths", ())
    ]
    return panel("Ends and errors", "", _table(("Worker", "At", "", "Frames"), rows)) if rows else None


def _nodes(data: Data) -> Html | None:
    rows = []
    for node in _part(data, "view").get("nodes") or ():
        memory, disk = node.get("memory_total_bytes"), node.get("disk_free_bytes")
        used, filled = node.get("memory_used_bytes") or 0.0, node.get("disk_used_bytes") or 0.0
        silent = node.get("silent_seconds")
        rows.append(
            (
                str(node.get("address") or UNKNOWN),
                "never answered" if silent is None else f"silent for {duration(silent)}" if silent else "answers",
                share(node.get("cpu_ratio")),
                f"{share(used / memory)} of {size(memory)}" if memory else UNKNOWN,
                f"{share(filled / (filled + disk))} full, {size(disk)} free"
                if filled and disk is not None
                else UNKNOWN,
            )
        )
    return panel("Nodes", "when the incident opened", _table(_NODE_TITLES, rows)) if rows else None


def _cluster(cluster: Data) -> Html | None:
    if not cluster:
        return None
    if "note" in cluster:
        return panel("What Ray says", "", tag("p", str(cluster["note"]), class_="soft"))
    dead = [actor for actor in cluster.get("actors", ()) if actor.get("state") != "ALIVE"]
    rows = [_texts(actor, "class", "pid", "node", "state", "restarts", "cause") for actor in dead]
    ended = [
        (*_texts(worker, "kind", "pid", "node"), moment(worker.get("ended_at")), *_texts(worker, "exit"))
        for worker in cluster.get("ended_workers", ())
    ]
    lost = [_texts(node, "address", "cause") for node in cluster.get("nodes", ()) if not node.get("alive")]
    parts: list[Child] = []
    for title, titles, cells in (
        ("Actors that are not alive", ("Class", "Pid", "Node", "State", "Restarts", "Cause"), rows),
        ("Processes that ended", ("Kind", "Pid", "Node", "Ended", "Exit"), ended),
        ("Nodes that are gone", ("Address", "Cause"), lost),
    ):
        if cells:
            parts.append(join(tag("h3", title), _table(titles, cells)))
    return panel("What Ray says", "", *(parts or [tag("p", "Every actor and node is alive.", class_="soft")]))


def _texts(entry: Data, *keys: str) -> tuple[str, ...]:
    return tuple(str(entry.get(key, "")) for key in keys)


def _series(series: Data) -> Html | None:
    values = _part(series, "values")
    rows = []
    for name in sorted(values):
        known = [value for value in values[name] if isinstance(value, (int, float))]
        if any(known):
            line = sparkline(np.array(values[name], float), from_zero=False)
            rows.append((name.replace("_", " "), line, _figure(name, known[-1])))
    drawn = table(("Figure", "Last minute", "Last value"), rows)
    return panel("The last minute", "figures that are not 0", drawn) if rows else None


def _figure(name: str, value: float) -> str:
    """Return a value in the unit that its name ends in."""
    if "bytes" in name:
        return size(value) + ("/s" if name.endswith("per_second") else "")
    if name.startswith("phase_"):
        return share(value)
    return duration(value) if name.endswith("seconds") else count(value)


def _logs(logs: Data) -> Html | None:
    parts = [join(tag("h3", str(name)), tag("pre", *_lines(str(text)))) for name, text in logs.items()]
    return panel("Ends of the logs", "", *parts) if parts else None


def _lines(text: str) -> list[Html]:
    """Return the lines one by one, since a child longer than a sentence is cut."""
    return [join(line, "\n") for line in text.splitlines()]


def _pairs(title: str, pairs: Data) -> Html | None:
    rows = [(str(name).replace("_", " "), str(value)) for name, value in pairs.items()]
    return panel(title, "", _table(("", ""), rows)) if rows else None

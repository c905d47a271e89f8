"""`raymon incidents`: list the incidents of the runs, or print one.

Exit codes: 0 printed, 1 there is none, 2 wrong use.
"""

import argparse
import json
import sys
from pathlib import Path

from raymon.catalog import DRIVER
from raymon.format import duration, moment, one_line
from raymon.html.words import headline
from raymon.incident.report import SOURCES
from raymon.incident.store import DATA, REPORT, Incident, IncidentStore, load


def build_parser() -> argparse.ArgumentParser:
    """Return the options of `raymon incidents`."""
    parser = argparse.ArgumentParser(
        prog="raymon incidents",
        description="List the incidents that `raymon watch`, `raymon status` or `raymon top` collected, or print one.",
        epilog="Exit codes: 0 printed, 1 there is no incident, 2 wrong use.",
    )
    parser.add_argument("folder", nargs="?", type=Path, help="folder of one incident: print what it holds")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="directory of the runs")
    parser.add_argument("--run", default="", help="list the incidents of this run only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main(arguments: list[str]) -> int:
    """Run `raymon incidents`; the module lists the exit codes."""
    args = build_parser().parse_args(arguments)
    if args.folder is not None:
        incident = load(args.folder)
        print(json.dumps(incident.data, indent=1) if args.json else printable_text(incident))
        return 0
    incidents = IncidentStore(args.root).list(args.run or None)
    if args.json:
        print(json.dumps([summary(incident) for incident in incidents], indent=1))
    elif not incidents:
        print(f"no incident below {args.root}", file=sys.stderr)
    else:
        for incident in incidents:
            lasted = "open" if incident.closed_at is None else duration(incident.closed_at - incident.opened_at)
            about = f"{moment(incident.opened_at)}  {incident.run}  {headline(incident.code)} ({lasted})"
            print(one_line(f"{about}: {incident.sentence}"))
            if incident.hang:
                print(f"    {one_line(incident.hang)}")
            print(f"    {incident.folder}")
    return 0 if incidents else 1


def summary(incident: Incident) -> dict[str, object]:
    """Return what a list shows of an incident, as JSON data."""
    return {
        "folder": str(incident.folder),
        "run": incident.run,
        "code": incident.code,
        "worker": incident.worker,
        "sentence": incident.sentence,
        "hang": incident.hang,
        "opened_at": incident.opened_at,
        "closed_at": incident.closed_at,
    }


def printable_text(incident: Incident) -> str:
    """Return an incident as text for the terminal: what happened, the groups of stacks, what Ray says."""
    lines = [f"{moment(incident.opened_at)}  {incident.run}  {headline(incident.code)}", incident.sentence]
    if incident.hang:
        lines.append(incident.hang)
    if advice := incident.data.get("advice"):
        lines.append(f"What to do: {advice}")
    followed = incident.data.get("followed_by") or ()
    lines += [f"Then, at {moment(finding['at'])}: {finding['sentence']}" for finding in followed]
    stacks = incident.data.get("stacks") or {}
    lines += ["", f"Stacks: {stacks.get('sentence') or stacks.get('note', 'none')}"]
    for group in stacks.get("groups", ()):
        lines += [f"  {', '.join(group['processes'])}", *(f"      {frame}" for frame in group["frames"][:12])]
    cluster = incident.data.get("cluster") or {}
    for actor in cluster.get("actors", ()):
        if actor["state"] != "ALIVE":
            lines.append(f"Actor {actor['class']} (pid {actor['pid']}) is {actor['state'].lower()}: {actor['cause']}")
    for each in incident.data.get("deaths") or ():
        name = "Driver" if each["worker"] == DRIVER else f"Worker {each['worker']}"
        lines.append(f"{name}: {SOURCES.get(each['kind'], 'Ray')}: {each['sentence']}")
        lines += [f"      {frame}" for frame in each["frames"]]
    lines += ["", f"Everything: {incident.folder / DATA}", f"Report:     {incident.folder / REPORT}"]
    return "\n".join(line[: len(line) - len(line.lstrip(" "))] + one_line(line) for line in lines)

"""`raymon postmortem DIR`: name the first cause of a run's end from its recording, or from its directory alone.

Exit codes: 0 the run finished or its user stopped it, 1 it failed or died, 2 nothing can be said.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from raymon.errors import UserError
from raymon.format import one_line
from raymon.html.words import headline
from raymon.incident.causes import DEATHS, LOOK_BACK_SECONDS, PostMortem, analyse
from raymon.incident.death_links import Moment, clock
from raymon.incident.deaths import read_deaths
from raymon.incident.recording_format import RecordingError
from raymon.incident.recording_reader import Recording
from raymon.incident.replay import snapshots
from raymon.incident.run_directory import from_directory
from raymon.incident.store import IncidentStore, folder_name

HANGS: Final = ("worker_stalled", "no_progress", "driver_gone")
EXIT_CODES: Final = {"finished": 0, "stopped": 0, "failed": 1}
NEAR_SECONDS: Final = 20.0


class PostMortemError(UserError):
    """A directory from which nothing can be said."""


def build_parser() -> argparse.ArgumentParser:
    """Return the options of `raymon postmortem`."""
    parser = argparse.ArgumentParser(
        prog="raymon postmortem",
        description="Name the first cause of a run's end, what followed, and the evidence. Needs no cluster.",
        epilog="Exit codes: 0 the run finished or its user stopped it, 1 it failed or died (the first cause is named "
        "where it is known), 2 nothing can be said.",
    )
    parser.add_argument("directory", type=Path, help="a run's directory or a recording")
    parser.add_argument(
        "--run",
        default="",
        help="the run, if the recording holds several; by default that of the directory, else the newest",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main(arguments: list[str]) -> int:
    """Run `raymon postmortem`; the module lists the exit codes."""
    args = build_parser().parse_args(arguments)
    result = postmortem(args.directory, args.run)
    if args.json:
        print(json.dumps(asdict(result), indent=1))
    else:
        print(text(result, args.directory))
    return EXIT_CODES.get(result.outcome, 2)


def postmortem(directory: Path, run: str = "") -> PostMortem:
    """Return the post-mortem of the run in a directory.

    Raises:
        PostMortemError: If the directory holds neither a recording nor the summary or an incident of a run.
    """
    try:
        recording = Recording(directory)
    except RecordingError as error:
        result = from_directory(directory)
        if result is None:
            raise PostMortemError(f"{error}; there is no summary.json of a run and no incident either") from None
        return result
    folder = recording.directory.parent.name
    moments: list[Moment] = []
    of_folder: list[Moment] = []
    for snapshot in snapshots(recording, recording.last() - LOOK_BACK_SECONDS):
        for number, view in enumerate(snapshot.runs):
            moment = Moment(snapshot.taken_at, view, snapshot.verdicts[view.run])
            if view.run == run or (not run and number == 0):
                moments.append(moment)
            if not run and folder_name(view.run) == folder:
                of_folder.append(moment)
    moments = of_folder or moments  # a recording in a run's directory may hold other runs of the cluster
    if not moments:
        names = f" named {run!r}" if run else ""
        raise PostMortemError(
            f"the recording in {directory} shows no run{names}; see `raymon top --recording {directory}`"
        )
    name = moments[-1].view.run
    own = [moment for moment in moments if moment.view.run == name]
    return _with_hang(analyse(own, read_deaths(recording.directory)), recording.directory.parent)


def _with_hang(result: PostMortem, directory: Path) -> PostMortem:
    """Add to a first cause that is a standstill which process hung, and where, from the incident next to it."""
    first = result.first
    if first is None or first.code not in HANGS:
        return result
    incidents = IncidentStore(directory.parent).list(directory.name)
    near = [each for each in incidents if each.hang and abs(each.opened_at - first.at) <= NEAR_SECONDS]
    if not near or " hangs in `" in first.sentence:
        return result
    cause = replace(first, sentence=f"{first.sentence} {near[-1].hang}")
    return replace(result, first=cause, chain=tuple(cause if link is first else link for link in result.chain))


def text(result: PostMortem, directory: Path) -> str:
    """Return the post-mortem for the terminal."""
    if result.first is not None:
        opening = result.first.sentence
        if result.first.code not in DEATHS:
            opening = f"{headline(result.first.code)} since {clock(result.first.at)}: {opening}"
    elif result.outcome == "unknown":
        opening = f"No cause is known: the last record is of {clock(result.ended_at)}, and nothing was wrong by then."
    else:
        ended = "was stopped by its user" if result.outcome == "stopped" else result.outcome
        opening = f"The run {ended} at {clock(result.ended_at)}."
        opening += " Nothing says why." if result.outcome == "failed" else ""
    lines = [f"{result.run}: {opening}"]
    if len(result.chain) > 1:
        lines += ["", "What followed:", *(f"  {clock(link.at)}  {link.sentence}" for link in result.chain[1:20])]
    lines += ["", "Evidence:", *(f"  {fact}" for fact in result.evidence)]
    lines += [f"  {incident.folder}" for incident in IncidentStore(directory.parent).list(directory.name)[:10]]
    return "\n".join(one_line(line) if not line.startswith("  ") else "  " + one_line(line) for line in lines)

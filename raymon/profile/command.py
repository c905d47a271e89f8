"""`raymon profile`: profile a live run for a few seconds, print the result and write a report.

Exit codes: 0 profiled, 1 profiled in part, 2 nothing could be profiled or wrong use.
"""

import argparse
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from raymon.catalog import DRIVER
from raymon.errors import UserError
from raymon.format import duration
from raymon.live import targets
from raymon.live.collector import Collector
from raymon.live.snapshot import Snapshot
from raymon.profile import result as results
from raymon.profile import timeline
from raymon.profile.gathering import combine, gather_all
from raymon.profile.node import Gathered
from raymon.profile.printing import print_result
from raymon.profile.report import report
from raymon.profile.result import ProfileResult
from raymon.views import RunView

WARM_UP_SECONDS: Final = 4.0
"""The collector watches that long before workers are chosen: rates need a few exports."""
FIND_SECONDS: Final = 12.0
MOST_SAMPLED: Final = 16
MOST_RATE: Final = 200
"""py-spy slows the process down above this: 1,000 samples a second cost a quarter of its speed."""


def build_parser() -> argparse.ArgumentParser:
    """Return the options of `raymon profile`."""
    parser = argparse.ArgumentParser(
        prog="raymon profile",
        description="Profile a live run for a few seconds: flame graphs of the driver, the slowest worker and a "
        "typical one, the functions in which the slow worker spends more time, a timeline of all phases. "
        "Writes report.html, timeline.json (for ui.perfetto.dev) and the stacks (for speedscope.app).",
        epilog="Exit codes: 0 profiled, 1 profiled in part, 2 nothing could be profiled.",
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="duration of the profile; 10 by default")
    parser.add_argument(
        "--worker",
        action="append",
        default=[],
        metavar="N",
        help="sample the stacks of this worker; repeat for several; also `driver` or `all`",
    )
    parser.add_argument("--rate", type=int, default=100, help=f"samples per second and process, at most {MOST_RATE}")
    parser.add_argument("--output", default="", metavar="DIR", help="output folder; by default in the run's directory")
    parser.add_argument("--run", default="", help="name of the run; by default the newest live one")
    parser.add_argument(
        "--address",
        default="",
        metavar="HOST:PORT",
        help="the Ray cluster, needed for workers on other nodes; by default the cluster of this node",
    )
    targets.add_options(parser)
    return parser


def main(arguments: list[str]) -> int:
    """Run `raymon profile`; the module lists the exit codes."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    if not 1.0 <= args.seconds <= 300.0:
        parser.error(f"--seconds: found {args.seconds:g}, expected 1 to 300")
    if not 1 <= args.rate <= MOST_RATE:
        parser.error(f"--rate: found {args.rate}, expected 1 to {MOST_RATE}")
    collector = Collector(targets.of_options(parser, args))
    collector.start()
    try:
        return _profile(collector, args)
    finally:
        collector.stop()


class ProfileError(UserError):
    """Nothing can be profiled."""


def _profile(collector: Collector, args: argparse.Namespace) -> int:
    run = _live_run(collector, args.run)
    sampled = _sampled(collector.snapshot(), run, args.worker)
    folder = _folder(args.output, run.run)
    print(
        f"profiling {run.run} for {duration(args.seconds)}: phases of all, stacks of {', '.join(sampled)}", flush=True
    )
    gathered, notes = gather_all(collector.snapshot(), run, sampled, args.seconds, args.rate, args.address)
    result = combine(collector.snapshot(), run, gathered, args.seconds, notes)
    _write(folder, result, gathered, run)
    print_result(result, folder)
    if not result.tracks and not any(process.stacks for process in result.processes):
        return 2
    return 1 if result.notes or any(process.problem for process in result.processes) else 0


def _live_run(collector: Collector, name: str) -> RunView:
    """Wait until a live run has been watched for `WARM_UP_SECONDS`, and return it."""
    begun = time.monotonic()
    while True:
        snapshot = collector.snapshot()
        run = snapshot.run(name or None)
        spent = time.monotonic() - begun
        if run is not None and not run.ended and run.processes() and spent >= WARM_UP_SECONDS:
            return run
        if spent >= FIND_SECONDS or (spent >= WARM_UP_SECONDS and snapshot.problem):
            if run is not None:
                raise ProfileError(f"run {run.run!r} has ended ({run.state}); only a live run can be profiled")
            if name and snapshot.runs:
                there = ", ".join(view.run for view in snapshot.runs[:8])
                raise ProfileError(f"there is no run {name!r}; there are {there}")
            raise ProfileError(snapshot.problem or "no run was found; start one, or name its node with --metrics-url")
        time.sleep(0.1)


def _sampled(snapshot: Snapshot, run: RunView, requested: Sequence[str]) -> list[str]:
    """Return the processes to sample: the requested ones, else the driver and the most informative workers."""
    known = run.processes()
    if "all" in requested:
        names = list(known)
    elif requested:
        names = [DRIVER if one == DRIVER else f"worker {one}" for one in requested]
    else:
        workers = results.chosen_workers(run, snapshot.verdicts[run.run])
        names = [name for name in (DRIVER, *(f"worker {worker}" for worker in workers)) if name in known]
    if missing := [name for name in names if name not in known]:
        there = ", ".join(name.removeprefix("worker ") for name in known)
        raise ProfileError(f"run {run.run!r} has no {missing[0]}; it has {there}")
    return list(dict.fromkeys(names))[:MOST_SAMPLED]


def _folder(output: str, run: str) -> Path:
    """Create the output folder: `output`, else one in the run's directory, else one in the current folder."""
    name = f"profile-{time.strftime('%Y%m%d-%H%M%S')}"
    plain = re.sub(r"[^\w.-]+", "-", run).lstrip(".") or "run"
    run_directory = Path("runs") / plain
    folder = (
        Path(output) if output else run_directory / name if run_directory.is_dir() else Path(f"raymon-{plain}-{name}")
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProfileError(f"cannot write to {folder}: {error.strerror}; name another folder with --output") from error
    if not os.access(folder, os.W_OK):
        raise ProfileError(f"cannot write to {folder}; name another folder with --output")
    return folder


def _write(folder: Path, result: ProfileResult, gathered: Mapping[str, Gathered], run: RunView) -> None:
    (folder / "report.html").write_text(report(result), encoding="utf-8")
    (folder / "timeline.json").write_text(json.dumps(timeline.chrome(result.tracks)), encoding="utf-8")
    for name, (node, pid) in run.processes().items():
        if node in gathered and (text := gathered[node].stacks.get(pid)):
            (folder / f"stacks-{name.replace(' ', '-')}.txt").write_text(text, encoding="utf-8")

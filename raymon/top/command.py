"""`raymon top`: the status page in a terminal; `--once` for scripts, `--once --json` for other tools.

Exit codes of `--once`: 0 nothing is wrong, 1 something needs attention, 2 no answer is possible.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from raymon.health import RunVerdict
from raymon.incident.incident_thread import BackgroundWatch
from raymon.incident.recording_writer import RecordingWriter
from raymon.incident.replay import Replay, moment_of
from raymon.live import targets
from raymon.live.allocator import limit_arenas
from raymon.live.collector import Collector
from raymon.live.snapshot import Snapshot
from raymon.top.json_output import no_run, report
from raymon.top.screen import screen

WATCH_SECONDS: Final = 7.0
"""How long `--once` watches: rates need two flushes, and a state is reported once it has lasted for three seconds."""
FIND_SECONDS: Final = 3.0
"""`--once` gives up sooner where no endpoint answers."""
REDRAW_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.1
PIPE_COLUMNS: Final = 160
EXIT_CODES: Final = {"ok": 0, "info": 0, "warning": 1, "critical": 1, "unknown": 2}
"""Severity of the verdict to exit code of `--once`."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options of `raymon top`."""
    parser = argparse.ArgumentParser(
        prog="raymon top",
        description="Show in the terminal which workers are in trouble, why, and what to do. Reads the metrics "
        "endpoints of the nodes, joins no cluster and changes nothing. Without options it finds the newest Ray session "
        "on this machine and stays in it while a run is live.",
        epilog="Exit codes of --once: 0 nothing is wrong, 1 something needs attention, 2 no answer is possible.",
    )
    parser.add_argument("--once", action="store_true", help="watch for some seconds, print, exit with 0, 1 or 2")
    parser.add_argument("--json", action="store_true", help="with --once: print the verdicts as one JSON object")
    parser.add_argument("--seconds", type=float, default=WATCH_SECONDS, help="how long --once watches")
    parser.add_argument("--run", default="", help="the run to show; the newest live one by default")
    targets.add_options(parser)
    parser.add_argument("--prometheus-url", default="", metavar="URL", help="Prometheus, for firing alerts")
    parser.add_argument("--record", default="", metavar="DIR", help="record what is seen, to be shown again later")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="directory of the runs, for their incidents")
    parser.add_argument("--recording", default="", metavar="DIR", help="print a moment of a recording, or of a run's")
    parser.add_argument(
        "--at", default="", metavar="TIME", help="with --recording: 14:02:11, 2026-11-28T14:02:11, +90 or -90 seconds"
    )
    return parser


def main(arguments: list[str]) -> int:
    """Run `raymon top`; see the module for the exit codes."""
    options = parser()
    args = options.parse_args(arguments)
    if args.json and not (args.once or args.recording):
        options.error("--json needs --once or --recording")
    if args.at and not args.recording:
        options.error("--at needs --recording")
    if args.recording:
        replay = Replay(Path(args.recording))
        moment = moment_of(args.at, replay.first, replay.last())
        return _print_once(replay.at(moment), args.run, as_json=args.json)
    endpoints = targets.of_options(options, args)
    limit_arenas()
    recorder = RecordingWriter(Path(args.record)) if args.record else None
    collector = Collector(
        endpoints, prometheus_url=args.prometheus_url, on_round=recorder.add if recorder is not None else None
    )
    incidents = BackgroundWatch(collector.latest, args.runs, dashboard_url=args.dashboard_url)
    collector.start()
    try:
        if args.once or not sys.stdout.isatty():
            return _print_once(watch(collector, args.seconds), args.run, as_json=args.json)
        incidents.start()
        return _redraw(collector, args.run)
    except KeyboardInterrupt:
        return 0
    finally:
        collector.stop()
        incidents.close()
        if recorder is not None:
            recorder.close()


def watch(collector: Collector, seconds: float, clock: Callable[[], float] = time.monotonic) -> Snapshot:
    """Let the collector run for some seconds, counted from its first sight of a run, and return its last snapshot."""
    begin, sighted = clock(), False
    while True:
        snapshot = collector.snapshot()
        if snapshot.runs and not sighted:  # on a full node, the first page alone takes seconds
            begin, sighted = clock(), True
        elapsed = clock() - begin
        nothing = snapshot.rounds > 1 and not snapshot.runs
        if elapsed >= seconds or (nothing and elapsed >= min(seconds, FIND_SECONDS)):
            return snapshot
        time.sleep(POLL_SECONDS)


def exit_code(verdict: RunVerdict | None) -> int:
    """Return 0, 1 or 2 for a verdict; 2 without one."""
    return 2 if verdict is None else EXIT_CODES[verdict.severity]


def _print_once(snapshot: Snapshot, name: str, *, as_json: bool) -> int:
    from rich.console import Console

    view = snapshot.run(name or None)
    if as_json:
        print(json.dumps(report(snapshot, name), allow_nan=False))
    else:
        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_COLUMNS
        console = Console(highlight=False, emoji=False, width=width)
        console.print(screen(snapshot, view, no_run(snapshot, name), rows=None))
    return exit_code(snapshot.verdicts.get(view.run) if view else None)


def _redraw(collector: Collector, name: str) -> int:
    """Draw each new snapshot, and the last one again each second while no new one comes: its ages grow."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, emoji=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        rounds, drawn_at = -1, 0.0
        while True:
            snapshot = collector.snapshot()
            if snapshot.rounds != rounds or time.monotonic() - drawn_at >= REDRAW_SECONDS:
                rounds, drawn_at = snapshot.rounds, time.monotonic()
                view = snapshot.run(name or None)
                picture = screen(snapshot, view, no_run(snapshot, name), rows=console.size.height)
                live.update(picture, refresh=True)
            time.sleep(POLL_SECONDS)

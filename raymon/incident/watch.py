"""`raymon watch`: watch one run without a screen, for a tmux pane, systemd or a pod.

Prints a line when the verdict changes, collects incidents, records the run and sends notifications. It only reads: the
training is never slowed, changed or joined as a driver.

Exit codes: 0 the run finished or the watch was stopped, 1 the run failed or its driver is gone, 2 wrong use.
"""

import argparse
import functools
import logging
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Final

from raymon.format import one_line
from raymon.html.words import headline
from raymon.incident import FOLDER
from raymon.incident.events import WatchEvent
from raymon.incident.evidence import Evidence
from raymon.incident.journal import Journal
from raymon.incident.notify import Notifier, command, receiver
from raymon.incident.store import IncidentStore
from raymon.incident.watcher import Watcher
from raymon.live import targets
from raymon.live.allocator import limit_arenas
from raymon.live.collector import Collector
from raymon.live.snapshot import Snapshot

GONE_SECONDS: Final = 60.0
"""A run whose driver has been silent for this long has ended for `--until-end`."""
KILLED_SECONDS: Final = 15.0
"""The same for a driver whose process on this machine is known to be gone; one that is started again comes sooner."""


def build_parser() -> argparse.ArgumentParser:
    """Return the options of `raymon watch`."""
    parser = argparse.ArgumentParser(
        prog="raymon watch",
        description="Watch a run without a screen: print a line when the verdict changes, collect evidence when it "
        "turns critical, send notifications. Reads the nodes' metrics endpoints and changes nothing.",
        epilog="Exit codes: 0 the run finished or the watch was stopped, 1 the run failed or its driver is gone, "
        "2 wrong use.",
    )
    parser.add_argument("--run", default="", help="watch this run only; by default every run")
    parser.add_argument(
        "--root", type=Path, default=Path("runs"), help="directory of the runs; incidents go to ROOT/RUN/incidents"
    )
    parser.add_argument("--record", type=Path, metavar="DIR", help=f"record here; by default in ROOT/RUN/{FOLDER}")
    parser.add_argument("--no-record", action="store_true", help="write no recording")
    parser.add_argument("--until-end", action="store_true", help="exit when the run has ended")
    parser.add_argument(
        "--webhook",
        action="append",
        default=[],
        metavar="URL",
        help="POST each incident as JSON to this URL, or through apprise to a chat service (slack://, discord://, "
        "mmost://, ntfy://); env:NAME or file:PATH keep a secret out of the arguments; repeat for several",
    )
    parser.add_argument(
        "--exec",
        action="append",
        default=[],
        metavar="COMMAND",
        help="run this command with each incident as JSON on its input",
    )
    targets.add_options(parser)
    return parser


def main(arguments: list[str]) -> int:
    """Run `raymon watch`; the module lists the exit codes."""
    limit_arenas()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    parser = build_parser()
    args = parser.parse_args(arguments)
    receivers = [receiver(url) for url in args.webhook] + [command(line) for line in args.exec]
    chosen = targets.of_options(parser, args)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    notifier = Notifier(receivers)
    journal = None if args.no_record else Journal(args.record, args.root, args.run)
    collector = Collector(chosen, on_round=None if journal is None else journal.add)
    on_state, on_death = (None, None) if journal is None else (journal.deaths, journal.death)
    evidence = Evidence(on_state, on_death, dashboard_url=args.dashboard_url)
    watcher = Watcher(IncidentStore(args.root), evidence.collect, functools.partial(_tell, notifier))
    print("watching; press Ctrl-C to stop", flush=True)
    try:
        return _follow(collector, evidence, journal, watcher, args, stop)
    finally:
        watcher.wait()
        notifier.close()
        evidence.close()
        if journal is not None:
            journal.close()


def _follow(
    collector: Collector,
    evidence: Evidence,
    journal: Journal | None,
    watcher: Watcher,
    args: argparse.Namespace,
    stop: threading.Event,
) -> int:
    """Collect once a second until the watch is stopped or the run has ended; return the exit code."""
    seen, seen_at = False, time.monotonic()
    while not stop.is_set():
        began = time.monotonic()
        snapshot = collector.collect()
        evidence.follow(snapshot)
        if args.run:
            snapshot = snapshot.only(args.run)
        if journal is not None:
            journal.seen(snapshot)
        watcher.look(snapshot)
        if snapshot.runs:
            seen, seen_at = True, began
        if args.until_end and seen:
            if began - seen_at > GONE_SECONDS:
                return 1
            if not watcher.awaits_reason and (code := ended(snapshot)) is not None:
                return code
        stop.wait(max(0.05, 1.0 - (time.monotonic() - began)))
    return 0


def ended(snapshot: Snapshot) -> int | None:
    """Return the exit code if the first run has ended, else None."""
    if not snapshot.runs:
        return None
    view = snapshot.runs[0]
    if view.state in ("finished", "stopped"):
        return 0
    silent = view.driver_heartbeat_age_seconds
    patience = KILLED_SECONDS if view.driver_process == "gone" else GONE_SECONDS
    return 1 if view.state == "failed" or (silent is not None and silent > patience) else None


def _tell(notifier: Notifier, event: WatchEvent) -> None:
    """Print one line about the event and queue it for the receivers."""
    when = time.strftime("%H:%M:%S", time.localtime(event.at))
    what = {"opened": "incident", "closed": "over"}.get(event.kind, event.severity)
    line = f"{when} {event.run} [{what}] {headline(event.code)}: {event.sentence}"
    if event.kind == "opened":
        line += (f" {event.hang}" if event.hang else "") + (f" Evidence: {event.folder}" if event.folder else "")
    print(one_line(line), flush=True)
    notifier.tell(event)

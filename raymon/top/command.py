"""`raymon top`: the status page in a terminal; `--once` for scripts, `--once --json` for other tools.

Exit codes of `--once`: 0 nothing is wrong, 1 something wants attention, 2 it cannot be told.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from raymon.cluster.auth import use_token_file
from raymon.health import RunVerdict, WorkerVerdict, judged_workers, worst_first
from raymon.live import targets
from raymon.live.collector import Collector
from raymon.live.snapshot import Snapshot
from raymon.top.screen import screen
from raymon.views import RunView, WorkerView

WATCH_SECONDS: Final = 7.0
"""`--once` looks this long: rates need two flushes, and a state is reported when it has lasted for three seconds."""
FIND_SECONDS: Final = 3.0
"""Without any answer `--once` gives up sooner."""
PIPE_COLUMNS: Final = 160
_EXIT: Final = {"ok": 0, "info": 0, "warning": 1, "critical": 1, "unknown": 2}


def parser() -> argparse.ArgumentParser:
    """Return the options of `raymon top`."""
    made = argparse.ArgumentParser(
        prog="raymon top",
        description="Show in the terminal who is in trouble, why, and what to do. Reads the nodes' metrics endpoints, "
        "joins no cluster and changes nothing. Without options it finds the newest Ray session here.",
        epilog="Exit codes of --once: 0 nothing is wrong, 1 something wants attention, 2 it cannot be told.",
    )
    made.add_argument("--once", action="store_true", help="look for some seconds, print, and exit with 0, 1 or 2")
    made.add_argument("--json", action="store_true", help="with --once: print the verdicts as one JSON object")
    made.add_argument("--seconds", type=float, default=WATCH_SECONDS, help="how long --once looks")
    made.add_argument("--run", default="", help="the run to show; otherwise the newest live one")
    targets.add_options(made)
    made.add_argument("--prometheus-url", default="", metavar="URL", help="Prometheus, for firing alerts")
    return made


def main(arguments: list[str]) -> int:
    """Run `raymon top`; see the module for the exit codes."""
    made = parser()
    given = made.parse_args(arguments)
    if given.json and not given.once:
        made.error("--json goes with --once")
    use_token_file(given.token_file, os.environ)
    try:
        chosen = targets.choose(given.metrics_url, given.discovery_file, given.dashboard_url)
    except ValueError as error:
        made.error(str(error))
    collector = Collector(chosen, prometheus_url=given.prometheus_url)
    collector.start()
    try:
        if given.once or not sys.stdout.isatty():
            return _once(watch(collector, given.seconds), given.run, as_json=given.json)
        return _live(collector, given.run)
    except KeyboardInterrupt:
        return 0
    finally:
        collector.stop()


def watch(collector: Collector, seconds: float, clock: Callable[[], float] = time.monotonic) -> Snapshot:
    """Let the collector run for a while and return its last snapshot."""
    begun = clock()
    while True:
        snapshot = collector.snapshot()
        spent = clock() - begun
        if spent >= seconds or (snapshot.rounds > 1 and not snapshot.runs and spent >= min(seconds, FIND_SECONDS)):
            return snapshot
        time.sleep(0.1)


def exit_code(verdict: RunVerdict | None) -> int:
    """Return 0, 1 or 2 for a verdict; 2 without one."""
    return 2 if verdict is None else _EXIT[verdict.severity]


def report(snapshot: Snapshot, name: str = "") -> dict[str, Any]:
    """Return the verdicts as plain data, the same keys whatever is known; None where something is not known."""
    elapsed = snapshot.age_seconds()
    view = snapshot.run(name or None)
    verdict = snapshot.verdicts.get(view.run) if view else None
    if view is None or verdict is None:
        return {
            "run": name or None,
            "verdict": {
                "state": "unknown",
                "severity": "unknown",
                "sentence": _nothing(snapshot, name),
                "advice": "",
                "evidence": [],
                "findings": [],
            },
            "workers": [],
            "data_age_seconds": _rounded(snapshot.data_age_seconds, elapsed),
            "source": snapshot.source,
        }
    return {
        "run": view.run,
        "verdict": {
            "state": verdict.state,
            "severity": verdict.severity,
            "sentence": verdict.sentence,
            "advice": verdict.advice,
            "evidence": list(verdict.evidence),
            "findings": [asdict(finding) for finding in verdict.findings],
        },
        "workers": [_worker(worker, judged, elapsed) for worker, judged in worst_first(judged_workers(view, verdict))],
        "data_age_seconds": _rounded(view.data_age_seconds, elapsed),
        "source": snapshot.source,
    }


def _worker(view: WorkerView, judged: WorkerVerdict, elapsed: float) -> dict[str, Any]:
    return {
        "worker": view.worker,
        "state": judged.state,
        "reason": judged.reason,
        "pid": view.pid,
        "node": view.node,
        "steps_per_second": _rounded(view.steps_per_second),
        "latency_seconds": {name: _rounded(view.latency_seconds.get(name)) for name in ("p50", "p95", "p99")},
        "last_progress_seconds_ago": _rounded(view.progress_age_seconds, elapsed),
        "restarts": sum(view.restarts.values()),
        "rss_bytes": None if view.rss_bytes is None else int(view.rss_bytes),
        "policy_lag": view.policy_lag,
    }


def _rounded(value: float | None, elapsed: float = 0.0) -> float | None:
    return None if value is None else float(f"{value + elapsed:.6g}")


def _nothing(snapshot: Snapshot, name: str) -> str:
    if name and snapshot.runs:
        return f"There is no run {name!r}; there are {', '.join(run.run for run in snapshot.runs[:8])}."
    return snapshot.problem or "No run was seen."


def _once(snapshot: Snapshot, name: str, *, as_json: bool) -> int:
    from rich.console import Console

    view = snapshot.run(name or None)
    verdict = snapshot.verdicts.get(view.run) if view else None
    if as_json:
        print(json.dumps(report(snapshot, name), allow_nan=False))
    else:
        wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_COLUMNS
        Console(highlight=False, emoji=False, width=wide).print(
            screen(snapshot, view, _nothing(snapshot, name), rows=None)
        )
    return exit_code(verdict)


def _live(collector: Collector, name: str) -> int:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, emoji=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        seen = -1
        while True:
            snapshot = collector.snapshot()
            if snapshot.rounds != seen:
                seen = snapshot.rounds
                view: RunView | None = snapshot.run(name or None)
                live.update(screen(snapshot, view, _nothing(snapshot, name), rows=console.size.height), refresh=True)
            time.sleep(0.1)

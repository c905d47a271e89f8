"""`raymon doctor`: check what commonly goes wrong, in order, and print what fixes it."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from raymon.format import printable
from raymon.stack.checks import CHECKS, Check, CheckOptions, CheckResult, Inspection
from raymon.stack.checks.outcome import Outcome, unknown
from raymon.stack.deadline import bounded
from raymon.stack.login import add_login, login_from
from raymon.stack.option_types import seconds, url

_SIGNS: Final = {"ok": "ok", "problem": "PROBLEM", "unknown": "unknown", "absent": "-"}
_LONGEST_LINE: Final = 2000


def build_parser() -> argparse.ArgumentParser:
    """Return the options of `raymon doctor`."""
    parser = argparse.ArgumentParser(
        prog="raymon doctor",
        description="Check what commonly goes wrong, in order; each check prints what it saw and what fixes it. "
        "Exit code: 0 all well, 1 a problem, 2 something could not be determined.",
    )
    add = parser.add_argument
    add(
        "--address",
        default="",
        metavar="HOST:PORT",
        help="cluster to look at (default: RAY_ADDRESS, else this machine's)",
    )
    add(
        "--metrics-url",
        type=url,
        action="append",
        default=[],
        metavar="URL",
        help="metrics endpoint of a node, repeatable",
    )
    add("--dashboard-url", type=url, metavar="URL", help="Ray Dashboard (default: the cluster's own)")
    add("--prometheus-url", type=url, metavar="URL", help="default: RAY_PROMETHEUS_HOST, raymon up's, port 9090")
    add("--grafana-url", type=url, metavar="URL", help="default: RAY_GRAFANA_HOST, raymon up's, port 3000")
    add_login(parser, "grafana-")
    add("--ray-temp-dir", type=Path, metavar="DIR", help="Ray temp dir (default: the cluster's, else /tmp/ray)")
    add("--directory", type=Path, metavar="DIR", help="as given to raymon up")
    add("--timeout", type=seconds, default=3.0, metavar="SECONDS", help="for one request (default: 3)")
    add("--json", action="store_true", help="print a list of objects instead of lines")
    return parser


def examine(options: CheckOptions, checks: Sequence[Check] = CHECKS) -> list[CheckResult]:
    """Run the checks in order, each within its time."""
    inspection = Inspection(options)
    results = []
    for check in checks:
        outcome = _within(check, inspection, limit=10 * options.timeout)
        results.append(CheckResult(check.name, check.question, outcome.state, outcome.evidence, outcome.mend))
    return results


def _within(check: Check, inspection: Inspection, limit: float) -> Outcome:
    try:
        return bounded(lambda: check.ask(inspection), limit)
    except TimeoutError:
        return unknown(f"Not answered within {limit:g} s.", "raymon doctor --timeout 10")
    except Exception as error:  # noqa: BLE001 - a check that fails is one line and the others go on
        return unknown(f"The check itself failed: {type(error).__name__}: {error}")


def exit_code(results: Sequence[CheckResult]) -> int:
    """Return 1 when there is a problem, else 2 when something could not be determined, else 0."""
    states = {result.state for result in results}
    return 1 if "problem" in states else 2 if "unknown" in states else 0


def lines_of(results: Sequence[CheckResult]) -> list[str]:
    """Return the results as lines for a terminal; text from servers and files may hold escape sequences."""
    width = max(len(result.check) for result in results)
    lines = []
    for result in results:
        lines.append(f"{_SIGNS[result.state]:<8} {result.check:<{width}}  {printable(result.evidence, _LONGEST_LINE)}")
        if result.mend:
            lines.append(f"{'':<8} {'':<{width}}  -> {printable(result.mend, _LONGEST_LINE)}")
    counts = {state: sum(result.state == state for result in results) for state in _SIGNS}
    lines.append("")
    lines.append(
        f"{counts['ok']} ok, {counts['problem']} problem(s), {counts['unknown']} could not be determined, "
        f"{counts['absent']} not used here"
    )
    return lines


def main(arguments: list[str]) -> int:
    """Run the command."""
    args = build_parser().parse_args(arguments)
    options = CheckOptions(
        args.address,
        tuple(args.metrics_url),
        args.dashboard_url or "",
        args.prometheus_url or "",
        args.grafana_url or "",
        login_from(args, "grafana_"),
        args.ray_temp_dir,
        args.directory,
        args.timeout,
    )
    results = examine(options)
    if args.json:
        print(json.dumps([dataclasses.asdict(result) for result in results], indent=2))
    else:
        print("\n".join(lines_of(results)))
    return exit_code(results)

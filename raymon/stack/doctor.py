"""`raymon doctor`: check what commonly goes wrong, in order, and say what mends it."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from raymon.stack.bounded import bounded
from raymon.stack.checks import CHECKS, Asked, Check, Result, Situation
from raymon.stack.checks.result import Finding, unknown
from raymon.stack.command_line import seconds, url
from raymon.stack.login import LoginError, add_login, login_from

_SIGNS: Final = {"ok": "ok", "problem": "PROBLEM", "unknown": "unknown", "absent": "-"}


def parser() -> argparse.ArgumentParser:
    """Return the options of `raymon doctor`."""
    found = argparse.ArgumentParser(
        prog="raymon doctor",
        description="Check what commonly goes wrong, in order; each check tells what it saw and what mends it. "
        "Exit code: 0 all well, 1 a problem, 2 something could not be told.",
    )
    add = found.add_argument
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
    add_login(found, "grafana-")
    add("--ray-temp-dir", type=Path, metavar="DIR", help="Ray temp dir (default: the cluster's, else /tmp/ray)")
    add("--directory", type=Path, metavar="DIR", help="as given to raymon up")
    add("--timeout", type=seconds, default=3.0, metavar="SECONDS", help="for one question (default: 3)")
    add("--json", action="store_true", help="print a list of objects instead of lines")
    return found


def examine(asked: Asked, checks: Sequence[Check] = CHECKS) -> list[Result]:
    """Run the checks in order, each within its time."""
    situation = Situation(asked)
    results = []
    for check in checks:
        found = _within(check, situation, limit=10 * asked.timeout)
        results.append(Result(check.name, check.question, found.state, found.evidence, found.mend))
    return results


def _within(check: Check, situation: Situation, limit: float) -> Finding:
    try:
        return bounded(lambda: check.ask(situation), limit)
    except TimeoutError:
        return unknown(f"Not answered within {limit:g} s.", "raymon doctor --timeout 10")
    except Exception as error:  # noqa: BLE001 - a check that fails tells so and the others go on
        return unknown(f"The check itself failed: {type(error).__name__}: {error}")


def exit_code(results: Sequence[Result]) -> int:
    """Return 1 when there is a problem, else 2 when something could not be told, else 0."""
    states = {result.state for result in results}
    return 1 if "problem" in states else 2 if "unknown" in states else 0


def lines_of(results: Sequence[Result]) -> list[str]:
    """Return the results for people."""
    width = max(len(result.check) for result in results)
    lines = []
    for result in results:
        lines.append(f"{_SIGNS[result.state]:<8} {result.check:<{width}}  {result.evidence}")
        if result.mend:
            lines.append(f"{'':<8} {'':<{width}}  -> {result.mend}")
    counts = {state: sum(result.state == state for result in results) for state in _SIGNS}
    lines.append("")
    lines.append(
        f"{counts['ok']} ok, {counts['problem']} problem(s), {counts['unknown']} could not be told, "
        f"{counts['absent']} not used here"
    )
    return lines


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parser()
    given = options.parse_args(arguments)
    try:
        login = login_from(given, "grafana_")
    except LoginError as error:
        options.error(str(error))
    asked = Asked(
        given.address,
        tuple(given.metrics_url),
        given.dashboard_url or "",
        given.prometheus_url or "",
        given.grafana_url or "",
        login,
        given.ray_temp_dir,
        given.directory,
        given.timeout,
    )
    results = examine(asked)
    if given.json:
        print(json.dumps([dataclasses.asdict(result) for result in results], indent=2))
    else:
        print("\n".join(lines_of(results)))
    return exit_code(results)

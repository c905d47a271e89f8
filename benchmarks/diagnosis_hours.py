"""Simulated hours: the verdicts, and the rules of others, on pages that a model of a cluster writes.

python -m benchmarks.diagnosis_hours                              # every scenario, 5 seeds, 10 healthy hours
python -m benchmarks.diagnosis_hours --only hang --report 10
python -m benchmarks.diagnosis_hours --write docs/diagnosis.md
python -m benchmarks.diagnosis_hours --outcomes runs.jsonl        # stopped, it goes on with the runs that are missing
"""

import argparse
import json
import math
import os
import shlex
import statistics
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.diagnosis_rules import NAMES
from benchmarks.diagnosis_score import Outcome, most_false, percentile, play, wilson
from benchmarks.diagnosis_simulated import Simulated, healthy, scenarios
from benchmarks.watched import put_table

NOTHING: Final = "\N{EN DASH}"


class Job(NamedTuple):
    """One run: scenarios hold functions, so a process looks its scenario up by name."""

    name: str
    seed: int
    report_seconds: float
    hours: float


def known(report_seconds: float, hours: float) -> dict[str, Simulated]:
    """Return every scenario by name."""
    return {one.name: one for one in (*scenarios(report_seconds), *healthy(report_seconds, hours))}


def run(job: Job) -> Outcome:
    """Play one run."""
    return play(known(job.report_seconds, job.hours)[job.name], job.seed, job.report_seconds)


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the tables and sentences for the docs."""
    lines: list[str] = []
    for report in sorted({one.report_seconds for one in outcomes}):
        of = [one for one in outcomes if one.report_seconds == report]
        lines += [
            "",
            f"### Exports every {report:g} s",
            "",
            *_faults(of),
            *_cost_score(of),
            *_healthy(of),
            "",
            *_rules(of),
        ]
    return lines


def _faults(outcomes: Sequence[Outcome]) -> list[str]:
    faults = [one for one in outcomes if one.expected]
    lines = [
        "| Scenario | Expected | Right first | Median | Slowest | Said to cost | Costs |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(one.scenario for one in faults):
        runs = [one for one in faults if one.scenario == name]
        right = [one for one in runs if one.right]
        times = [one.after for one in right]
        middle = f"{statistics.median(times):.0f} s" if times else NOTHING
        slowest = f"{max(times):.0f} s" if times else NOTHING
        weak = " (weak)" if runs[0].weak else ""
        wanted = ", ".join(sorted(runs[0].expected))
        score = f"{len(right)} of {len(runs)} | {middle} | {slowest} | {_costs(runs)}"
        lines.append(f"| {name}{weak} | {wanted} | {score} |")
    for title, weak in (("Faults worth acting on", False), ("Weak faults", True)):
        runs = [one for one in faults if one.weak == weak]
        if runs:
            right = [one for one in runs if one.right]
            low, high = wilson(len(right), len(runs))
            times = [one.after for one in right]
            late = sum(not one.in_time for one in right)
            share = f"{len(right)} of {len(runs)} right first ({len(right) / len(runs):.1%}"
            latency = ", ".join(
                f"{name} {percentile(times, ratio):.0f} s"
                for name, ratio in (("median", 0.5), ("95th percentile", 0.95), ("slowest", 1.0))
            )
            score = f"{title}: {share}; Wilson 95 %: {low:.1%} to {high:.1%}); {latency}; {late} later than the bar."
            lines += ["", score]
    return lines


def _costs(runs: Iterable[Outcome]) -> str:
    """Return the median of the stated and of the real costs."""
    known = [one for one in runs if not math.isnan(one.stated_cost)]
    if not known:
        return f"{NOTHING} | {NOTHING}"
    stated = statistics.median(one.stated_cost for one in known)
    return f"{stated:.0%} | {statistics.median(one.real_cost for one in known):.0%}"


def _cost_score(outcomes: Iterable[Outcome]) -> list[str]:
    """Return how many of the stated costs are right."""
    known = [one for one in outcomes if not math.isnan(one.stated_cost)]
    right = sum(one.cost_is_right for one in known)
    worst = sorted({one.scenario for one in known if not one.cost_is_right})
    off = f" Off in: {'; '.join(f'*{name}*' for name in worst)}." if worst else ""
    return ["", f"Stated costs: {right} of {len(known)} within 30 % of the real one.{off}"]


def _healthy(outcomes: Iterable[Outcome]) -> list[str]:
    runs = list(outcomes)
    hours = sum(one.healthy_seconds for one in runs) / 3600.0
    false = [(one.scenario, code) for one in runs for _, code, _ in one.false]
    named = "".join(f" {code} in *{name}*;" for name, code in dict.fromkeys(false))
    bound = most_false(hours, len(false))
    return [
        "",
        f"{len(false)} false alarms in {hours:.1f} simulated healthy hours (95 %: below {bound:.2f} an hour).{named}",
    ]


def _rules(outcomes: Sequence[Outcome]) -> list[str]:
    faults = [one for one in outcomes if one.expected and not one.weak]
    hours = sum(one.healthy_seconds for one in outcomes) / 3600.0
    lines = [
        "| Rule, over the same runs | Alarm after the fault | Median | False alarms an hour |",
        "|---|---|---|---|",
    ]
    times = [one.after for one in faults if one.right]
    false = sum(len(one.false) for one in outcomes)
    lines.append(_rule("raymon (and names the cause)", times, len(faults), false / max(hours, 1e-9)))
    for name in NAMES:
        times = [one.rules[name] for one in faults if one.rules.get(name, -1.0) >= 0.0]
        false = sum(one.rule_alarms.get(name, 0) for one in outcomes)
        lines.append(_rule(name, times, len(faults), false / max(hours, 1e-9)))
    return lines


def _rule(name: str, times: Sequence[float], total: int, false: float) -> str:
    middle = f"{statistics.median(times):.0f} s" if times else NOTHING
    return f"| {name} | {len(times)} of {total} | {middle} | {false:.2f} |"


def passed(outcomes: Sequence[Outcome]) -> bool:
    """Return whether the bar is met: 98 % right, in time, and one false alarm in ten healthy hours at most."""
    faults = [one for one in outcomes if one.expected and not one.weak]
    right = sum(one.in_time for one in faults)
    hours = sum(one.healthy_seconds for one in outcomes) / 3600.0
    return right >= 0.98 * len(faults) and sum(len(one.false) for one in outcomes) <= max(1, math.floor(hours / 10.0))


def keep(path: Path, job: Job, outcome: Outcome) -> None:
    """Append the outcome of a run to a file."""
    with path.open("a") as file:
        file.write(json.dumps([job, {**asdict(outcome), "expected": sorted(outcome.expected)}]) + "\n")


def read_outcomes(path: Path) -> dict[Job, Outcome]:
    """Return the outcomes in a file; none if there is no such file."""
    outcomes = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        job, values = json.loads(line)
        false = [(at, code, sentence) for at, code, sentence in values["false"]]
        outcomes[Job(*job)] = Outcome(**{**values, "expected": frozenset(values["expected"]), "false": false})
    return outcomes


def _turn(job: Job) -> tuple[bool, float]:
    """Return the place of a run: one seed of every fault, healthy hours, the other seeds; large runs last."""
    return "1000 workers" in job.name, 0.5 if job.name.startswith("healthy") else job.seed


def _complain(outcome: Outcome) -> None:
    said: object = None
    if outcome.false:
        said = outcome.false[:2]
    elif outcome.expected and not outcome.in_time:
        said = f"{outcome.first or 'nothing'} after {outcome.after:.0f} s"
    elif not math.isnan(outcome.stated_cost) and not outcome.cost_is_right:
        said = f"costs {outcome.real_cost:.1%}, said {outcome.stated_cost:.1%}"
    if said:
        print(f"{outcome.scenario}, seed {outcome.seed}, {outcome.report_seconds:g} s: {said}", flush=True)


def main() -> int:
    """Play the chosen scenarios; exit code 0 when the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="scenarios with this in their name; repeatable")
    parser.add_argument("--skip", action="append", default=[], help="scenarios with this in their name are left out")
    parser.add_argument("--report", action="append", type=float, default=[], help="seconds between exports; repeatable")
    parser.add_argument("--seeds", type=int, default=5, help="repeats of every fault")
    parser.add_argument("--hours", type=float, default=10.0, help="healthy hours in all")
    parser.add_argument("--write", type=Path, help="page of the docs to put the result into")
    parser.add_argument("--outcomes", type=Path, help="file that keeps the outcome of every run, one a line")
    parser.add_argument("--only-read", action="store_true", help="play nothing: summarize the outcomes in the file")
    args = parser.parse_args()
    jobs = []
    for report in args.report or [1.0, 10.0]:
        for one in known(report, args.hours).values():
            wanted = not args.only or any(word in one.name for word in args.only)
            if wanted and not any(word in one.name for word in args.skip):
                jobs += [Job(one.name, seed, report, args.hours) for seed in range(args.seeds if one.expected else 1)]
    outcomes = read_outcomes(args.outcomes) if args.outcomes else {}
    missing = [] if args.only_read else sorted((job for job in jobs if job not in outcomes), key=_turn)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for job, outcome in zip(missing, pool.map(run, missing), strict=True):
            outcomes[job] = outcome
            if args.outcomes:
                keep(args.outcomes, job, outcome)
            _complain(outcome)
    played = [outcomes[job] for job in jobs if job in outcomes]
    lines = summary(played)
    print("\n".join(lines))
    if args.write:
        command = shlex.join(["python", "-m", "benchmarks.diagnosis_hours", *sys.argv[1:]])
        put_table(args.write, "simulated", [f"Made by `{command}`.", *lines])
    return 0 if passed(played) else 1


if __name__ == "__main__":
    sys.exit(main())

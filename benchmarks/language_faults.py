"""Is each fault of `examples/grpo.py` the first thing that is said, within 15 s, and is a healthy run left alone?

Starts the example for real, in a Ray of its own, and watches it from outside as the status page does. A fault begins
at an update of the policy; before, the run is healthy, and every alarm is a false one.

    python -m benchmarks.language_faults                       # each fault, about two minutes each
    python -m benchmarks.language_faults --only stale-weights
    python -m benchmarks.language_faults --healthy 300         # seconds without a fault
    python -m benchmarks.language_faults --write docs/language-models.md
"""

import argparse
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from support import short_folder

from benchmarks.diagnosis import Moment
from benchmarks.watched import ROOT, Head, Program, TroubleError, await_result, put_table
from raymon.live.collector import Collector

EXPECTED: Final = {
    "long-tail": "tail_bound",
    "slow-rollout": "straggler_bound",
    "slow-reward": "reward_bound",
    "dead-rollout": "workers_lost",
    "stale-weights": "weights_stale",
    "equal-rewards": "no_learning_signal",
}
"""Fault to the state of the run's verdict that is right."""
WITHIN_SECONDS: Final = 15.0
WATCHED_SECONDS: Final = 30.0
START_SECONDS: Final = 240.0
FAULT_AT: Final = re.compile(r"fault at (\d+\.\d)\n")
HEAD: Final = ("| Fault | First verdict | After | Passed |", "|---|---|---|---|")
MARK: Final = "measured by benchmarks.language_faults"


@dataclass(slots=True)
class Result:
    """How one run went: what was said while it was healthy, and after the fault."""

    fault: str
    before: list[Moment] = field(default_factory=list)
    after: list[Moment] = field(default_factory=list)
    error: str = ""

    @property
    def false_alarms(self) -> list[Moment]:
        """Return the moments of the healthy part at which an alarm began."""
        pairs = zip([None, *self.before], self.before, strict=False)
        return [now for last, now in pairs if now.alarm and (last is None or last.state != now.state)]

    @property
    def first(self) -> Moment | None:
        """Return the right verdict if it comes first, or the alarm that came before it; None when nothing came."""
        right = EXPECTED[self.fault]
        return next((moment for moment in self.after if moment.state == right or moment.alarm), None)

    @property
    def passed(self) -> bool:
        """Return whether the right verdict came first and soon enough, and nothing before the fault."""
        if self.error or self.false_alarms:
            return False
        if not self.fault:
            return True
        return self.first is not None and self.first.state == EXPECTED[self.fault] and self.first.at <= WITHIN_SECONDS

    def row(self) -> str:
        """Return the row of the table."""
        verdict, after = (f"`{self.first.state}`", f"{self.first.at:.0f} s") if self.first else ("none", "never")
        return f"| `{self.fault}` | {verdict} | {after} | {'yes' if self.passed else '**no**'} |"


def play(fault: str, folder: Path, *, fault_after: int, healthy_seconds: float) -> Result:
    """Run the example with a fault, or without one for some seconds, and note what is said every second."""
    result = Result(fault)
    head = Head(folder)
    options = ["--fault", fault, "--fault-after", str(fault_after)] if fault else []
    command = [sys.executable, str(ROOT / "examples" / "grpo.py"), "--updates", "1000000", *options]
    example = Program(command, folder / "example.log", RAY_ADDRESS=head.address)
    try:
        await_result(lambda: ", update" in example.text(), START_SECONDS, "training begins")
        collector, began = Collector([head.metrics_url]), time.time()
        fault_at = math.inf  # printed by the process in which the fault begins, and known a little later
        looks: list[Moment] = []
        while time.time() < fault_at + WATCHED_SECONDS:
            looks.append(_look(collector))
            fault_at = min((float(at) for at in FAULT_AT.findall(example.text())), default=math.inf)
            result.before = [replace(look, at=look.at - began) for look in looks if look.at < fault_at]
            result.after = [replace(look, at=look.at - fault_at) for look in looks if look.at >= fault_at]
            if not fault and result.before[-1].at > healthy_seconds:
                return result
            if not result.after and result.before[-1].at > START_SECONDS:
                raise TroubleError("the fault does not begin")
    except TroubleError as error:
        result.error = f"{error}: {example.text()[-500:]}"
    finally:
        example.kill()
        head.kill()
    return result


def _look(collector: Collector) -> Moment:
    """Return what is said now, with the wall-clock time; take a second."""
    begun = time.perf_counter()
    snapshot = collector.collect()
    view = snapshot.run("grpo")
    at, verdict = time.time(), None if view is None else snapshot.verdicts[view.run]
    time.sleep(max(0.05, 1.0 - (time.perf_counter() - begun)))
    if verdict is None:
        return Moment(at, "unknown", "unknown", "")
    return Moment(at, verdict.state, verdict.severity, verdict.sentence)


def summary(results: Sequence[Result]) -> Iterator[str]:
    """Yield the table and what it comes to."""
    faults = [result for result in results if result.fault]
    if faults:
        yield from HEAD
        yield from (result.row() for result in faults)
        yield ""
    alarms = sum(len(result.false_alarms) for result in results)
    minutes = sum(result.before[-1].at for result in results if result.before) / 60.0
    right = f"{sum(result.passed for result in faults)} of {len(faults)} faults were named first within 15 s; " * bool(
        faults
    )
    python = sys.version.split()[0]
    yield f"{right}{alarms} alarms in {minutes:.0f} healthy minutes. {os.cpu_count()} cores, Python {python}."


def _changes(moments: Sequence[Moment]) -> Iterator[str]:
    """Yield a line for each change of the verdict."""
    for last, now in zip([None, *moments], moments, strict=False):
        if last is None or last.state != now.state:
            yield f"    {now.at:6.1f} s  {now.severity:8} {now.state}: {now.sentence}"


def main() -> int:
    """Run the chosen faults; exit code 0 when all are right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=tuple(EXPECTED), help="a fault; repeatable")
    parser.add_argument("--fault-after", type=int, default=120, help="updates before the fault")
    parser.add_argument("--healthy", type=float, default=0.0, metavar="SECONDS", help="no fault, so many seconds")
    parser.add_argument("--write", type=Path, help="page of the docs to put the table into")
    parser.add_argument("--verbose", action="store_true", help="print each change of the verdict")
    args = parser.parse_args()
    results = []
    for fault in [""] if args.healthy else args.only or EXPECTED:
        with short_folder() as folder:
            results.append(play(fault, folder, fault_after=args.fault_after, healthy_seconds=args.healthy))
        result = results[-1]
        print(result.row() if fault else f"healthy: {len(result.false_alarms)} alarms", result.error, flush=True)
        if args.verbose or not result.passed:
            print("\n".join([*_changes(result.before), "    fault", *_changes(result.after)]), flush=True)
    lines = list(summary(results))
    print("\n".join(["", *lines]))
    if args.write:
        put_table(args.write, MARK, lines)
    return int(not all(result.passed for result in results))


if __name__ == "__main__":
    raise SystemExit(main())

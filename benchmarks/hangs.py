"""Does an incident name the process that hangs, and the line? Real hangs in trainers that are not raymon's own.

    python -m benchmarks.hangs                        # every case, about half a minute each
    python -m benchmarks.hangs --only lock --only RLlib
    python -m benchmarks.hangs --healthy 600          # a healthy run: no incident, and steps/s with and without watch
    python -m benchmarks.hangs --simulated 10         # simulated healthy hours: no incident
    python -m benchmarks.hangs --write docs/incidents.md

One Ray cluster, one `raymon watch`, one trainer after the other. A case passes if the first incident names the culprit
and shows the line that hangs within 15 s of the fault, and none was opened before.
"""

import argparse
import json
import math
import os
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from support import short_folder

from benchmarks.diagnosis_simulated import healthy as runs_without_fault
from benchmarks.hang_cases import CASES, Case
from benchmarks.watched import Head, Program, TroubleError, await_result, put_table, watch
from raymon.incident.store import IncidentStore
from raymon.incident.watcher import Watcher
from raymon.live.collector import Collector
from raymon.live.scrape import Page

WITHIN_SECONDS: Final = 15.0
PATIENCE_SECONDS: Final = 35.0
WARM_UP_SECONDS: Final = 12.0
SLICE_SECONDS: Final = 6.0
SETTLE_SECONDS: Final = 1.5
HEAD: Final = ("| Hang | Culprit named | Line shown | After | Passed |", "|---|---|---|---|---|")


@dataclass(frozen=True, slots=True)
class Result:
    """How one case went; `seconds` is the time from the fault to the incident's report."""

    case: Case
    culprits: tuple[str, ...] = ()
    where: str = ""
    seconds: float = math.inf
    problem: str = ""

    @property
    def named(self) -> bool:
        """Return whether only right processes were named."""
        return bool(self.culprits) and set(self.culprits) <= set(self.case.culprits)

    @property
    def shown(self) -> bool:
        """Return whether the shown frame is the one that hangs."""
        return bool(self.where) and self.case.expected() in self.where

    @property
    def passed(self) -> bool:
        """Return whether the case is right and soon enough."""
        return not self.problem and self.named and self.shown and self.seconds <= WITHIN_SECONDS

    def row(self) -> str:
        """Return the row of the table."""
        after = f"{self.seconds:.0f} s" if math.isfinite(self.seconds) else "never"
        culprit = ", ".join(self.culprits) or "nobody"
        where = f"`{self.where}`" if self.where else "none"
        passed = "yes" if self.passed else f"**no**{f' ({self.problem})' if self.problem else ''}"
        return f"| {self.case.name} | {culprit} | {where} | {after} | {passed} |"


def play(case: Case, number: int, head: Head, folder: Path, warm_up: float = WARM_UP_SECONDS) -> Result:
    """Run one case on a cluster that is watched."""
    run = f"hang-{number}"
    own = folder / run
    own.mkdir()
    module = "benchmarks.foreign_rllib" if case.where.startswith("rllib") else "benchmarks.foreign_trainer"
    trainer = Program([sys.executable, "-m", module, head.address, run, case.name, str(own)], own / "trainer.log")
    try:
        await_result(lambda: len(trainer.text().splitlines()) > 3 and (own / "pids").exists(), 120.0, "training begins")
        time.sleep(warm_up)
        pids = [int(word) for word in (own / "pids").read_text().split()]
        incidents = folder / "runs" / run / "incidents"
        if early := list(incidents.glob("*")):
            return Result(case, problem=_early(early[0]))
        fault = time.time()
        (own / "fault").touch()
        if case.where in ("stop", "rllib-stop"):
            os.kill(pids[1 if case.where == "stop" else 0], signal.SIGSTOP)
        elif case.where == "mailbox":
            os.kill(pids[0], signal.SIGKILL)
        path = await_result(
            lambda: next(iter(sorted(incidents.glob("*/incident.json"))), None), PATIENCE_SECONDS, "incident"
        )
        while not (result := _result(case, path, fault)).passed and time.time() - fault < WITHIN_SECONDS:
            time.sleep(0.2)  # what follows within seconds may add the line
        return result
    except TroubleError as error:
        return Result(case, problem=str(error) if "incident" in str(error) else f"{error}: {trainer.text()[-300:]}")
    finally:
        trainer.kill()


def _result(case: Case, path: Path, fault: float) -> Result:
    data: dict[str, Any] = json.loads(path.read_text())
    hang = data.get("hang") or {}
    return Result(case, tuple(hang.get("processes", ())), hang.get("where", ""), path.stat().st_mtime - fault)


def _early(folder: Path) -> str:
    """Return what an incident said that was opened before the fault."""
    try:
        return f"incident before the fault: {json.loads((folder / 'incident.json').read_text())['sentence']}"
    except (OSError, ValueError, KeyError):
        return f"incident before the fault: {folder.name}"


def summary(results: Sequence[Result]) -> list[str]:
    """Return the table and a sentence."""
    times = sorted(result.seconds for result in results if result.passed)
    median = f"; median {statistics.median(times):.0f} s, slowest {times[-1]:.0f} s after the fault" if times else ""
    passed = sum(result.passed for result in results)
    sentence = f"{passed} of {len(results)} right{median}. {os.cpu_count()} cores, Python {sys.version.split()[0]}."
    return [*HEAD, *[result.row() for result in results], "", sentence]


def healthy(seconds: float) -> tuple[list[str], bool]:
    """Watch a healthy run, with the watch stopped and continued in turn; return sentences, and whether all is well."""
    with short_folder() as folder:
        head = Head(folder)
        watcher = watch(folder, head.metrics_url)
        own = folder / "healthy"
        own.mkdir()
        command = [sys.executable, "-m", "benchmarks.foreign_trainer", head.address, "healthy", "none", str(own)]
        trainer = Program(command, own / "trainer.log")
        try:
            await_result(lambda: len(trainer.text().splitlines()) > 3, 120.0, "training begins")
            time.sleep(WARM_UP_SECONDS)
            ratios = []
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                rates = {}
                for on in (True, False) if len(ratios) % 2 else (False, True):
                    for pid in watcher.processes():
                        os.kill(pid, signal.SIGCONT if on else signal.SIGSTOP)
                    time.sleep(SETTLE_SECONDS)
                    rates[on] = _rate(trainer, SLICE_SECONDS)
                for pid in watcher.processes():
                    os.kill(pid, signal.SIGCONT)
                ratios.append(rates[True] / rates[False])
            incidents = [path.name for path in (folder / "runs").glob("*/incidents/*")]
            error = statistics.stdev(ratios) / math.sqrt(len(ratios)) if len(ratios) > 1 else math.nan
            mean = statistics.mean(ratios)
            sentence = (
                f"A healthy run of {seconds / 60:.0f} minutes: {len(incidents)} incidents; steps/s with the watch on "
                f"are {mean:.3f} of those without (standard error {error:.3f}, {len(ratios)} pairs in one run)."
            )
            return [sentence, *incidents], not incidents and mean + error >= 0.99
        finally:
            trainer.kill()
            watcher.end()
            head.kill()


def simulated(hours: float, seed: int) -> tuple[list[str], bool]:
    """Watch simulated healthy runs of different nature; return sentences, and whether no incident was opened."""
    opened: list[str] = []
    with short_folder() as folder:
        kinds = tuple(runs_without_fault(1.0, hours))
        for scenario in kinds:
            cluster = scenario.make(seed)
            collector = Collector(["http://model"], clock=cluster.clock)
            watcher = Watcher(IncidentStore(folder / scenario.name), lambda *_: {})
            begin = cluster.now
            while cluster.now - begin < scenario.seconds:
                cluster.second()
                watcher.look(collector.digest([Page(f"http://{n}:1/metrics", b) for n, b in cluster.pages().items()]))
            watcher.wait()
            opened += [f"{scenario.name}: {each.sentence}" for each in IncidentStore(folder / scenario.name).list()]
    sentence = (
        f"Healthy runs of {hours:g} simulated hours, of {len(kinds)} kinds (seed {seed}): {len(opened)} incidents."
    )
    return [sentence, *opened], not opened


def _rate(trainer: Program, seconds: float) -> float:
    begin, before = time.perf_counter(), int(trainer.text().split()[-1])
    time.sleep(seconds)
    return (int(trainer.text().split()[-1]) - before) / (time.perf_counter() - begin)


def play_all(cases: Sequence[Case], parallel: int = 1) -> list[Result]:
    """Run cases on a cluster of their own, some at the same time; those that use a whole core one by one."""
    with short_folder() as folder:
        head = Head(folder)
        watcher = watch(folder, head.metrics_url)
        try:
            results: dict[int, Result] = {}
            for busy, at_once in ((False, parallel), (True, 1)):
                with ThreadPoolExecutor(at_once) as pool:
                    jobs = {
                        pool.submit(play, case, number, head, folder): number
                        for number, case in enumerate(cases)
                        if case.busy == busy
                    }
                    for job in as_completed(jobs):
                        results[jobs[job]] = job.result()
                        print(job.result().row(), flush=True)
            return [results[number] for number in range(len(cases))]
        finally:
            watcher.end()
            head.kill()


def main() -> int:
    """Play the chosen cases; exit code 0 when at least 95 % are right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="cases with this in their name; repeatable")
    parser.add_argument("--parallel", type=int, default=1, help="how many cases run at the same time")
    parser.add_argument("--healthy", type=float, default=0.0, metavar="SECONDS", help="watch a healthy run instead")
    parser.add_argument("--simulated", type=float, default=0.0, metavar="HOURS", help="watch simulated healthy runs")
    parser.add_argument("--seed", type=int, default=0, help="of the simulated runs")
    parser.add_argument("--write", type=Path, help="page of the docs to put the table into")
    args = parser.parse_args()
    if args.simulated:
        lines, good = simulated(args.simulated, args.seed)
        mark = "simulated"
    elif args.healthy:
        lines, good = healthy(args.healthy)
        mark = "healthy"
    else:
        chosen = [case for case in CASES if not args.only or any(word in case.name for word in args.only)]
        results = play_all(chosen, args.parallel)
        lines, mark = summary(results), "hangs"
        good = sum(result.passed for result in results) >= 0.95 * len(results)
    print("\n".join(["", *lines]))
    if args.write:
        put_table(args.write, mark, lines)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

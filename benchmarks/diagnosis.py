"""Does raymon say the right thing, how soon, and does it keep quiet when all is well? Faults on real runs, scored.

Each scenario is a real `raymon train` in a Ray of its own, watched from outside through its metrics endpoint exactly as
the status page watches it. Scored per scenario: whether the first thing alarmed about after the fault is the right one
(for a bottleneck, which alarms nobody: whether it is named), how many seconds that took, and false alarms.

    python -m benchmarks.diagnosis                    # all, one after the other: about an hour
    python -m benchmarks.diagnosis --only hang        # those with the word in their name
    python -m benchmarks.diagnosis --write docs/diagnosis.md   # with --only: rows of other scenarios stay
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.diagnosis_scenarios import SCENARIOS, Action, Scenario
from benchmarks.processes import begun, below, title
from raymon.live.collector import Collector
from raymon.live.snapshot import Snapshot

START_SECONDS: Final = 150.0
ALARMS: Final = ("warning", "critical")
CLOCK_SECONDS: Final = 3.0
"""The trainer counts a fault's time from when its workers are ready, the metrics from a little later."""
NAMED_WITHIN: Final = 15.0
NOTHING: Final = "\N{EN DASH}"
PASSED: Final = "yes"
HEAD: Final = (
    "| Scenario | Expected | Said first | After | False alarms | Passed |",
    "|---|---|---|---|---|---|",
)
MARK: Final = "<!-- measured: python -m benchmarks.diagnosis -->"


@dataclass(frozen=True, slots=True)
class Moment:
    """What was said at one moment: seconds since the fault (or the start of training), state, severity, sentence."""

    at: float
    state: str
    severity: str
    sentence: str

    @property
    def alarm(self) -> bool:
        """Whether somebody is asked to act, or warned that the numbers are not live."""
        return self.severity in ALARMS or self.state == "stale"


@dataclass(slots=True)
class Result:
    """How one scenario went."""

    scenario: Scenario
    moments: list[Moment] = field(default_factory=list)
    error: str = ""

    @property
    def false_alarms(self) -> list[Moment]:
        """What was alarmed about while nothing was wrong; a lasting state counts once."""
        healthy = [m for m in self.moments if not self.scenario.expected or (self.has_fault and m.at < -CLOCK_SECONDS)]
        moments: list[Moment] = []
        before = ""
        for moment in healthy:
            if moment.alarm and moment.state != before:
                moments.append(moment)
            before = moment.state if moment.alarm else ""
        return moments

    @property
    def has_fault(self) -> bool:
        """Whether the run was healthy before."""
        return self.scenario.fault_after is not None

    @property
    def named(self) -> Moment | None:
        """The first moment at which the right thing was said; None when it never was, or something wrong was before."""
        for moment in self.moments:
            if self.has_fault and moment.at < -CLOCK_SECONDS:
                continue
            if moment.state in self.scenario.expected:
                return moment
            if moment.alarm:
                return None
        return None

    @property
    def healthy_seconds(self) -> float:
        """How long it was watched while nothing was wrong."""
        ends = [m.at for m in self.moments]
        if not ends:
            return 0.0
        return ends[-1] - ends[0] if not self.scenario.expected else max(0.0, -ends[0]) if self.has_fault else 0.0

    @property
    def passed(self) -> bool:
        """Whether the bar is met: named first and soon enough, and no false alarm."""
        if self.error or self.false_alarms:
            return False
        if not self.scenario.expected:
            return True
        return self.named is not None and (not self.has_fault or self.named.at <= NAMED_WITHIN)


class Run:
    """A `raymon train` with a Ray of its own, ended with everything it started."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self.folder, self.log = folder, folder / "train.log"
        self.begun: dict[int, str] = {}
        command = [
            sys.executable,
            "-m",
            "raymon",
            "train",
            "--no-page",
            "--exit-when-done",
            "--no-dashboard",
            "--name",
            "run",
            "--ray-temp-dir",
            str(folder / "ray"),
            "--runs",
            str(folder / "runs"),
            "--total-env-steps",
            "1000000000",
            *arguments,
        ]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)

    def metrics_url(self) -> str:
        """Wait for the run to print its metrics endpoint."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if match := re.search(r"http://\S+/metrics", self.log.read_text(errors="replace")):
                return match[0]
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        raise RuntimeError(f"the run did not start: {self.log.read_text(errors='replace')[-500:]}")

    def processes(self, word: str = "") -> list[int]:
        """Return the run's process and all that descend from it, those with `word` in their title if given.

        What was seen once is ended with the run, also when its parents are gone by then.
        """
        pids = below(self.process.pid)
        self.begun.update((pid, begun(pid)) for pid in pids if pid not in self.begun)
        return [pid for pid in pids if word in title(pid)]

    def end(self) -> None:
        """Ask it to end; what is left after a while is killed."""
        _signal(self.processes(), signal.SIGCONT)
        _signal([self.process.pid], signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        _signal([pid for pid, since in self.begun.items() if since and begun(pid) == since], signal.SIGKILL)
        self.process.wait()


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@contextlib.contextmanager
def acting(action: Action, run: Run, snapshot: Snapshot) -> Iterator[None]:
    """Do something to a run from outside; what can be undone is undone at the end."""
    workers = [worker.pid for view in snapshot.runs for worker in view.workers if worker.pid]
    burners: list[subprocess.Popen[bytes]] = []
    everything = [run.process.pid, *workers]
    actions: dict[Action, Callable[[], object]] = {
        "": lambda: None,
        "stop-worker": lambda: _signal(workers[:1], signal.SIGSTOP),
        "kill-worker": lambda: _signal(workers[:1], signal.SIGKILL),
        "kill-workers": lambda: _signal(workers, signal.SIGKILL),
        "kill-driver": lambda: _signal([run.process.pid], signal.SIGKILL),
        "stop-driver": lambda: _signal([run.process.pid], signal.SIGSTOP),
        "freeze-exporter": lambda: _signal(run.processes("DashboardAgent"), signal.SIGSTOP),
        "pause-all": lambda: (
            _signal(everything, signal.SIGSTOP),
            time.sleep(6.0),
            _signal(everything, signal.SIGCONT),
        ),
        "load": lambda: burners.extend(
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)
        ),
    }
    actions[action]()
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def play(scenario: Scenario, folder: Path) -> Result:
    """Run one scenario and note what is said at every second."""
    result = Result(scenario)
    run = Run(scenario.arguments, folder)
    try:
        collector = Collector([run.metrics_url()])
        began = _training_began(collector, run)
        run.processes()
        due = began + (scenario.fault_after or 0.0)
        while time.time() < due:
            _note(collector, result, due)
        with acting(scenario.action, run, collector.snapshot()):
            while time.time() < due + scenario.watch:
                _note(collector, result, due)
    except (RuntimeError, OSError) as error:
        result.error = str(error)
    finally:
        run.end()
    return result


def _training_began(collector: Collector, run: Run) -> float:
    """Return the wall-clock moment at which training began."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        view = collector.collect().run()
        if view is not None and view.started_seconds_ago is not None and view.state == "training":
            return collector.snapshot().taken_at - view.started_seconds_ago
        if run.process.poll() is not None:
            break
        time.sleep(1.0)
    raise RuntimeError(f"training did not begin: {run.log.read_text(errors='replace')[-500:]}")


def _note(collector: Collector, result: Result, due: float) -> None:
    begun = time.perf_counter()
    snapshot = collector.collect()
    view = snapshot.run()
    if view is not None:
        verdict = snapshot.verdicts[view.run]
        at = time.time() - due
        result.moments.append(Moment(at, verdict.state, verdict.severity, verdict.sentence))
    time.sleep(max(0.05, 1.0 - (time.perf_counter() - begun)))


def row(result: Result) -> str:
    """Return the result as a row of the table."""
    scenario, named = result.scenario, result.named
    wanted = ", ".join(sorted(scenario.expected)) or "no alarm"
    verdict, after = NOTHING, NOTHING
    if result.error:
        verdict = "did not run"
    elif not scenario.expected:
        verdict = result.false_alarms[0].state if result.false_alarms else "no alarm"
    elif named is not None:
        verdict, after = named.state, f"{max(0.0, named.at):.0f} s" if result.has_fault else "from the start"
    else:
        wrong = [moment.state for moment in result.moments if moment.at >= -CLOCK_SECONDS]
        verdict = max(set(wrong), key=wrong.count) if wrong else "nothing"
    healthy = f"{len(result.false_alarms)} in {result.healthy_seconds:.0f} s" if result.healthy_seconds else NOTHING
    return f"| {scenario.name} | {wanted} | {verdict} | {after} | {healthy} | {PASSED if result.passed else '**no**'} |"


def totals(rows: Sequence[str]) -> str:
    """Return, in words, what the rows of a table come to."""
    cells = [[cell.strip() for cell in each.strip("| ").split(" | ")] for each in rows]
    passed = sum(cell[5] == PASSED for cell in cells)
    times = sorted(int(cell[3].split()[0]) for cell in cells if cell[3].endswith(" s"))
    median = f" (median {times[len(times) // 2]} s, slowest {times[-1]} s)" if times else ""
    watched = [cell[4].split() for cell in cells if cell[4] != NOTHING]
    alarms, minutes = sum(int(one[0]) for one in watched), sum(int(one[2]) for one in watched) / 60
    return (
        f"{passed} of {len(cells)} scenarios passed; {len(times)} faults were named first{median}; {alarms} false "
        f"alarms in {minutes:.0f} healthy minutes. {os.cpu_count()} cores, Python {sys.version.split()[0]}."
    )


def write(path: Path, rows: Sequence[str]) -> None:
    """Put rows into the table behind the mark in a page of the docs, in place of those of the same scenarios."""
    kept, _, before = path.read_text().partition(MARK)
    by_name = {_name(line): line for line in before.splitlines() if line.startswith("| ") and line not in HEAD}
    by_name.update((_name(line), line) for line in rows)
    known = [by_name[scenario.name] for scenario in SCENARIOS if scenario.name in by_name]
    path.write_text("\n".join([f"{kept}{MARK}\n", *HEAD, *known, "", totals(known), ""]))


def _name(line: str) -> str:
    return line.strip("| ").split(" | ")[0]


def main() -> int:
    """Play the chosen scenarios; exit code 0 when all passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="scenarios with this in their name; repeatable")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--write", type=Path, help="page of the docs to put the table into")
    parser.add_argument("--verbose", action="store_true", help="print what was said, whenever it changed")
    given = parser.parse_args()
    chosen = [s for s in SCENARIOS if not given.only or any(word in s.name for word in given.only)]
    if given.list:
        print("\n".join(scenario.name for scenario in chosen))
        return 0
    results: list[Result] = []
    for scenario in chosen:
        folder = Path(tempfile.mkdtemp(prefix="rm-", dir="/tmp"))  # Ray's sockets need a short path
        try:
            results.append(play(scenario, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(row(results[-1]), flush=True)
        if given.verbose or not results[-1].passed:
            _tell(results[-1])
    rows = [row(result) for result in results]
    print("\n".join(["", *HEAD, *rows, "", totals(rows)]))
    if given.write:
        write(given.write, rows)
    return 0 if all(result.passed for result in results) else 1


def _tell(result: Result) -> None:
    before = ""
    if result.error:
        print(f"    {result.error}")
    for moment in result.moments:
        if moment.state != before:
            print(f"    {moment.at:6.1f} s  {moment.severity:8} {moment.state}: {moment.sentence}", flush=True)
        before = moment.state


if __name__ == "__main__":
    sys.exit(main())

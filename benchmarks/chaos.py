"""Does a run survive random faults, and do the viewers name each? Real runs, real Ray, real Prometheus.

    python -m benchmarks.chaos --faults 30            # draws faults; about 15 s each
    python -m benchmarks.chaos --only 'raylet'        # faults with this in their name
    python -m benchmarks.chaos --faults 300 --seed 7 --outcomes chaos.jsonl --write docs/robustness.md

Each run gets several faults, one after the other, with recovery in between; the last one ends it. Needs root: its
records are on a small disk that is mounted for them, and several nodes are network namespaces.
"""

import argparse
import contextlib
import itertools
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from support import short_folder

from benchmarks.chaos_cluster import ChaosCluster, OneNode, SeveralNodes, disk
from benchmarks.chaos_faults import ENGINES, FAULTS, Fault
from benchmarks.chaos_outcomes import Outcome, outcome_from, table
from benchmarks.chaos_run import LOST_SECONDS, NODE_LOST_SECONDS, ChaosRun
from benchmarks.watched import TroubleError, await_result, put_table

FAULTS_PER_RUN: Final = 8
USUAL_EXIT_CODE: Final = 130
"""Of a run that ends with Ctrl-C, where none of the chosen faults ends it."""
RUNS_PER_CLUSTER: Final = 2
NAMED_SECONDS: Final = 40.0
ALERT_SECONDS: Final = 60.0
QUIET_SECONDS: Final = 15.0
"""Until the alerts of a run that ended normally are over."""
RECOVERY_SECONDS: Final = 180.0
END_SECONDS: Final = 120.0
LEAVE_SECONDS: Final = 15.0
ORPHAN_SECONDS: Final = 180.0
"""Without their raylet, Ray's workers end by themselves, after a minute or two."""
DISK_MEGABYTES: Final = 64
CLUSTERS: Final[dict[str, type[ChaosCluster]]] = {"one": OneNode, "several": SeveralNodes}


@dataclass
class Deck:
    """Draws faults so that each comes as often as the others."""

    faults: Sequence[Fault]
    draw: random.Random
    _left: list[Fault] = field(default_factory=list)

    def next(self) -> Fault:
        """Return the next fault."""
        if not self._left:
            self._left = self.draw.sample(self.faults, len(self.faults))
        return self._left.pop()


def strike(run: ChaosRun, fault: Fault, cluster: str) -> Outcome:
    """Bring one fault about, wait until it is named, end it, and wait until the run has recovered."""
    run.lost_nodes += fault.target == "node"
    if fault.breaks:
        await_result(run.has_checkpoint, RECOVERY_SECONDS, "a first checkpoint")
    target, pattern, begun, undo = await_result(  # again if its process has just been replaced
        lambda: _begin(run, fault), RECOVERY_SECONDS, "a target that nobody talks about"
    )
    before = run.updates()
    named: float | None = None
    alerted: float | None = None
    said: tuple[str, ...] = ()
    try:
        printed = fault.exit_code is not None  # of a run that ends, its own last sentence counts, too
        await_result(lambda: _matches(run, pattern, printed=printed), NAMED_SECONDS, "named", every=0.2)
        named = time.monotonic() - begun
        alerted = _alerted(run, fault, target, begun)
    except TroubleError:
        said = (f"target {target!r}", *run.said())
    finally:
        undo()
    if fault.exit_code is not None:
        return replace(_end(run, fault, cluster, named), said=said, alert_seconds=alerted)
    after = run.updates()
    try:
        await_result(
            lambda: run.updates() > max(before, after) + 2 and run.healthy(), RECOVERY_SECONDS, "recovery", every=0.5
        )
    except TroubleError as error:
        code = run.trainer.process.poll()
        why = str(error) if code is None else f"the run ended with {code}: {run.trainer.text()[-300:]!r}"
        wrong = (f"{why}; viewers say {run.said()[:3]}",)
        return Outcome(fault, run.engine, cluster, False, named, wrong, said, alert_seconds=alerted)
    return Outcome(fault, run.engine, cluster, True, named, said=said, alert_seconds=alerted)


def _alerted(run: ChaosRun, fault: Fault, target: str, begun: float) -> float | None:
    """Wait until the expected alert waits or fires; return the seconds since the fault."""
    alert = fault.alerts.get(run.engine)
    if alert is None:
        return None
    worker = target if fault.target == "worker" else ""
    prometheus = run.cluster.prometheus
    try:
        await_result(lambda: prometheus.alerted(alert, worker), ALERT_SECONDS, "an alert", every=0.3)
    except TroubleError:
        return None
    return time.monotonic() - begun


def _begin(run: ChaosRun, fault: Fault) -> tuple[str, str, float, Callable[[], None]] | None:
    """Bring the fault about; return its target, the pattern, the moment and how to end it. None without a target."""
    chosen = _target(run, fault)
    if chosen is None:
        return None
    begun = time.monotonic()
    return *chosen, begun, fault.begin(run, chosen[0])


def _target(run: ChaosRun, fault: Fault) -> tuple[str, str] | None:
    """Return a target that no viewer and no alert mentions yet, and the pattern of what they have to say of it."""
    alert = fault.alerts.get(run.engine)
    workers = run.workers()
    if fault.target == "run":
        choices = {""}
    elif fault.target == "node":
        choices = {node for node in workers.values() if not _is_head(run, node)}
    else:
        choices = set(workers)
    for choice in run.random.sample(sorted(choices), len(choices)):
        pattern = fault.expected.replace("{worker}", choice).replace("{node}", re.escape(choice))
        worker = choice if fault.target == "worker" else ""
        if not _matches(run, pattern) and not (alert and run.cluster.prometheus.alerted(alert, worker)):
            return choice, pattern
    return None


def _is_head(run: ChaosRun, node: str) -> bool:
    return isinstance(run.cluster, SeveralNodes) and run.cluster.is_head(node)


def _matches(run: ChaosRun, pattern: str, *, printed: bool = False) -> bool:
    last = [f"printed {(run.trainer.text().strip().splitlines() or [''])[-1]}"] if printed else []
    return any(re.search(pattern, line) for line in [*run.said(), *last])


def _end(run: ChaosRun, fault: Fault, cluster: str, named: float | None) -> Outcome:
    """Check a run that a fault has ended."""
    assert fault.exit_code is not None
    try:
        await_result(lambda: run.trainer.process.poll() is not None, END_SECONDS, "the run ends")
    except TroubleError as error:
        return Outcome(fault, run.engine, cluster, False, named, (f"{error}: {run.trainer.text()[-200:]!r}",))
    wrong = run.ended(fault.exit_code)
    broken, lost = run.left_behind(ORPHAN_SECONDS if fault.breaks else LEAVE_SECONDS), None
    if not fault.breaks and not wrong and fault.exit_code != 1:
        differing, lost = run.counters()
        broken += differing
        if lost is not None and lost > (NODE_LOST_SECONDS if run.lost_nodes else LOST_SECONDS):
            broken.append(f"each lost worker cost {lost:.1f} s of its steps in Prometheus")
        try:
            await_result(lambda: not run.cluster.prometheus.firing(run.name), QUIET_SECONDS, "the alerts end")
        except TroubleError:
            broken.append(f"after the end these alerts fire: {', '.join(run.cluster.prometheus.firing(run.name))}")
    return Outcome(fault, run.engine, cluster, not wrong, named, (*wrong, *broken), lost_seconds=lost)


def play(
    cluster: ChaosCluster, kind: str, engine: str, faults: Sequence[Fault], name: str, draw: random.Random, folder: Path
) -> Iterator[Outcome]:
    """Train, with faults one after the other; the last one ends the run."""
    folder.mkdir()
    with disk(folder / "disk", DISK_MEGABYTES):
        run = ChaosRun(cluster, engine, name, folder, draw)
        try:
            for fault in faults:
                outcome = strike(run, fault, kind)
                yield outcome
                if not outcome.survived:
                    cluster.broken = True
                    return
                cluster.broken = cluster.broken or fault.breaks
        finally:
            run.close()


class Draw:
    """Draws what happens: the kind of cluster, the trainer, and the faults of each run.

    Args:
        seed: Two draws with the same seed are equal.
        words: Faults with one of these in their name; none for all.
        kinds: Kinds of cluster.
        engines: Trainers.
    """

    def __init__(self, seed: int, words: Sequence[str], kinds: Sequence[str], engines: Sequence[str]) -> None:
        self.random = random.Random(seed)
        self._decks: dict[tuple[str, str], tuple[Deck, Deck]] = {}
        for lane in itertools.product(kinds, engines):
            usable = [fault for fault in FAULTS if lane[0] in fault.clusters and lane[1] in fault.engines]
            chosen = [fault for fault in usable if not words or any(word in fault.name for word in words)]
            ending = [fault for fault in chosen if fault.exit_code is not None]
            usual = [fault for fault in usable if fault.exit_code == USUAL_EXIT_CODE]
            if chosen:
                going = [fault for fault in chosen if fault.exit_code is None]
                self._decks[lane] = Deck(going, self.random), Deck(ending or usual, self.random)

    def lanes(self) -> Iterator[tuple[str, str]]:
        """Yield kinds of cluster and trainers in turn, for ever."""
        return itertools.cycle(self._decks)

    def faults(self, lane: tuple[str, str], most: int) -> list[Fault]:
        """Return the faults of a run; the last one ends it."""
        going, ending = self._decks[lane]
        number = min(FAULTS_PER_RUN, most) - 1 if going.faults else 0
        return [*(going.next() for _ in range(number)), ending.next()]


def play_all(number: int, draw: Draw) -> Iterator[Outcome]:
    """Play so many faults, on one cluster after the other."""
    played = 0
    with short_folder() as folder:
        for turn, lane in enumerate(draw.lanes()):
            try:
                with contextlib.closing(CLUSTERS[lane[0]](_made(folder / str(turn)))) as cluster:
                    for run in range(RUNS_PER_CLUSTER):
                        if cluster.broken or played >= number:
                            break
                        name = f"chaos-{turn}-{run}"
                        faults = draw.faults(lane, number - played)
                        for outcome in play(cluster, *lane, faults, name, draw.random, cluster.folder / name):
                            played += 1
                            print(f"{played:3d} {name} {outcome.line()}", flush=True)
                            yield outcome
            except (TroubleError, AssertionError, subprocess.TimeoutExpired) as error:
                print(f"a cluster is given up: {error}", flush=True)
            if played >= number:
                return


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def main() -> int:
    """Play the faults; exit code 0 if all were survived and named, and no invariant was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=30, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--only", action="append", default=[], help="faults with this in their name; repeatable")
    parser.add_argument("--engine", action="append", choices=ENGINES, default=[], help="trainer; repeatable")
    parser.add_argument("--nodes", action="append", choices=list(CLUSTERS), default=[], help="cluster; repeatable")
    parser.add_argument("--outcomes", type=Path, help="file to append each outcome to; the table holds all in it")
    parser.add_argument("--write", type=Path, help="page of the docs to put the table into")
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell has programs in the background ignore Ctrl-C
        signal.signal(number, lambda *_: sys.exit(1))
    outcomes = []
    if args.outcomes and args.outcomes.exists():
        outcomes = [outcome_from(line) for line in args.outcomes.read_text().splitlines()]
    for outcome in play_all(
        args.faults, Draw(args.seed, args.only, args.nodes or list(CLUSTERS), args.engine or ENGINES)
    ):
        outcomes.append(outcome)
        if args.outcomes:
            with args.outcomes.open("a") as file:
                file.write(outcome.as_json() + "\n")
    lines = table(outcomes)
    print("\n".join(["", *lines]))
    if args.write:
        put_table(args.write, "chaos", lines)
    good = all(o.survived and o.named_seconds is not None and not o.silent and not o.broken for o in outcomes)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""Does a run survive random faults, and do the viewers name each? Real runs, real Ray, real Prometheus.

    python -m benchmarks.chaos --faults 30            # draws faults; about 15 s each
    python -m benchmarks.chaos --only 'raylet'        # faults with this in their name
    python -m benchmarks.chaos --faults 300 --seed 7 --write docs/robustness.md

Each run gets several faults, one after the other, with recovery in between; the last one ends it. Several nodes and
the small disk need root.
"""

import argparse
import os
import random
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from benchmarks.chaos_cluster import ChaosCluster, OneNode, SeveralNodes, disk
from benchmarks.chaos_faults import ENGINES, FAULTS, Fault
from benchmarks.chaos_run import LOST_SECONDS, ChaosRun
from benchmarks.watched import TroubleError, await_result, put_table, short_folder

FAULTS_PER_RUN: Final = 8
RUNS_PER_CLUSTER: Final = 4
NAMED_SECONDS: Final = 40.0
RECOVERY_SECONDS: Final = 120.0
END_SECONDS: Final = 90.0
DISK_MEGABYTES: Final = 64
CLUSTERS: Final[dict[str, type[ChaosCluster]]] = {"one": OneNode, "several": SeveralNodes}
HEAD: Final = (
    "| Fault | Trainer | Nodes | Tries | Survived | Named | Median until named | Invariants broken |",
    "|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one fault did to one run.

    Attributes:
        named_seconds: From the fault until a viewer named it; None if none did.
        survived: The run went on, or ended as it should.
        broken: The invariants that did not hold.
        said: What viewers said when they should have named it.
        lost_seconds: Seconds of a worker's steps that Prometheus misses for each lost worker, over the whole run.
    """

    fault: Fault
    engine: str
    cluster: str
    survived: bool = False
    named_seconds: float | None = None
    broken: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    lost_seconds: float | None = None

    def line(self) -> str:
        """Return a line for the terminal."""
        named = "not named" if self.named_seconds is None else f"named after {self.named_seconds:.1f} s"
        went = "survived" if self.survived else "NOT SURVIVED"
        details = [f"broken: {each}" for each in self.broken]
        if self.named_seconds is None:
            details += [f"said: {each}" for each in self.said]
        return "\n    ".join([f"{self.fault.name}, {self.engine}, {self.cluster}: {went}, {named}", *details])


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
    target, pattern = await_result(lambda: _target(run, fault), RECOVERY_SECONDS, "a target that nobody talks about")
    before, begun = run.updates(), time.monotonic()
    undo = fault.begin(run, target)
    named: float | None = None
    said: tuple[str, ...] = ()
    try:
        await_result(lambda: _matches(run, pattern), NAMED_SECONDS, "named", every=0.2)
        named = time.monotonic() - begun
    except TroubleError:
        said = (f"target {target!r}", *run.said())
    finally:
        undo()
    if fault.exit_code is not None:
        return replace(_end(run, fault, cluster, named), said=said)
    after = run.updates()
    try:
        await_result(
            lambda: run.updates() > max(before, after) + 2 and run.healthy(), RECOVERY_SECONDS, "recovery", every=0.5
        )
    except TroubleError as error:
        code = run.trainer.process.poll()
        why = str(error) if code is None else f"the run ended with {code}: {run.trainer.text()[-300:]!r}"
        return Outcome(fault, run.engine, cluster, False, named, (f"{why}; viewers say {run.said()[:3]}",), said)
    return Outcome(fault, run.engine, cluster, True, named, said=said)


def _target(run: ChaosRun, fault: Fault) -> tuple[str, str] | None:
    """Return a target that no viewer mentions yet, and the pattern of what they have to say of it."""
    workers = run.workers()
    if fault.target == "run":
        choices = {""}
    elif fault.target == "node":
        choices = {node for node in workers.values() if not _is_head(run, node)}
    else:
        choices = set(workers)
    for choice in run.random.sample(sorted(choices), len(choices)):
        pattern = fault.expected.replace("{worker}", choice).replace("{node}", re.escape(choice))
        if not _matches(run, pattern):
            return choice, pattern
    return None


def _is_head(run: ChaosRun, node: str) -> bool:
    return isinstance(run.cluster, SeveralNodes) and run.cluster.is_head(node)


def _matches(run: ChaosRun, pattern: str) -> bool:
    printed = f"printed {(run.trainer.text().strip().splitlines() or [''])[-1]}"
    return any(re.search(pattern, line) for line in [*run.said(), printed])


def _end(run: ChaosRun, fault: Fault, cluster: str, named: float | None) -> Outcome:
    """Check a run that a fault has ended."""
    assert fault.exit_code is not None
    try:
        await_result(lambda: run.trainer.process.poll() is not None, END_SECONDS, "the run ends")
    except TroubleError as error:
        return Outcome(fault, run.engine, cluster, False, named, (f"{error}: {run.trainer.text()[-200:]!r}",))
    wrong = run.ended(fault.exit_code)
    broken, lost = run.left_behind(), None
    if not fault.breaks and not wrong and fault.exit_code != 1:
        differing, lost = run.counters()
        broken += differing
        if lost is not None and lost > LOST_SECONDS:
            broken.append(f"each lost worker cost {lost:.1f} s of its steps in Prometheus")
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


def play_all(
    number: int, seed: int, words: Sequence[str], kinds: Sequence[str], engines: Sequence[str]
) -> list[Outcome]:
    """Play so many faults on clusters of each kind."""
    draw = random.Random(seed)
    chosen = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    decks = {}
    for kind in kinds:
        for engine in engines:
            usable = [f for f in FAULTS if kind in f.clusters and engine in f.engines]
            going = [f for f in usable if f.exit_code is None and f in chosen]
            ending = [f for f in usable if f.exit_code is not None and f in chosen]
            usual = [f for f in usable if f.exit_code == 130]
            if going or ending:
                decks[kind, engine] = Deck(going, draw), Deck(ending or usual, draw)
    outcomes: list[Outcome] = []
    with short_folder() as folder:
        for round_number, (kind, engine) in enumerate(_turns(list(decks))):
            if len(outcomes) >= number:
                break
            cluster = CLUSTERS[kind](_made(folder / str(round_number)))
            try:
                for run in range(RUNS_PER_CLUSTER):
                    if cluster.broken or len(outcomes) >= number:
                        break
                    going_deck, ending_deck = decks[kind, engine]
                    most = min(FAULTS_PER_RUN, number - len(outcomes)) - 1
                    faults = [going_deck.next() for _ in range(most if going_deck.faults else 0)]
                    name = f"chaos-{round_number}-{run}"
                    for outcome in play(
                        cluster, kind, engine, [*faults, ending_deck.next()], name, draw, cluster.folder / name
                    ):
                        outcomes.append(outcome)
                        print(f"{len(outcomes):3d} {name} {outcome.line()}", flush=True)
            except (TroubleError, AssertionError) as error:
                print(f"the cluster is given up: {error}", flush=True)
            finally:
                cluster.close()
    return outcomes


def _turns(lanes: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield kinds of cluster and engines in turn, one node three times as often as several."""
    while True:
        for kind, engine in lanes:
            yield from [(kind, engine)] * (2 if kind == "one" and len(lanes) > 2 else 1)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the table and a summary."""
    rows = []
    for fault in FAULTS:
        for engine in ENGINES:
            for kind in CLUSTERS:
                those = [o for o in outcomes if (o.fault, o.engine, o.cluster) == (fault, engine, kind)]
                if those:
                    rows.append(_row(those))
    survived = sum(outcome.survived for outcome in outcomes)
    named = sum(outcome.named_seconds is not None for outcome in outcomes)
    broken = sum(bool(outcome.broken) for outcome in outcomes)
    lost = sorted(o.lost_seconds for o in outcomes if o.lost_seconds is not None)
    cost = (
        f" In the {len(lost)} runs whose counters were compared, Prometheus missed {statistics.median(lost):.2f} s "
        f"(median; at most {lost[-1]:.2f} s) of a worker's steps for each lost worker; the driver's own counters are "
        "part of the invariants."
        if lost
        else ""
    )
    sentence = (
        f"{len(outcomes)} faults: {survived} survived, {named} named, {broken} with a broken invariant.{cost} "
        f"{os.cpu_count()} cores, Python {sys.version.split()[0]}."
    )
    return [*HEAD, *rows, "", sentence]


def _row(those: Sequence[Outcome]) -> str:
    times = [outcome.named_seconds for outcome in those if outcome.named_seconds is not None]
    median = f"{statistics.median(times):.1f} s" if times else "never"
    broken = [each for outcome in those for each in outcome.broken]
    said = "; ".join(dict.fromkeys(each.replace("|", "/").replace("\n", " ")[:120] for each in broken)) or "none"
    first = those[0]
    numbers = (len(those), sum(outcome.survived for outcome in those), len(times), median, said)
    return f"| {' | '.join(map(str, (first.fault.name, first.engine, first.cluster, *numbers)))} |"


def main() -> int:
    """Play the faults; exit code 0 if all were survived and named, and no invariant was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=30, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--only", action="append", default=[], help="faults with this in their name; repeatable")
    parser.add_argument("--engine", action="append", choices=ENGINES, default=[], help="trainer; repeatable")
    parser.add_argument("--nodes", action="append", choices=list(CLUSTERS), default=[], help="cluster; repeatable")
    parser.add_argument("--write", type=Path, help="page of the docs to put the table into")
    args = parser.parse_args()
    outcomes = play_all(args.faults, args.seed, args.only, args.nodes or list(CLUSTERS), args.engine or ENGINES)
    lines = table(outcomes)
    print("\n".join(["", *lines]))
    if args.write:
        put_table(args.write, "chaos", lines)
    good = all(outcome.survived and outcome.named_seconds is not None and not outcome.broken for outcome in outcomes)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

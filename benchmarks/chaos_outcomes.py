"""What the faults of `benchmarks.chaos` did: one outcome each, and the table of all."""

import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

from benchmarks.chaos_faults import ENGINES, FAULTS, Fault

CLUSTERS: Final = ("one", "several")
"""Kinds of cluster: one Ray node, or several with addresses of their own."""
HEAD: Final = (
    "| Fault | Trainer | Nodes | Tries | Survived | Named | Median until named | Alert | Invariants broken |",
    "|---|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one fault did to one run.

    Attributes:
        named_seconds: From the fault until a viewer named it; None if none did.
        survived: The run went on, or ended as it should.
        broken: The invariants that did not hold.
        said: What viewers said when they should have named it.
        alert_seconds: From the fault until the expected alert waited or fired; None if none did.
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
    alert_seconds: float | None = None

    @property
    def alert(self) -> str:
        """Return the alert that is expected; empty if none is."""
        return self.fault.alerts.get(self.engine, "")

    @property
    def silent(self) -> bool:
        """Return whether the alert that is expected was not seen."""
        return bool(self.alert) and self.alert_seconds is None

    def line(self) -> str:
        """Return a line for the terminal."""
        named = "not named" if self.named_seconds is None else f"named after {self.named_seconds:.1f} s"
        went = "survived" if self.survived else "NOT SURVIVED"
        if self.silent:
            named += f", {self.alert} NOT SEEN"
        elif self.alert_seconds is not None:
            named += f", {self.alert} after {self.alert_seconds:.1f} s"
        details = [f"broken: {each}" for each in self.broken]
        if self.named_seconds is None:
            details += [f"said: {each}" for each in self.said]
        return "\n    ".join([f"{self.fault.name}, {self.engine}, {self.cluster}: {went}, {named}", *details])

    def as_json(self) -> str:
        """Return a line of JSON, which `outcome_from` reads."""
        return json.dumps({**asdict(replace(self, said=())), "fault": self.fault.name})


def outcome_from(line: str) -> Outcome:
    """Return the outcome that a line of JSON holds."""
    plain = json.loads(line)
    fault = next(fault for fault in FAULTS if fault.name == plain["fault"])
    return Outcome(**{**plain, "fault": fault, "broken": tuple(plain["broken"]), "said": ()})


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
    expected = sum(bool(outcome.alert) for outcome in outcomes)
    alerted = expected - sum(outcome.silent for outcome in outcomes)
    lost = sorted(o.lost_seconds for o in outcomes if o.lost_seconds is not None)
    cost = (
        f" In the {len(lost)} runs whose counters were compared, Prometheus missed {statistics.median(lost):.2f} s "
        f"(median; at most {lost[-1]:.2f} s) of a worker's steps for each lost worker; the driver's own counters are "
        "part of the invariants."
        if lost
        else ""
    )
    sentence = (
        f"{len(outcomes)} faults: {survived} survived, {named} named, {alerted} of {expected} with the expected alert, "
        f"{broken} with a broken invariant.{cost} {os.cpu_count()} cores, Python {sys.version.split()[0]}."
    )
    return [*HEAD, *rows, "", sentence]


def _row(those: Sequence[Outcome]) -> str:
    first = those[0]
    times = [outcome.named_seconds for outcome in those if outcome.named_seconds is not None]
    median = f"{statistics.median(times):.1f} s" if times else "never"
    broken = [each for outcome in those for each in outcome.broken]
    said = "; ".join(dict.fromkeys(each.replace("|", "/").replace("\n", " ")[:120] for each in broken)) or "none"
    seen = sum(not outcome.silent for outcome in those)
    alert = f"{first.alert.replace('Raymon', '').replace('|', ' or ')}: {seen}" if first.alert else "none"
    numbers = (len(those), sum(outcome.survived for outcome in those), len(times), median, alert, said)
    return f"| {' | '.join(map(str, (first.fault.name, first.engine, first.cluster, *numbers)))} |"

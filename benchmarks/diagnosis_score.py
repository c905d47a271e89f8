"""Scores of the simulated benchmark: one outcome per run, Wilson intervals, percentiles of the latency."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.diagnosis_model import START, Cluster
from benchmarks.diagnosis_rules import Rules
from benchmarks.diagnosis_simulated import Simulated
from raymon.live.collector import Collector
from raymon.live.scrape import Page

_ALARMS = ("warning", "critical")
SCORED_SECONDS: Final = 60.0
"""A fault is watched for so long after its first alarm at most."""
COST_SECONDS: Final = 20.0
"""What a fault costs is compared over the last seconds of that."""
COST_TOLERANCE: Final = 0.3
LEAST_COST_ERROR: Final = 0.01
"""A stated cost that is off by a hundredth of the throughput is no error."""


@dataclass(slots=True)
class Outcome:
    """How one run went.

    Attributes:
        first: Code of the first alarm after the fault; empty when there was none.
        after: Seconds from the fault to it.
        false: Code and sentence of every alarm while nothing was wrong; a lasting state counts once.
        healthy_seconds: How long it was watched while nothing was wrong.
        stated_cost: Share of the throughput that the verdict says the fault costs; NaN where it says nothing.
        real_cost: The share that it costs, by the same run (same seed) without the fault; NaN where nothing is stated.
        rules: Name of another rule to the seconds after which it alarmed, before the fault being negative.
    """

    scenario: str
    expected: frozenset[str]
    seed: int
    report_seconds: float
    weak: bool
    limit_seconds: float
    first: str = ""
    after: float = math.nan
    false: list[tuple[float, str, str]] = field(default_factory=list)
    healthy_seconds: float = 0.0
    stated_cost: float = math.nan
    real_cost: float = math.nan
    rules: dict[str, float] = field(default_factory=dict)
    rule_alarms: dict[str, int] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Return whether the first alarm was an expected one, without a false one before."""
        return self.first in self.expected and not self.false

    @property
    def in_time(self) -> bool:
        """Return whether it was right and soon enough."""
        return self.right and self.after <= self.limit_seconds

    @property
    def cost_is_right(self) -> bool:
        """Return whether the stated cost is within 30 % of the real one."""
        return abs(self.stated_cost - self.real_cost) <= max(LEAST_COST_ERROR, COST_TOLERANCE * self.real_cost)


def play(scenario: Simulated, seed: int, report_seconds: float) -> Outcome:
    """Run a scenario and watch it as the status page does, once a simulated second."""
    cluster = scenario.make(seed)
    collector = Collector(["http://model"], clock=cluster.clock)
    outcome = Outcome(scenario.name, scenario.expected, seed, report_seconds, scenario.weak, scenario.limit_seconds)
    rules, before = Rules(), ""
    fault = scenario.fault_after if scenario.expected else math.inf
    end = min(fault + SCORED_SECONDS, scenario.seconds)
    stated, steps = [], {}
    while cluster.now - START < scenario.seconds:
        cluster.second()
        at = cluster.now - START
        rules.watch(cluster, at)
        steps[round(at)] = _steps(cluster)
        if outcome.first and at > end and math.isinf(scenario.heals_after):
            continue
        pages = [
            Page(
                f"http://{node}:1/metrics",
                b"" if node in cluster.cut else body,
                "timed out" if node in cluster.cut else "",
            )
            for node, body in cluster.pages().items()
        ]
        snapshot = collector.digest(pages)
        view = snapshot.run()
        if view is None:
            continue
        verdict = snapshot.verdicts[view.run]
        alarm = verdict.severity in _ALARMS or verdict.state == "stale"
        unexpected = at < fault or (at >= scenario.heals_after and verdict.state not in scenario.expected)
        if alarm and unexpected and verdict.state != before:
            outcome.false.append((at, verdict.state, verdict.sentence))
        elif alarm and at >= fault and not outcome.first:
            outcome.first, outcome.after = verdict.state, at - fault
        if at > end - COST_SECONDS and verdict.state in scenario.expected:
            costs = [one.cost_ratio for one in verdict.findings if one.code in scenario.expected and one.cost_ratio]
            stated += [1.0 - math.prod(1.0 - cost for cost in costs)] if costs else []
        before = verdict.state if alarm else ""
    in_steps = any(worker.steps_taken for worker in cluster.workers)
    if stated and in_steps and math.isinf(scenario.heals_after):
        outcome.stated_cost = statistics.median(stated)
        produced = steps[round(end)] - steps[round(end - COST_SECONDS)]
        outcome.real_cost = 1.0 - produced / _without_fault(scenario, seed, end)
    outcome.healthy_seconds = min(fault, scenario.seconds)
    outcome.rules = {name: at - (0.0 if math.isinf(fault) else fault) for name, at in rules.first.items()}
    outcome.rule_alarms = {name: sum(at < fault for at in times) for name, times in rules.alarms.items()}
    return outcome


def _steps(cluster: Cluster) -> int:
    return sum(worker.steps_taken for worker in cluster.workers)


def _without_fault(scenario: Simulated, seed: int, end: float) -> int:
    """Return the steps in the last seconds before `end` of the same run without its fault."""
    cluster = scenario.make(seed)
    cluster.events.clear()
    before = 0
    while cluster.now - START < end:
        cluster.second()
        if round(cluster.now - START) == round(end - COST_SECONDS):
            before = _steps(cluster)
    return _steps(cluster) - before


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a share."""
    if not total:
        return 0.0, 1.0
    share = right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return middle - half, middle + half


def percentile(values: Sequence[float], ratio: float) -> float:
    """Return a percentile by the nearest rank; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(ratio * len(ordered)) - 1)] if ordered else math.nan


def most_false(hours: float, alarms: int) -> float:
    """Return the upper 95 % bound of false alarms an hour (Poisson)."""
    bounds = (3.0, 4.74, 6.3, 7.75, 9.15, 10.51, 11.84, 13.15, 14.43, 15.71)
    return (bounds[alarms] if alarms < len(bounds) else alarms + 1.65 * math.sqrt(alarms) + 2.0) / max(hours, 1e-9)

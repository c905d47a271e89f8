"""The simulated benchmark in short: a few faults are named first and in time, healthy runs raise no alarm."""

import dataclasses

import pytest

from benchmarks.diagnosis_hours import known
from benchmarks.diagnosis_score import play

HEALTHY_SECONDS = 90.0


@pytest.mark.parametrize(
    "name",
    [
        "one of 6 workers 2.5 times slower, async",
        "one of 4 workers crashes, sync",
        "one of 4 workers hangs in rollouts of 10 s",
        "a node of three does not answer",
    ],
)
def test_fault_is_named_first_and_in_time(name):
    scenario = known(1.0, 0.1)[name]
    outcome = play(dataclasses.replace(scenario, seconds=scenario.fault_after + 20.0), 0, 1.0)
    assert outcome.in_time, (outcome.first, outcome.after, outcome.false)


def test_node_that_returns_is_not_called_slow_and_costs_are_those_of_the_run_without_the_fault():
    scenarios = known(1.0, 0.1)
    assert play(scenarios["a node of three sleeps for 30 s, async"], 0, 1.0).in_time
    foreign = play(scenarios["foreign loop, sync: one of 4 workers 4 times slower"], 0, 1.0)
    assert foreign.in_time
    assert foreign.cost_is_right, (foreign.stated_cost, foreign.real_cost)


def test_workers_of_a_node_that_returns_are_not_stalled_until_its_next_export():
    assert play(known(10.0, 0.1)["a node of three sleeps for 30 s, async"], 0, 10.0).in_time


@pytest.mark.parametrize("name", ["heavy tails, synchronous", "worker hovers at the limit"])
def test_healthy_run_raises_no_alarm(name):
    scenario = known(1.0, 0.1)[f"healthy: {name}"]
    assert play(dataclasses.replace(scenario, seconds=HEALTHY_SECONDS), 0, 1.0).false == []

"""The benchmark of language models in short: skewed lengths raise no alarm, a slow rollout worker is named."""

from benchmarks.diagnosis_score import play
from benchmarks.language_simulated import SIGMAS, skewed, slow


def most_skewed(runs):
    return [(scenario, seed) for scenario, seed in runs if f"sigma {SIGMAS[-1]:g}" in scenario.name]


def test_skewed_lengths_raise_no_alarm():
    outcomes = [play(scenario, seed, 1.0) for scenario, seed in most_skewed(skewed(12, seconds=90.0))]
    assert len(outcomes) == 4
    assert [outcome.false for outcome in outcomes] == [[]] * 4


def test_slow_rollout_worker_is_named():
    outcomes = [play(scenario, seed, 1.0) for scenario, seed in most_skewed(slow(12))]
    assert [(outcome.first, outcome.false) for outcome in outcomes] == [("straggler_bound", [])] * 4
    assert sum(outcome.in_time for outcome in outcomes) >= 3

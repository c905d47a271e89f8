"""Verdicts on runs that train a language model, from numbers."""

import pytest
from language_views import CASES, GENERATES, LONG_TAIL, flow, reward, rollout, trains

from raymon.health import judge, judge_workers


@pytest.mark.parametrize("what", CASES)
def test_a_run_is_judged(what):
    view, state, severity = CASES[what]
    verdict = judge(view)
    assert (verdict.state, verdict.severity) == (state, severity), verdict.sentence
    assert "{" not in verdict.advice
    assert bool(verdict.advice) == (state != "healthy")


def test_the_tail_is_said_with_its_share_and_who_drew_long_responses():
    workers = (rollout("0"), rollout("1"), rollout("2", 0.0011, mean_rollout_seconds=5.0), reward())
    view = trains(*workers, sampler="sync", phase_ratio=GENERATES, flow=LONG_TAIL)
    verdict = judge(view)
    assert verdict.sentence == (
        "The last 3.0 % of the responses take 42 % of the step; worker 2 is not slow, it drew long ones; this costs "
        "42 % of the throughput (2,897 of 6,897 tokens/s)."
    )
    assert verdict.advice == (
        "Limit the response length (data.max_response_length), resume long responses in the next step "
        "(async_training.partial_rollout), or train while the last ones are generated "
        "(verl.experimental.fully_async_policy)."
    )


def test_workers_are_compared_within_their_role():
    """A reward worker whose calls are long is no straggler among rollout workers."""
    slow_reward = reward("8", mean_rollout_seconds=50.0, step_seconds=None)
    states = {
        verdict.worker: verdict.state for verdict in judge_workers(trains(rollout("0"), rollout("1"), slow_reward))
    }
    assert states == {"0": "running", "1": "running", "8": "running"}
    rewards = [reward(str(number), mean_rollout_seconds=5.0 if number == 9 else 1.0) for number in range(6, 10)]
    verdicts = {verdict.worker: verdict for verdict in judge_workers(trains(rollout("0"), rollout("1"), *rewards))}
    assert [name for name, verdict in verdicts.items() if verdict.state == "slow"] == ["9"]


@pytest.mark.parametrize("engine", ["verl", "openrlhf", "skyrl", "custom"])
def test_advice_names_the_options_of_the_trainer(engine):
    option = {
        "verl": " (algorithm.filter_groups.enable)",
        "openrlhf": " (--algo.dynamic_filtering_enable)",
        "skyrl": " (trainer.algorithm.dynamic_sampling.type)",
        "custom": "",
    }[engine]
    verdict = judge(trains(flow=flow(groups={"yes": 2.0, "no": 62.0}), engine=engine))
    assert verdict.advice.endswith(f"Groups without a signal can be left out{option}.")

"""What one bad number in an environment does to a worker's rollouts: it spoils its own fragment and nothing after."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from raymon.ppo.actions import action_spec
from raymon.ppo.fragments import Discounts
from raymon.ppo.normalize import Normalizer
from raymon.ppo.policy import ModelSpec, initial_weights
from raymon.ppo.worker import Worker, WorkerSpec

BAD_STEP = 13


class Once(gymnasium.Env):
    """Rewards of 1 in episodes of 10 steps; the reward of one step is no number."""

    observation_space = spaces.Box(-1.0, 1.0, (2,))
    action_space = spaces.Discrete(2)
    bad = float("nan")
    bad_observation = 0.0

    def __init__(self):
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        reward = self.bad if self.steps == BAD_STEP else 1.0
        seen = self.bad_observation if self.steps == BAD_STEP else 0.0
        return np.full(2, seen, np.float32), reward, self.steps % 10 == 0, False, {}


gymnasium.register("test/NanOnce-v0", Once)
gymnasium.register("test/InfOnce-v0", type("InfOnce", (Once,), {"bad": float("inf")}))
gymnasium.register("test/InfSeen-v0", type("InfSeen", (Once,), {"bad": 1.0, "bad_observation": float("inf")}))


def sampled(env, threads, **more):
    """Five fragments of 16 steps."""
    model = ModelSpec(2, action_spec(spaces.Discrete(2)), (8,))
    worker = Worker(
        WorkerSpec(
            run="bad",
            worker=0,
            life=0,
            restarts=0,
            env=env,
            num_envs=1,
            fragment_steps=16,
            seed=1,
            model=model,
            discounts=Discounts(0.99, 0.95),
            step_threads=threads,
            recording=False,
            **more,
        )
    )
    worker.start()
    weights = initial_weights(model, np.random.default_rng(0))
    scaling = Normalizer.fresh(2, observations=True, rewards=False).scaling()
    fragments = [worker.sample(weights, version, scaling) for version in range(5)]
    worker.close()
    return fragments


@pytest.mark.parametrize("threads", [0, 1], ids=["lock-step", "own pace"])
def test_infinite_observations_do_not_reach_the_normalizer(threads):
    fragments = sampled("test/InfSeen-v0", threads, normalize_observations=True)
    assert [fragment.finite() for fragment in fragments] == [False, True, True, True, True]
    assert np.isfinite(fragments[0].observations).all(), "cut at 10: its moments alone tell"


@pytest.mark.parametrize("env", ["test/NanOnce-v0", "test/InfOnce-v0"])
@pytest.mark.parametrize("threads", [0, 1], ids=["lock-step", "own pace"])
def test_a_reward_that_is_no_number_spoils_one_fragment(env, threads):
    fragments = sampled(env, threads, normalize_rewards=True)
    clipped = "Inf" in env  # normalised rewards are cut at 10
    assert [fragment.finite() for fragment in fragments] == [clipped, True, True, True, True]
    for fragment in fragments:
        assert np.isfinite(fragment.returns).all()
        assert np.isfinite(fragment.rewards_seen.mean).all()
        assert np.isfinite(fragment.rewards_seen.squares).all()
    returns = np.concatenate([fragment.returns for fragment in fragments])
    assert returns[0] == 10.0
    assert returns[1] == 9.0, "what is no number counts as nothing"
    assert set(returns[2:]) == {10.0}

"""Slow environments stepping concurrently, each at its own pace."""

import threading
import time

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from raymon.envs import EnvError, FragmentCollector, ThreadedVector, make_vector
from raymon.envs.vector import SerialVector


class Counting(gymnasium.Env):
    """Observes (environment, episode, step); the reward is the step; an episode has `length` steps."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Discrete(5)

    def __init__(self, number, length, pause=0.0, truncates=False):
        self.number, self.length, self.pause, self.truncates = number, length, pause, truncates
        self.episode, self.count, self.threads = 0, 0, set()

    def observe(self):
        return np.array([self.number, self.episode, self.count], np.float32)

    def reset(self, *, seed=None, options=None):
        self.threads.add(threading.get_ident())
        self.episode, self.count = self.episode + 1, 0
        return self.observe(), {}

    def step(self, action):
        self.threads.add(threading.get_ident())
        if self.pause:
            time.sleep(self.pause)
        self.count += 1
        end = self.count == self.length
        return self.observe(), float(self.count), end and not self.truncates, end and self.truncates, {}


def zeros(observations, steps, environments):
    return np.zeros(len(observations), np.int64), {"echo": observations[:, 2], "time": steps, "env": environments}


def check_segment(sampled, column, length):
    """One column must be an unbroken piece of one environment's life, next-step autoreset included."""
    number = sampled.environments[column]
    following = np.concatenate([sampled.observations[1:, column], sampled.last_observations[column : column + 1]])
    for t, (seen, after) in enumerate(zip(sampled.observations[:, column], following, strict=True)):
        assert seen[0] == after[0] == number
        if seen[2] == length:  # the episode was over: this step was the reset
            assert not sampled.valid[t, column]
            assert after.tolist() == [number, seen[1] + 1, 0]
            assert sampled.rewards[t, column] == 0
            assert not sampled.terminated[t, column]
        else:
            assert sampled.valid[t, column]
            assert after.tolist() == [number, seen[1], seen[2] + 1]
            assert sampled.rewards[t, column] == after[2]
            assert sampled.terminated[t, column] == (after[2] == length)


@pytest.mark.parametrize("strict", [False, True])
def test_fragments_are_unbroken_pieces_of_each_environments_life(strict):
    pauses = (0.0005, 0.001, 0.002, 0.004)
    envs = [Counting(number, 7, pause) for number, pause in enumerate(pauses)]
    vector = ThreadedVector(envs, seed=1, worker=0)
    collector = FragmentCollector(vector, 10, strict=strict)
    counted, last, returns, lengths = [], {}, [], []
    for version in range(6):

        def policy(seen, steps, environments, version=version):
            actions, extras = zeros(seen, steps, environments)
            return actions, {**extras, "version": np.full(len(seen), version)}

        sampled = collector.collect(policy, version, counted.append)
        assert sampled.observations.shape == (10, 4, 3)
        assert sampled.rewards.shape == sampled.valid.shape == (10, 4)
        for column in range(4):
            check_segment(sampled, column, 7)
            number = int(sampled.environments[column])
            if number in last:  # the next segment begins where the last one ended
                np.testing.assert_array_equal(sampled.observations[0, column], last[number])
            last[number] = sampled.last_observations[column]
        np.testing.assert_array_equal(sampled.extras["echo"], sampled.observations[..., 2])
        np.testing.assert_array_equal(sampled.extras["time"], np.repeat(np.arange(10)[:, None], 4, 1))
        np.testing.assert_array_equal(sampled.extras["env"], np.repeat(sampled.environments[None], 10, 0))
        assert sampled.version == sampled.extras["version"].min()
        if strict:
            assert sampled.environments.tolist() == [0, 1, 2, 3]
            assert sampled.version == version
        returns += sampled.returns
        lengths += sampled.lengths
    assert set(lengths) == {7}
    assert set(returns) == {28.0}
    vector.close()
    assert sum(counted) == sum((env.episode - 1) * 7 + env.count for env in envs) or not strict


def test_a_fast_environment_does_not_wait_for_a_slow_one():
    vector = ThreadedVector([Counting(0, 99, 0.0), Counting(1, 99, 0.05)], seed=1, worker=0)
    collector = FragmentCollector(vector, 10)
    owners = np.concatenate([collector.collect(zeros).environments for _ in range(4)])
    vector.close()
    assert (owners == 0).sum() >= 6


def test_truncation_differs_from_termination():
    vector = ThreadedVector([Counting(0, 3), Counting(1, 3, truncates=True)], seed=1, worker=0)
    sampled = FragmentCollector(vector, 8, strict=True).collect(zeros)
    assert np.flatnonzero(sampled.terminated[:, 0]).tolist() == [2, 6]
    assert np.flatnonzero(sampled.truncated[:, 1]).tolist() == [2, 6]
    assert not sampled.terminated[:, 1].any()
    assert not sampled.truncated[:, 0].any()
    vector.close()


def test_lock_step_in_threads_equals_stepping_in_turn():
    make = lambda: [gymnasium.make("Pendulum-v1") for _ in range(3)]  # noqa: E731
    threaded, serial = ThreadedVector(make(), seed=4, worker=1), SerialVector(make(), seed=4, worker=1)
    np.testing.assert_array_equal(threaded.reset()[0], serial.reset()[0])
    rng = np.random.default_rng(0)
    for _ in range(210):
        actions = rng.uniform(-2, 2, (3, 1)).astype(np.float32)
        for values, expected in zip(threaded.step(actions)[:4], serial.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(values, expected)
    threaded.close()
    assert not any(thread.is_alive() for thread in threaded._threads)


def test_an_environment_stays_in_its_thread():
    envs = [Counting(number, 4) for number in range(5)]
    vector = ThreadedVector(envs, seed=1, worker=0, threads=2)
    FragmentCollector(vector, 6).collect(zeros)
    vector.close()
    assert all(len(env.threads) == 1 for env in envs)
    assert len({*envs[0].threads, *envs[1].threads}) == 2


def test_slow_waiting_environments_get_threads_and_others_do_not():
    slow = {"low_seconds": 0.004, "high_seconds": 0.006}
    vector = make_vector("raymon/Simulated-v0", 3, seed=1, worker=0, env_kwargs=slow)
    assert isinstance(vector, ThreadedVector)
    vector.close()
    fast = {"low_seconds": 0.0, "high_seconds": 0.0}
    assert isinstance(make_vector("raymon/Simulated-v0", 3, seed=1, worker=0, env_kwargs=fast), SerialVector)
    assert isinstance(make_vector("Acrobot-v1", 3, seed=1, worker=0), SerialVector)
    assert isinstance(
        make_vector("raymon/Simulated-v0", 3, seed=1, worker=0, step_threads=0, env_kwargs=slow), SerialVector
    )
    forced = make_vector("CartPole-v1", 3, seed=1, worker=0, step_threads=2)
    assert isinstance(forced, ThreadedVector)
    assert len(forced._threads) == 2
    forced.close()


def test_an_environment_that_computes_gets_no_threads():
    class Busy(Counting):
        def step(self, action):
            end = time.thread_time() + 0.003
            while time.thread_time() < end:
                pass
            return super().step(action)

    gymnasium.register("Busy-v0", lambda: Busy(0, 9))
    try:
        assert isinstance(make_vector("Busy-v0", 2, seed=1, worker=0), SerialVector)
    finally:
        del gymnasium.registry["Busy-v0"]


def test_an_exception_in_a_thread_is_raised_where_it_is_received():
    class Broken(Counting):
        def step(self, action):
            raise ValueError("the simulator diverged")

    vector = ThreadedVector([Counting(0, 9, 0.2), Broken(1, 9)], seed=1, worker=3)
    with pytest.raises(EnvError, match="environment 1 of worker 3 failed: ValueError: the simulator diverged"):
        FragmentCollector(vector, 5).collect(zeros)
    vector.close()


def test_an_environment_that_hangs_is_named_while_the_others_go_on():
    release = threading.Event()

    class Hanging(Counting):
        def step(self, action):
            if self.count == 3:
                release.wait(30)
            return super().step(action)

    vector = ThreadedVector([Counting(0, 9, 0.001), Hanging(1, 9)], seed=1, worker=2, timeout_seconds=0.5)
    collector = FragmentCollector(vector, 5)

    def go_on():
        while True:
            collector.collect(zeros)

    with pytest.raises(EnvError, match=r"environment 1 of worker 2 has not answered for 0\.5 s"):
        go_on()
    release.set()
    vector.close()


def test_sending_twice_and_receiving_nothing_are_refused():
    vector = ThreadedVector([Counting(0, 9)], seed=1, worker=0)
    vector.reset()
    with pytest.raises(EnvError, match="no environment is in flight"):
        vector.receive()
    vector.send([0], np.zeros(1, np.int64))
    with pytest.raises(EnvError, match="still stepping"):
        vector.send([0], np.zeros(1, np.int64))
    vector.close()


def test_slow_environments_add_up_their_rates():
    kwargs = {"low_seconds": 0.020, "high_seconds": 0.100}
    vector = make_vector("raymon/Simulated-v0", 8, seed=1, worker=0, env_kwargs=kwargs)
    collector = FragmentCollector(vector, 16)
    collector.collect(zeros)
    began, steps = time.perf_counter(), []
    for _ in range(4):
        collector.collect(zeros, on_steps=steps.append)
    rate = sum(steps) / (time.perf_counter() - began)
    vector.close()
    # 90 % on an idle machine (benchmarks); lock-step would reach 66 %, one after the other 13 %
    assert rate > 0.72 * 8 / 0.060


def test_simulated_steps_last_as_long_as_they_should():
    for distribution in ("uniform", "constant", "exponential"):
        env = gymnasium.make(
            "raymon/Simulated-v0", low_seconds=0.0, high_seconds=0.002, distribution=distribution, end_probability=0.0
        )
        env.reset(seed=1)
        drawn = [env.unwrapped._duration() for _ in range(4000)]
        assert np.mean(drawn) == pytest.approx(0.001, rel=0.1), distribution
    slow = gymnasium.make("raymon/Simulated-v0", low_seconds=0.01, high_seconds=0.01, slowdown={2: 3.0}, worker=2)
    slow.reset(seed=1)
    began = time.perf_counter()
    slow.step(0)
    assert time.perf_counter() - began >= 0.03


def test_the_factory_passes_the_worker_to_simulated():
    kwargs = {"low_seconds": 0.0, "high_seconds": 0.0, "slowdown": {1: 9.0}}
    for worker, factor in ((0, 1.0), (1, 9.0)):
        vector = make_vector("raymon/Simulated-v0", 1, seed=1, worker=worker, env_kwargs=kwargs)
        assert vector._envs[0].unwrapped._factor == factor


@pytest.mark.parametrize(
    "kwargs",
    [
        {"low_seconds": 2.0},
        {"distribution": "normal"},
        {"num_actions": 9, "observation_size": 8},
        {"slowdown": "{1:5}"},
        {"slowdown": {"one": 5}},
    ],
)
def test_simulated_refuses_parameters_that_make_no_sense(kwargs):
    with pytest.raises(EnvError, match="expected"):
        make_vector("raymon/Simulated-v0", 1, seed=1, worker=0, env_kwargs=kwargs)


def test_the_simulation_rewards_only_the_right_action():
    env = gymnasium.make("raymon/Simulated-v0", low_seconds=0.0, high_seconds=0.0, end_probability=0.2)
    observation, _ = env.reset(seed=3)
    ends = 0
    for step in range(500):
        best = int(np.argmax(observation[:4]))
        right = step % 2 == 0
        observation, reward, terminated, _, _ = env.step(best if right else (best + 1) % 4)
        assert reward == float(right)
        if terminated:
            ends += 1
            observation, _ = env.reset()
    assert 60 < ends < 140

"""Making environments and stepping them together, against gymnasium's own vector environments."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from raymon.envs import EnvError, make_vector
from raymon.envs.make import SAME_DYNAMICS, make_single
from raymon.envs.vector import NativeVector, SerialVector, seeds_for


def random_actions(space, size, rng):
    if isinstance(space, spaces.Discrete):
        return rng.integers(0, space.n, size)
    return rng.uniform(-1.0, 1.0, (size, *space.shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("env_id", "width", "dtype"),
    [("CartPole-v1", 4, None), ("Acrobot-v1", 6, None), ("Pendulum-v1", 3, np.float32), ("LunarLander-v3", 8, None)],
)
def test_serial_stepping_is_gymnasiums_own_with_less_around_it(env_id, width, dtype):
    size, rng = 3, np.random.default_rng(5)
    ours = SerialVector([make_single(env_id) for _ in range(size)], seed=7, worker=2)
    theirs = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make(env_id)] * size)
    seen = ours.reset()[0]
    expected = theirs.reset(seed=seeds_for(7, 2, size))[0]
    np.testing.assert_array_equal(seen, np.asarray(expected, np.float32))
    ended = 0
    for _ in range(300):
        actions = random_actions(ours.single_action_space, size, rng)
        values, reference = ours.step(actions), theirs.step(actions)
        np.testing.assert_array_equal(values[0], np.asarray(reference[0], np.float32))
        np.testing.assert_allclose(values[1], reference[1], rtol=1e-6)
        np.testing.assert_array_equal(values[2], reference[2])
        np.testing.assert_array_equal(values[3], reference[3])
        ended += int((values[2] | values[3]).sum())
    assert values[0].dtype == values[1].dtype == np.float32
    assert values[0].shape == (size, width)
    assert ended or env_id == "Acrobot-v1"
    ours.close()
    theirs.close()


@pytest.mark.parametrize("env_id", sorted(SAME_DYNAMICS))
def test_native_form_makes_the_same_transitions_as_the_ordinary_environment(env_id):
    native = make_vector(env_id, 16, seed=3, worker=0)
    assert isinstance(native, NativeVector)
    ordinary = [gymnasium.make(env_id) for _ in range(16)]
    rng = np.random.default_rng(1)
    seen = native.reset()[0]
    for env, row in zip(ordinary, seen, strict=True):
        env.reset(seed=0)
        env.unwrapped.state = row.astype(np.float64)
    fresh, resets = np.ones(16, bool), 0
    for step in range(60):
        # start both from the same float64 state, which is what the next step is made from
        for env, state in zip(ordinary, native._envs.state.T, strict=True):
            env.unwrapped.state = np.array(state)
        actions = rng.integers(0, 2, 16)
        values = native.step(actions)
        for number, env in enumerate(ordinary):
            if not fresh[number]:
                assert values[1][number] == 0.0
                assert not values[2][number]
                assert not values[3][number]
                env.reset()
                resets += 1
                continue
            observation, reward, terminated, truncated, _ = env.step(actions[number])
            np.testing.assert_allclose(values[0][number], observation, rtol=1e-6, atol=1e-7)
            assert (values[1][number], values[2][number], values[3][number]) == (reward, terminated, truncated), step
        fresh = ~(values[2] | values[3])
    assert resets >= 16
    native.close()


def test_native_form_truncates_and_resets_as_gymnasium_says():
    vector = make_vector("CartPole-v1", 1, seed=1, worker=0)
    vector._envs.max_episode_steps = 5
    vector.reset()
    flags = [vector.step(np.array([step % 2]))[3][0] for step in range(12)]
    assert [step for step, flag in enumerate(flags) if flag] == [4, 10]  # the step between is the reset
    vector.close()


def test_seeds_differ_between_environments_and_repeat():
    everything = [seed for worker in range(8) for seed in seeds_for(1, worker, 64)]
    assert len(set(everything)) == len(everything)
    assert seeds_for(1, 3, 64)[:8] == seeds_for(1, 3, 8)
    for worker, same in ((0, True), (1, False)):
        first = make_vector("Pendulum-v1", 2, seed=5, worker=0).reset()[0]
        second = make_vector("Pendulum-v1", 2, seed=5, worker=worker).reset()[0]
        assert np.array_equal(first, second) is same


@pytest.mark.parametrize(
    ("env_id", "parts"),
    [
        ("CartPol-v1", ["unknown environment 'CartPol-v1'", "CartPole-v1"]),
        ("LunarLander-v2", ["LunarLander-v3"]),
        ("no_such_module:Thing-v0", ["no_such_module"]),
        ("Humanoid-v5", ["not installed", "pip install 'gymnasium[mujoco]'"]),
        ("zmq://localhost", ["zmq://host:port"]),
    ],
)
def test_environments_that_cannot_be_made_are_explained(env_id, parts):
    with pytest.raises(EnvError) as error:
        make_vector(env_id, 2, seed=1, worker=0)
    for part in parts:
        assert part in str(error.value)


def test_missing_box2d_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "Box2D", None)
    for module in ("lunar_lander", "bipedal_walker"):
        monkeypatch.delitem(__import__("sys").modules, f"gymnasium.envs.box2d.{module}", raising=False)
    monkeypatch.delitem(__import__("sys").modules, "gymnasium.envs.box2d", raising=False)
    with pytest.raises(EnvError, match=r"pip install 'raymon-rl\[box2d\]'"):
        make_vector("LunarLander-v3", 1, seed=1, worker=0)


def test_arguments_follow_the_name():
    vector = make_vector("LunarLander-v3?continuous=true&gravity=-5", 1, seed=1, worker=0)
    assert vector.single_action_space.shape == (2,)
    assert vector._envs[0].unwrapped.gravity == -5
    simulated = 'raymon/Simulated-v0?low_seconds=0&high_seconds=0&distribution=constant&slowdown={"1": 4}'
    assert make_vector(simulated, 1, seed=1, worker=1)._envs[0].unwrapped._factor == 4.0
    assert make_vector(simulated, 1, seed=1, worker=0, env_kwargs={"observation_size": 5}).reset()[0].shape == (1, 5)
    for wrong in ("Pendulum-v1?g", "Pendulum-v1?=3", "Pendulum-v1?a b=3"):
        with pytest.raises(EnvError, match="expected name=value"):
            make_vector(wrong, 1, seed=1, worker=0)


def test_wrong_arguments_of_an_environment_are_explained():
    with pytest.raises(EnvError, match="gravitas"):
        make_vector("Pendulum-v1", 1, seed=1, worker=0, env_kwargs={"gravitas": 1})
    with pytest.raises(EnvError, match="at least 1"):
        make_vector("Pendulum-v1", 0, seed=1, worker=0)


class Odd(gymnasium.Env):
    """Spaces that need flattening: a dictionary to see, a counted-from-3 choice to act with."""

    observation_space = spaces.Dict({"a": spaces.Box(0, 255, (2, 2), np.uint8), "b": spaces.Discrete(3)})
    action_space = spaces.Discrete(4, start=3)
    taken: list

    def reset(self, *, seed=None, options=None):
        self.taken = []
        return {"a": np.full((2, 2), 9, np.uint8), "b": np.int64(2)}, {}

    def step(self, action):
        if action == 6:
            raise ZeroDivisionError("the simulator diverged")
        self.taken.append(action)
        return {"a": np.full((2, 2), action, np.uint8), "b": np.int64(0)}, 1.0, False, False, {}


def test_dictionaries_are_flattened_and_actions_shifted():
    env = Odd()
    vector = SerialVector([env], seed=1, worker=0)
    assert vector.single_observation_space.shape == (7,)
    assert vector.single_action_space == spaces.Discrete(4)
    np.testing.assert_array_equal(vector.reset()[0], [[9, 9, 9, 9, 0, 0, 1]])
    seen = vector.step(np.array([2]))[0]
    assert env.taken == [5]
    np.testing.assert_array_equal(seen, [[5, 5, 5, 5, 1, 0, 0]])


def test_an_exception_in_an_environment_names_worker_and_environment():
    vector = SerialVector([Odd(), Odd()], seed=1, worker=4)
    vector.reset()
    with pytest.raises(EnvError, match="environment 1 of worker 4 failed: ZeroDivisionError: the simulator diverged"):
        vector.step(np.array([0, 3]))


@pytest.mark.parametrize(
    ("space", "form", "given", "taken"),
    [
        (spaces.MultiDiscrete([2, 3], start=[1, 0]), spaces.MultiDiscrete([2, 3]), [[1, 2]], [2, 2]),
        (spaces.MultiBinary(3), spaces.MultiDiscrete([2, 2, 2]), [[1, 0, 1]], [1, 0, 1]),
        (
            spaces.Box(-1, 1, (2, 2), np.float64),
            spaces.Box(-1, 1, (4,), np.float32),
            [[0.5, 0.25, 0.0, -1.0]],
            [[0.5, 0.25], [0.0, -1.0]],
        ),
    ],
)
def test_actions_reach_the_environment_in_its_own_form(space, form, given, taken):
    env = Odd()
    env.action_space = space
    vector = SerialVector([env], seed=1, worker=0)
    assert vector.single_action_space == form
    received = []
    env.step = lambda action: (received.append(action), Odd.reset(env)[0], 0.0, False, False, {})[1:]
    vector = SerialVector([env], seed=1, worker=0)
    vector.reset()
    vector.step(np.array(given))
    np.testing.assert_array_equal(received[0], taken)
    assert space.contains(received[0])


def test_spaces_that_cannot_be_used_are_refused():
    env = Odd()
    env.action_space = spaces.Tuple([spaces.Discrete(2)])
    with pytest.raises(EnvError, match="found action space Tuple"):
        SerialVector([env], seed=1, worker=0)
    env = Odd()
    env.observation_space = spaces.Sequence(spaces.Discrete(2))
    with pytest.raises(EnvError, match="observation space"):
        SerialVector([env], seed=1, worker=0)


def test_an_observation_that_does_not_fit_its_space_is_refused():
    env = Odd()
    env.observation_space = spaces.Box(-1, 1, (3,), np.float32)
    env.reset = lambda *, seed=None, options=None: (np.zeros(1, np.float32), {})
    with pytest.raises(EnvError, match=r"shape \(1,\), the observation space says \(3,\)"):
        SerialVector([env], seed=1, worker=0).reset()

"""PPO's arithmetic: hand-written gradients against autograd, numpy against torch, GAE by hand, merged moments."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from raymon.ppo.actions import ActionSpec, SpaceError, action_spec
from raymon.ppo.fragments import Fragment
from raymon.ppo.gae import advantages
from raymon.ppo.learner import Learner
from raymon.ppo.losses import clipped_surrogate, evaluate, gaussian, value_loss
from raymon.ppo.normalize import Normalizer, Scaling, merge, moments_of
from raymon.ppo.policy import LOG_STD_RANGE, ModelSpec, Policy, initial_weights
from raymon.ppo.rollouts import Rollouts
from raymon.train.options import Config

DISCRETE = ActionSpec("discrete", (3,), single=True)
MULTI = ActionSpec("discrete", (2, 4, 3))
BOX = ActionSpec("box", (1, 1), low=(-2.0, 0.0), high=(2.0, 10.0))
MODELS = {
    "discrete": ModelSpec(5, DISCRETE, (8, 6)),
    "multi-discrete": ModelSpec(5, MULTI, (8,)),
    "box": ModelSpec(5, BOX, (8, 6), initial_log_std=-0.3),
    "box by state": ModelSpec(5, BOX, (8,), activation="relu", deviation="state"),
    "no hidden layer": ModelSpec(5, DISCRETE, ()),
}


def sampled(spec, rows=37, seed=0):
    """Weights, and a fragment that a policy a little different from them made."""
    rng = np.random.default_rng(seed)
    weights = initial_weights(spec, rng) + rng.normal(0, 0.1, spec.size()).astype(np.float32)
    policy = Policy(spec)
    policy.load(weights + rng.normal(0, 0.05, spec.size()).astype(np.float32))
    observations = rng.standard_normal((rows, 5)).astype(np.float32)
    head = policy.head(observations, np.empty((rows, spec.head_size), np.float32))
    actions = policy.choose(head, policy.noise(rng, (rows,)))
    numbers = [rng.standard_normal(rows).astype(np.float32) for _ in range(2)]
    fragment = Fragment(
        0,
        0,
        0.0,
        observations,
        actions,
        policy.log_probability(head, actions),
        numbers[0],
        numbers[1],
        np.zeros(0, np.float32),
        np.zeros(0, np.int32),
    )
    return weights, policy, fragment


def autograd_loss(spec, flat, fragment, config):
    """The whole loss once more, in plain torch with its own distributions."""
    layout = spec.layout()

    def network(name):
        x = torch.from_numpy(fragment.observations)
        for index in range(len(spec.hidden) + 1):
            parts = []
            for part in ("weight", "bias"):
                offset, shape = layout[f"{name}.{index}.{part}"]
                parts.append(flat[offset : offset + int(np.prod(shape))].view(shape))
            x = x @ parts[0] + parts[1]
            if index < len(spec.hidden):
                x = torch.tanh(x) if spec.activation == "tanh" else torch.relu(x)
        return x

    head, value = network("policy"), network("value")[:, 0]
    actions = torch.from_numpy(fragment.actions)
    if spec.actions.kind == "discrete":
        logits = torch.split(head, list(spec.actions.sizes), dim=1)
        choices = [torch.distributions.Categorical(logits=part) for part in logits]
        log_probability = sum(c.log_prob(actions[:, k].long()) for k, c in enumerate(choices))
        entropy = sum(c.entropy() for c in choices)
    else:
        count = spec.actions.components
        offset = layout["log_std"][0] if spec.free_deviation else 0
        log_std = flat[offset : offset + count] if spec.free_deviation else head[:, count:]
        normal = torch.distributions.Normal(head[:, :count], log_std.expand_as(head[:, :count]).exp())
        log_probability, entropy = normal.log_prob(actions).sum(1), normal.entropy().sum(1)
    advantage = torch.from_numpy(fragment.advantages)
    target = advantage + torch.from_numpy(fragment.values)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    ratio = (log_probability - torch.from_numpy(fragment.log_probabilities)).exp()
    surrogate = torch.min(ratio * advantage, ratio.clamp(1 - config.clip, 1 + config.clip) * advantage)
    value_error = 0.5 * (value - target) ** 2
    if config.value_clip is not None:
        old = torch.from_numpy(fragment.values)
        clipped = old + (value - old).clamp(-config.value_clip, config.value_clip)
        value_error = torch.max(value_error, 0.5 * (clipped - target) ** 2)
    return (-surrogate + config.value_coefficient * value_error - config.entropy_coefficient * entropy).mean()


@pytest.mark.parametrize("value_clip", [None, 0.2])
@pytest.mark.parametrize("name", MODELS)
def test_gradient_of_the_loss_equals_autograds(name, value_clip):
    spec = MODELS[name]
    weights, _, fragment = sampled(spec)
    config = Config(
        entropy_coefficient=0.02, max_gradient_norm=1e9, minibatch=1000, epochs=1, value_clip=value_clip, clip=0.05
    )
    learner = Learner(config, spec, weights, torch.device("cpu"))
    flat = torch.from_numpy(weights.copy()).requires_grad_()
    loss = autograd_loss(spec, flat, fragment, config)
    loss.backward()
    update = learner.update([fragment], remaining=1.0)
    assert update.losses["total"] == pytest.approx(float(loss.detach()), abs=1e-4)
    assert update.gradient_norm == pytest.approx(float(flat.grad.norm()), rel=1e-3)
    # Adam's first moment after one step is a tenth of the gradient
    arrays, _ = learner.state()
    np.testing.assert_allclose(arrays["adam_exp_avg"] * 10, flat.grad.numpy(), atol=2e-4)


@pytest.mark.parametrize("name", MODELS)
def test_numpy_and_torch_agree_on_log_probabilities(name):
    spec = MODELS[name]
    _, policy, fragment = sampled(spec)
    head = policy.head(fragment.observations, np.empty((37, spec.head_size), np.float32))
    actions = torch.from_numpy(fragment.actions)
    actions = actions.long() if spec.actions.kind == "discrete" else actions
    free = torch.full((2,), 0.0)
    if spec.free_deviation:
        free = torch.from_numpy(policy._log_std)
    evaluated = evaluate(spec, torch.from_numpy(head), actions, free if spec.free_deviation else None)
    np.testing.assert_allclose(evaluated.log_probability.numpy(), fragment.log_probabilities, atol=1e-5)


def test_a_deviation_at_its_limit_gets_no_gradient():
    actions, at_limit = torch.zeros(3, 1), torch.tensor([[LOG_STD_RANGE[1] + 1.0]])
    inside = torch.tensor([[0.0]])
    for free, slope in ((at_limit, 0.0), (inside, -1.0)):
        assert gaussian(torch.zeros(3, 1), actions, free).free_score.tolist() == [[slope]] * 3


def test_choices_follow_the_policys_probabilities():
    spec = ModelSpec(1, DISCRETE, ())
    policy = Policy(spec)
    head = np.log(np.tile(np.array([[0.2, 0.5, 0.3]], np.float32), (20000, 1)))
    actions = policy.choose(head, policy.noise(np.random.default_rng(0), (20000,)))
    assert np.bincount(actions[:, 0]) / 20000 == pytest.approx([0.2, 0.5, 0.3], abs=0.015)


def test_clipping_stops_the_gradient_only_where_it_must():
    log_ratio = torch.tensor([0.5, 0.5, -0.5, -0.5, 0.05])
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    loss, slope, ratio = clipped_surrogate(log_ratio, advantage, 0.2)
    assert (slope == 0).tolist() == [True, False, False, True, False]
    assert loss[0] == pytest.approx(-1.2)
    assert loss[1] == pytest.approx(float(ratio[1]))


def test_value_loss_without_clip_is_half_the_squared_error():
    loss, slope = value_loss(torch.tensor([3.0]), torch.tensor([0.0]), torch.tensor([1.0]), None)
    assert (float(loss), float(slope)) == (2.0, 2.0)


def test_truncation_bootstraps_termination_does_not():
    rewards, values = np.ones((1, 2), np.float32), np.array([[2.0, 2.0], [10.0, 10.0]], np.float32)
    terminated, done = np.array([[True, False]]), np.array([[True, True]])
    result = advantages(rewards, values, terminated, done, 0.9, 0.95)
    assert result.tolist() == [[1 - 2, pytest.approx(1 + 9 - 2)]]


def test_advantages_do_not_cross_an_episodes_end():
    rewards = np.array([[1.0], [0.0], [5.0]], np.float32)  # the middle row is the reset
    values = np.zeros((4, 1), np.float32)
    done = np.array([[True], [False], [False]])
    for terminated in (done, np.zeros_like(done)):
        result = advantages(rewards, values, terminated, done, 1.0, 1.0)
        assert result[:, 0].tolist() == [1.0, 5.0, 5.0]


def test_the_reset_step_is_neither_counted_nor_part_of_an_episode():
    spec = ModelSpec(1, DISCRETE, ())
    rollouts = Rollouts(spec, 4, np.zeros((1, 1), np.float32), False, None)
    rollouts.rewards[:, 0] = [1.0, 1.0, 0.0, 1.0]
    rollouts.terminated[:, 0] = rollouts.done[:, 0] = [False, True, False, False]
    steps = rollouts.end(4)
    assert steps.counted[:, 0].tolist() == [True, True, False, True]
    assert (steps.returns.tolist(), steps.lengths.tolist()) == ([2.0], [2])
    rollouts.rewards[:, 0] = [1.0, 1.0, 1.0, 0.0]
    rollouts.terminated[:, 0] = rollouts.done[:, 0] = [False, False, True, False]
    steps = rollouts.end(4)
    assert (steps.returns.tolist(), steps.lengths.tolist()) == ([4.0], [4])  # one step of the rollout before


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_moments_merged_in_pieces_are_those_of_the_whole(sizes, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(100.0, 0.5, (size, 3)) for size in sizes]
    merged = moments_of(np.zeros((0, 3)))
    for part in parts:
        merged = merge(merged, moments_of(part))
    whole = np.concatenate(parts)
    assert merged.rows == len(whole)
    if len(whole):
        np.testing.assert_allclose(merged.mean, whole.mean(0))
        np.testing.assert_allclose(merged.squares, ((whole - whole.mean(0)) ** 2).sum(0), atol=1e-6)


def test_normalised_observations_have_mean_0_and_deviation_1():
    rows = np.random.default_rng(0).normal([5.0, -3.0], [2.0, 0.1], (5000, 2)).astype(np.float32)
    normalizer = Normalizer.fresh(2, observations=True, rewards=False)
    normalizer.add(moments_of(rows), None)
    scaling = normalizer.scaling()
    assert isinstance(scaling, Scaling)
    normal = scaling.apply(rows)
    np.testing.assert_allclose(normal.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(normal.std(0), 1, atol=1e-2)


def test_box_actions_reach_and_never_pass_the_bounds():
    actions = np.array([[-9.0, -9.0], [0.0, 0.0], [1.0, 1.0], [9.0, 9.0]], np.float32)
    clipped = BOX.to_environment(actions)
    assert clipped.tolist() == [[-2.0, 0.0], [0.0, 5.0], [2.0, 10.0], [2.0, 10.0]]
    squashed = action_spec(spaces.Box(-2.0, 2.0, (2,)), "squash").to_environment(actions)
    assert np.abs(squashed).max() <= 2.0
    assert 1.5 < squashed[2, 0] < 1.6  # 2 tanh(1)


def test_a_space_without_bounds_cannot_be_squashed():
    with pytest.raises(SpaceError, match="nothing to squash"):
        action_spec(spaces.Box(-np.inf, np.inf, (1,)), "squash")


def test_a_loss_that_is_not_a_number_changes_nothing():
    spec = MODELS["discrete"]
    weights, _, fragment = sampled(spec)
    learner = Learner(Config(minibatch=8), spec, weights, torch.device("cpu"))
    learner.poisoned = True
    update = learner.update([fragment], 1.0)
    assert update.nonfinite
    assert update.gradient_steps == 0
    np.testing.assert_array_equal(learner.weights(), weights)
    assert not learner.update([fragment], 1.0).nonfinite
    assert np.isfinite(learner.weights()).all()


def test_the_epochs_stop_when_the_policy_has_moved_far_enough():
    spec = MODELS["discrete"]
    weights, _, fragment = sampled(spec)
    learner = Learner(Config(minibatch=8, epochs=50, target_kl=0.01), spec, weights, torch.device("cpu"))
    assert learner.update([fragment], 1.0).gradient_steps < 50 * 5


if torch.cuda.is_available():  # defined only where it can run: a test that is always skipped shows nothing

    def test_cuda_and_cpu_learn_the_same():
        spec = MODELS["box"]
        weights, _, fragment = sampled(spec)
        results = []
        for device in ("cpu", "cuda"):
            learner = Learner(Config(minibatch=8), spec, weights, torch.device(device))
            learner.update([fragment], 1.0)
            results.append(learner.weights())
        np.testing.assert_allclose(results[0], results[1], atol=1e-3)

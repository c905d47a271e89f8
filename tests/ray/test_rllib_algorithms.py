"""RLlib's other algorithms, several agents and learners in processes of their own, as docs/rllib.md describes them."""

import math
import warnings

import pytest
from exported import series, total
from support import poll, ray_session, settle

import raymon.rllib
from raymon import catalog

# The first algorithm imports RLlib in every process: half a minute and more on a loaded machine.
pytestmark = pytest.mark.timeout(600)

ALMOST_ALL = 0.9
"""On an overloaded machine Ray has lost one export of an env runner, see docs/robustness.md: 3 of 128 steps."""
ASYNCHRONOUS = {"train_batch_size_per_learner": 128}
REPLAY = {"num_steps_sampled_before_learning_starts": 32, "train_batch_size": 32}
ON_POLICY = {"train_batch_size_per_learner": 128, "minibatch_size": 64, "num_epochs": 1}
CASES = {
    # name: algorithm, environment, training options, number of learners, figures of the learner that are shown
    "impala": ("IMPALA", "CartPole-v1", ASYNCHRONOUS, 0, (catalog.GRADIENT_NORM, catalog.ENTROPY)),
    "appo": ("APPO", "CartPole-v1", ASYNCHRONOUS, 0, (catalog.GRADIENT_NORM, catalog.ENTROPY)),
    "dqn": ("DQN", "CartPole-v1", REPLAY, 0, (catalog.GRADIENT_NORM,)),
    "sac": ("SAC", "Pendulum-v1", REPLAY, 0, (catalog.LEARNING_RATE,)),
    # Not both at once: learners whose agents have unequal numbers of minibatches wait for each other for ever.
    "ppo-agents": ("PPO", "agents", ON_POLICY, 0, (catalog.KL, catalog.ENTROPY, catalog.LEARNING_RATE)),
    "ppo-learners": ("PPO", "CartPole-v1", ON_POLICY, 2, (catalog.KL, catalog.ENTROPY, catalog.LEARNING_RATE)),
}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with ray_session(num_cpus=8), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def build(algorithm, environment, training, learners, run):
    from ray.rllib.examples.envs.classes.multi_agent import MultiAgentCartPole
    from ray.tune.registry import get_trainable_cls, register_env

    config = get_trainable_cls(algorithm).get_default_config().environment(environment)
    if environment == "agents":
        register_env("agents", lambda _: MultiAgentCartPole({"num_agents": 2}))
        config.multi_agent(policies={"p0", "p1"}, policy_mapping_fn=lambda agent, *_, **__: f"p{agent}")
    config.env_runners(num_env_runners=2, rollout_fragment_length=32 if algorithm in ("PPO", "IMPALA", "APPO") else 1)
    config.learners(num_learners=learners, num_gpus_per_learner=0).training(**training)
    if algorithm in ("IMPALA", "APPO"):
        config.learners(num_aggregator_actors_per_learner=0)
    config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=64)
    return config.callbacks(raymon.rllib.Callbacks.named(run)).build_algo()


@pytest.mark.parametrize("case", CASES)
def test_an_algorithm_shows_what_the_documentation_says(case):
    algorithm, environment, training, learners, shown = CASES[case]
    run = f"rllib-{case}"
    built = build(algorithm, environment, training, learners, run)
    result = {}

    def trained():
        result.update(built.train())
        return total(catalog.UPDATES, run=run) >= 2 and len(series(catalog.LOSS, run=run))

    def arrived():
        steps = total(catalog.ENV_STEPS, run=run)
        received = total(catalog.FRAGMENT_STEPS, run=run, outcome="received")
        assert all(total(catalog.ENV_STEPS, run=run, worker=number) > 0 for number in (1, 2))
        assert steps > received * ALMOST_ALL
        if training is not ASYNCHRONOUS:
            assert steps <= received == result["num_env_steps_sampled_lifetime"]
        assert total(catalog.PHASE_SECONDS, run=run, phase="learn") > 0
        assert total(catalog.PHASE_SECONDS, run=run, phase="sample") > 0
        assert all(math.isfinite(series(metric, run=run)[0]) for metric in shown)
        assert series(catalog.RUN_INFO, run=run, algorithm=algorithm) == [1.0]
        assert total(catalog.RECORDING_DROPPED, run=run) == 0

    try:
        poll(trained, 150, "updates", every=0.0)
        settle(arrived)
    finally:
        built.stop()

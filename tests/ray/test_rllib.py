"""RLlib's PPO records every runner by its number, losses and restarts included."""

import contextlib
import itertools
import math
import os
import signal
import warnings

import numpy as np
import pytest
from exported import series, total
from support import poll, ray_session, settle

import raymon.rllib
from raymon import catalog
from raymon.rllib.algorithm import AlgorithmRecorder
from raymon.rllib.results import rollouts_in

# A restarted runner imports RLlib again: half a minute and more on a loaded machine.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with ray_session(num_cpus=8):
        yield


def build(algorithm, run, **training):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # RLlib's and gymnasium's own, of the import and of building an algorithm
        return configured(algorithm, run, **training).build_algo()


def configured(algorithm, run, **training):
    from ray.tune.registry import get_trainable_cls

    return (
        get_trainable_cls(algorithm)
        .get_default_config()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=2, rollout_fragment_length=32)
        .learners(num_learners=0)
        .training(train_batch_size_per_learner=128, **training)
        .fault_tolerance(restart_failed_env_runners=True, delay_between_env_runner_restarts_s=0.1)
        .reporting(min_time_s_per_iteration=0)
        .callbacks(raymon.rllib.Callbacks.named(run))
    )


@pytest.fixture(autouse=True)
def only_our_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def ppo():
    algorithm = build("PPO", "rllib-ppo", minibatch_size=64, num_epochs=1)
    yield algorithm
    algorithm.stop()


def test_rollouts_of_ppo_arrive_by_runner_and_in_the_ledger(ppo):
    result = {}
    for _ in range(3):
        result = ppo.train()
    assert "raymon" not in result["env_runners"], "RLlib's result stays as it was"
    sampled = int(result["num_env_steps_sampled_lifetime"])
    run = "rllib-ppo"

    def arrived():
        assert total(catalog.FRAGMENT_STEPS, run=run, outcome="received") == sampled
        assert total(catalog.ENV_STEPS, run=run) == sampled
        assert {len(series(catalog.ENV_STEPS, run=run, worker=number)) for number in (1, 2)} == {1}
        assert total(catalog.FRAGMENTS, run=run, outcome="received") == total(catalog.ROLLOUTS, run=run)
        assert total(catalog.UPDATES, run=run) == int(result["training_iteration"])
        assert total(catalog.EPISODES, run=run) == result["env_runners"]["num_episodes_lifetime"]
        assert series(catalog.TRAINED_STEPS, run=run) == [sampled]
        assert series(catalog.POLICY_LAG, run=run, statistic="max") == [0.0]
        assert series(catalog.RUN_INFO, run=run, engine="rllib", algorithm="PPO", environment="CartPole-v1") == [1.0]

    settle(arrived)


def test_where_ppo_s_time_goes(ppo):
    run = "rllib-ppo"

    def arrived():
        assert total(catalog.PHASE_SECONDS, run=run, phase="learn") > 0
        assert total(catalog.PHASE_SECONDS, run=run, phase="sample") > 0
        assert total(catalog.PHASE_SECONDS, run=run, phase="weights") > 0
        for number in (1, 2):
            assert total(catalog.WORKER_PHASE, run=run, worker=number, phase="environment") > 0
            assert total(catalog.WORKER_PHASE, run=run, worker=number, phase="inference") > 0
            assert len(series(catalog.ROLLOUT_LATENCY, run=run, worker=number)) == len(catalog.QUANTILES)

    settle(arrived)


def test_learning_statistics_of_ppo(ppo):
    run = "rllib-ppo"

    def arrived():
        for metric in (catalog.KL, catalog.ENTROPY, catalog.EXPLAINED_VARIANCE, catalog.LEARNING_RATE):
            assert math.isfinite(series(metric, run=run)[0])
        assert len(series(catalog.LOSS, run=run)) == 3
        assert total(catalog.RECORDING_DROPPED, run=run) == 0

    settle(arrived)


def test_a_killed_runner_is_counted_by_its_number(ppo):
    pids = dict(
        ppo.env_runner_group.foreach_env_runner(
            lambda runner: (runner.worker_index, os.getpid()), local_env_runner=False
        )
    )
    os.kill(pids[2], signal.SIGKILL)
    run = "rllib-ppo"

    before = total(catalog.WORKER_RESTARTS, run=run)

    def trained_until_restarted():
        ppo.train()
        return total(catalog.WORKER_RESTARTS, run=run, worker=2, reason="killed") == before + 1

    poll(trained_until_restarted, 240, "the restart of runner 2")

    def arrived():
        losses = total(catalog.WORKER_LOSSES, run=run)
        assert losses == total(catalog.WORKER_LOSSES, run=run, reason="killed") == before + 1
        assert total(catalog.WORKER_RESTARTS, run=run) == before + 1
        assert series(catalog.WORKERS, run=run, state="up") == [2.0]

    settle(arrived, 60)


class Forgetful(raymon.rllib.Callbacks):
    """A custom class whose constructor does not call the base's."""

    run = "rllib-local"

    def __init__(self):
        self.episodes = 0


def test_a_local_runner_evaluation_and_checkpoints(tmp_path):
    from gymnasium.envs.classic_control import CartPoleEnv

    config = configured("PPO", "unused", minibatch_size=64, num_epochs=1).environment(CartPoleEnv)
    config.env_runners(num_env_runners=0).callbacks(Forgetful)
    config.evaluation(evaluation_interval=1, evaluation_duration=20, evaluation_num_env_runners=0)
    algorithm, run = config.build_algo(), "rllib-local"
    result = algorithm.train()
    evaluated = result["evaluation"]["env_runners"]["num_env_steps_sampled"]
    algorithm.save_to_path(str(tmp_path))

    def arrived():
        assert evaluated > total(catalog.ENV_STEPS, run=run) == result["num_env_steps_sampled_lifetime"]
        seconds = {phase: total(catalog.PHASE_SECONDS, run=run, phase=phase) for phase in catalog.DRIVER_PHASES}
        assert seconds["sample"] >= 0.9 * total(catalog.ROLLOUT_SECONDS, run=run, worker=0) > 0
        assert seconds["checkpoint"] > 0
        assert seconds["other"] > seconds["sample"], "an evaluation is no phase of its own, but time of the driver"
        assert total(catalog.UPDATES, run=run) == 1
        assert series(catalog.RUN_INFO, run=run, environment="CartPoleEnv") == [1.0]
        assert series(catalog.RUN_STATE, run=run, state="training") == [1.0]
        assert total(catalog.RECORDING_DROPPED, run=run) == 0

    settle(arrived)
    algorithm.stop()


@pytest.mark.parametrize("replaced", [True, False])
def test_exceptions_of_the_environment_are_counted_by_their_own_class(replaced):
    from gymnasium.envs.classic_control import CartPoleEnv

    steps, run = itertools.count(), f"rllib-raises-{replaced}"

    class Refusing(CartPoleEnv):
        def __init__(self, _):
            super().__init__()

        def step(self, action):
            if next(steps) == 50:
                raise KeyError("joint 7")
            return super().step(action)

    config = configured("PPO", run, minibatch_size=64, num_epochs=1).environment(Refusing)
    config.env_runners(num_env_runners=0).fault_tolerance(restart_failed_sub_environments=replaced)
    algorithm = config.build_algo()
    with contextlib.nullcontext() if replaced else pytest.raises(RuntimeError):
        algorithm.train()

    def arrived():
        assert series(catalog.ROLLOUT_FAILURES, run=run, exception="KeyError") == [1.0]
        assert total(catalog.ROLLOUT_FAILURES, run=run) == 1.0
        # Rollouts of 32 steps: the second one fails, or goes on in another environment until there are four.
        assert total(catalog.ROLLOUTS, run=run) == (4.0 if replaced else 1.0)

    settle(arrived)
    algorithm.stop()


@pytest.mark.parametrize(
    ("run", "tolerance"),
    [
        ("rllib-ignore", {"restart_failed_env_runners": False, "ignore_env_runner_failures": True}),
        ("rllib-used-up", {"restart_failed_env_runners": True, "max_num_env_runner_restarts": 0}),
    ],
)
def test_a_runner_that_is_not_restarted_is_given_up(run, tolerance):
    config = configured("PPO", run, minibatch_size=64, num_epochs=1)
    config.fault_tolerance(**tolerance)
    algorithm = config.build_algo()
    algorithm.train()
    pids = dict(
        algorithm.env_runner_group.foreach_env_runner(
            lambda runner: (runner.worker_index, os.getpid()), local_env_runner=False
        )
    )
    os.kill(pids[2], signal.SIGKILL)

    def given_up():
        algorithm.train()
        return total(catalog.WORKERS, run=run, state="given_up") == 1

    poll(given_up, 60, "runner 2 given up")

    def arrived():
        assert series(catalog.WORKERS, run=run, state="restarting") == [0.0]
        assert series(catalog.WORKER_TROUBLE, run=run, worker=2, state="given_up") == [1.0]
        assert total(catalog.WORKER_LOSSES, run=run) == 1

    settle(arrived)
    algorithm.stop()


def test_each_trial_of_tune_is_a_run(tmp_path):
    from ray import tune

    config = configured("PPO", "rllib-tuned", minibatch_size=64, num_epochs=1)
    config.env_runners(num_env_runners=1).training(lr=tune.grid_search([1e-3, 1e-4]))
    config.reporting(min_time_s_per_iteration=2)
    seen = {}

    class Look(tune.Callback):
        def on_trial_result(self, iteration, trials, trial, result, **info):
            run = f"rllib-tuned-{trial.trial_id}"
            counts = [len(series(metric, run=run)) for metric in (catalog.ENV_STEPS, catalog.UPDATES)]
            seen[trial.trial_id] = [*counts, len(series(catalog.ENV_STEPS, run="rllib-tuned"))]

    def seen_or_late(trial_id, result):
        return seen.get(trial_id) == [1, 1, 0] or result["training_iteration"] >= 20

    tune.Tuner(
        "PPO",
        param_space=config,
        run_config=tune.RunConfig(stop=seen_or_late, storage_path=str(tmp_path), verbose=0, callbacks=[Look()]),
    ).fit()
    assert list(seen.values()) == [[1, 1, 0]] * 2


def test_a_result_of_another_shape_never_breaks_training(caplog):
    from raymon.monitor import recorder

    callbacks = raymon.rllib.Callbacks()
    callbacks._driver = object()
    recorder._complained.clear()
    callbacks.on_train_result(algorithm=None, result={"env_runners": 3})
    callbacks.on_env_runners_recreated(env_runner_group=None, env_runner_indices=[1], is_evaluation=False)
    assert len([record for record in caplog.records if record.name == "raymon"]) == 1


def test_rollouts_come_as_lists_or_not_at_all():
    good = {"1": {"seconds": [0.1, 0.2], "steps": [3, 4], "version": [0, 1]}}
    single = {"3": {"seconds": np.float64(0.5), "steps": 7, "version": 2}}
    empty = {"2": {"seconds": np.nan, "steps": np.nan, "version": np.nan}}
    assert rollouts_in({**good, **empty}) == [(1, 0.1, 3.0, 0.0), (1, 0.2, 4.0, 1.0)]
    assert rollouts_in(single) == [(3, 0.5, 7.0, 2.0)]
    assert rollouts_in({}) == []


def test_algorithm_stopped_after_an_error_has_not_finished():
    states = []

    class Recording:
        state = staticmethod(states.append)

        def close(self):
            pass

    driver = object.__new__(AlgorithmRecorder)
    driver.monitor = Recording()
    stop = driver._close_before(lambda: None)
    stop()
    for error in (OSError, KeyboardInterrupt):
        with contextlib.suppress(error), contextlib.ExitStack() as exits:
            exits.callback(stop)
            raise error
    assert states == ["finished", "failed", "stopped"]

"""Training on a real Ray: the three samplers, and workers that die, hang, stop and fail."""

import dataclasses
import io
import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import ray
from rich.console import Console
from support import poll, ray_session

from raymon import DriverMonitor
from raymon.ppo.fragment_ledger import FragmentLedger
from raymon.ppo.fragments import Fragment
from raymon.ppo.pool import PoolError
from raymon.train import checkpoint
from raymon.train.console import Screen
from raymon.train.options import Config
from raymon.train.ppo_engine import model_for
from raymon.train.records import RunDirectory
from raymon.train.trainer import Setup, Trainer


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with ray_session(num_cpus=4) as folder:
        yield folder


class Run:
    """A trainer in this process, and what is left of it when it has ended."""

    def __init__(self, folder, **options):
        options = {"name": "run", "minibatch": 256, "envs_per_worker": 8, "fragment_steps": 32, **options}
        self.config = Config(runs=folder, page=False, **options)
        self.config.check()
        self.stop = threading.Event()
        directory = RunDirectory(self.config)
        self.output = io.StringIO()
        screen = Screen("test", Console(file=self.output))
        self.trainer = Trainer(Setup(self.config, model_for(self.config), directory, screen, self.stop.is_set))
        self.error = None
        self.summary = {}

    def __call__(self):
        try:
            self.summary = self.trainer.run()
        except PoolError as error:
            self.error = error
            self.summary = self.trainer.summary("failed")
        finally:
            self.trainer.end()
        assert self.summary["ledger"]["balanced"], self.summary["ledger"]
        assert self.summary["ledger"]["waiting"] == 0
        return self.summary

    def start(self):
        self.thread = threading.Thread(target=self)
        self.thread.start()

    def finish(self):
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()

    def slot(self, worker):
        return self.trainer._pool.slots[worker]

    def sampling(self, worker):
        """Process id of a worker that is up, once updates are made."""
        poll(lambda: self.trainer.progress.update >= 2 and self.slot(worker).process, 60, "training")
        return self.slot(worker).process[1]


@pytest.fixture
def run(tmp_path):
    runs = []

    def make(**options):
        runs.append(Run(tmp_path, **options))
        return runs[-1]

    yield make
    for one in runs:
        one.stop.set()


def weights_of(config):
    return checkpoint.load(config.runs / config.name).arrays["weights"]


@pytest.mark.parametrize(
    "more",
    [{}, {"env": "Pendulum-v1", "normalize_observations": True, "normalize_rewards": True}],
    ids=["plain", "box"],
)
def test_without_overlap_ray_and_no_ray_reach_the_same_weights(run, more):
    one = run(sampler="sync", workers=1, total_env_steps=3000, name="ray", **more)
    other = run(sampler="sync", workers=0, total_env_steps=3000, name="local", **more)
    first, second = one(), other()
    assert first["env_steps"] == second["env_steps"] >= 3000
    assert first["episodes"] == second["episodes"]
    np.testing.assert_array_equal(weights_of(one.config), weights_of(other.config))


def test_sync_with_two_workers_is_on_policy_and_repeatable(run):
    lines = []
    for name in ("a", "b"):
        one = run(sampler="sync", workers=2, total_env_steps=3000, name=name)
        summary = one()
        assert summary["ledger"]["dropped"] == {}
        assert summary["ledger"]["trained"] == 2 * summary["updates"]
        lines.append(weights_of(one.config))
    np.testing.assert_array_equal(*lines)


def test_time_ends_a_run_and_anneals_it(run):
    one = run(total_seconds=3.0)
    summary = one()
    assert (summary["state"], summary["time_seconds"] >= 3.0) == ("finished", True)
    rows = [json.loads(line) for line in (one.config.runs / "run" / "progress.jsonl").read_text().splitlines()]
    rates = [row["learning_rate"] for row in rows]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.2 * rates[0]


def test_async_solves_cartpole(run):
    one = run(total_env_steps=500_000, envs_per_worker=32, fragment_steps=64, minibatch=1024, stop_at_return=475.0)
    summary = one()
    assert summary["return_mean"] >= 475
    rows = [json.loads(line) for line in (one.config.runs / "run" / "progress.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows] == list(range(1, summary["updates"] + 1))
    assert rows[-1]["env_steps"] == summary["env_steps"] == summary["ledger"]["trained_steps"]
    assert rows[-1]["return_mean"] >= 475
    shares = sum(sum(row["phase_seconds"].values()) for row in rows)
    assert shares == pytest.approx(rows[-1]["time_seconds"], rel=0.2)


def test_step_sampler_trains_and_counts_unfinished_fragments(run):
    summary = run(sampler="step", workers=3, wait_for=2, total_env_steps=400, fragment_steps=16, minibatch=48)()
    books = summary["ledger"]
    assert summary["env_steps"] >= 400
    assert books["calls"] >= summary["env_steps"]
    assert books["received_steps"] >= books["trained_steps"] == summary["env_steps"]


def test_stale_fragments_are_dropped_and_counted(run):
    slow = ("slow worker=1 factor=60",)
    one = run(total_env_steps=100_000_000, max_policy_lag=1, inject=slow, fragments_per_update=1)
    seen, ledger = [], one.trainer.ledger
    trained = ledger.monitor.trained
    ledger.monitor.trained = lambda *books, lags: (seen.extend(lags), trained(*books, lags=lags))
    one.start()
    poll(lambda: ledger.as_plain()["dropped"].get("stale", 0) >= 1, 60, "a stale fragment is dropped")
    one.finish()
    assert max(seen) == 1, "nothing older than the bound is trained on, and what is within it is"


def test_the_bound_on_the_lag_is_exact():
    ledger = FragmentLedger(DriverMonitor(enabled=False))
    nothing = np.zeros(0, np.float32)
    for version in range(5):
        rows = [np.zeros((3, 1), np.float32) for _ in range(5)]
        ledger.receive(Fragment(0, version, 0.1, *rows, nothing, nothing.astype(np.int32)))
    ledger.drop_stale(4, max_lag=2)
    assert [fragment.version for fragment in ledger.waiting] == [2, 3, 4]
    assert ledger.dropped == {"stale": 2}
    assert ledger.balanced()


def test_no_lag_allowed_means_no_overlap(run):
    summary = run(total_env_steps=5000, max_policy_lag=0)()
    assert "stale" not in summary["ledger"]["dropped"]


def test_a_killed_worker_is_replaced_while_the_others_go_on(run):
    one = run(total_env_steps=100_000_000)
    one.start()
    os.kill(one.sampling(0), signal.SIGKILL)
    poll(lambda: one.trainer.ledger.losses == {"killed": 1}, 30, "loss booked")
    before = one.trainer.progress.update
    poll(lambda: one.trainer.progress.update > before + 2, 30, "the rest trains on")
    poll(lambda: one.trainer.ledger.restarts == 1 and one.slot(0).state in ("idle", "busy"), 60, "replacement")
    one.finish()


def test_a_worker_that_keeps_failing_is_given_up(run):
    one = run(total_env_steps=100_000_000, max_restarts=1, inject=("env-error worker=1 times=9",))
    one.start()
    poll(lambda: one.trainer.ledger.given_up == [1], 60, "given up")
    before = one.trainer.progress.update
    poll(lambda: one.trainer.progress.update > before + 2, 30, "the rest trains on")
    assert one.trainer.ledger.losses == {"error": 2}
    one.finish()


def test_with_no_worker_left_the_run_fails_with_the_reason(run):
    one = run(total_env_steps=100_000, max_restarts=0, inject=("env-error times=9",))
    summary = one()
    assert "because of --inject env-error" in str(one.error)
    assert sorted(summary["ledger"]["given_up"]) == [0, 1]


def test_a_hung_worker_is_replaced_after_the_time_out(run):
    one = run(total_env_steps=100_000_000, worker_timeout=3.0, inject=("hang worker=1 after=0s",))
    one.start()
    poll(lambda: one.trainer.ledger.losses.get("timeout") == 1, 60, "time-out")
    poll(lambda: one.trainer.ledger.restarts == 1, 60, "replacement")
    one.finish()


def test_a_worker_without_a_cpu_is_waited_for_and_is_no_loss(run):
    occupied = ray.remote(num_cpus=3)(threading.Event).remote()
    one = run(total_env_steps=100_000_000, start_timeout=11.0)
    one.start()
    try:
        poll(lambda: "waiting for a CPU for worker" in one.output.getvalue(), 15, "the sentence")
        assert "the Ray cluster has 4, all in use" in one.output.getvalue()
        time.sleep(4)  # the time to start is over
        assert one.trainer.ledger.losses == {}
    finally:
        ray.kill(occupied)
    poll(lambda: one.trainer._pool.up() == 2, 60, "both are up")
    one.finish()
    assert one.trainer.ledger.losses == {}
    assert one.summary["state"] == "stopped"


def test_a_stopped_worker_recovers_and_is_not_replaced(run):
    one = run(total_env_steps=100_000_000, worker_timeout=60.0)
    one.start()
    pid = one.sampling(0)
    os.kill(pid, signal.SIGSTOP)
    try:
        before = one.trainer.progress.update
        poll(lambda: one.trainer.progress.update > before + 2, 30, "the rest trains on")
        since = one.slot(0).since
    finally:
        os.kill(pid, signal.SIGCONT)
    poll(lambda: one.slot(0).since > since, 30, "answers again")
    assert one.trainer.ledger.losses == {}
    one.finish()


def test_a_nan_loss_is_counted_and_training_continues(run):
    summary = run(total_env_steps=20_000, inject=("nan-loss times=2",))()
    assert summary["nonfinite_updates"] == 2
    assert summary["updates"] > 10


def test_resuming_continues_count_and_curve(run, tmp_path):
    first = run(total_env_steps=4000)
    done = first()
    saved = checkpoint.load(tmp_path / "run")
    (tmp_path / "run" / "progress.jsonl").open("a").write('{"update": 9999, "env_steps": 1}\n{"upd')
    config = dataclasses.replace(first.config, total_env_steps=8000, resume=tmp_path / "run")
    directory = RunDirectory(config, saved.counters)
    screen = Screen("test", Console(file=io.StringIO()))
    trainer = Trainer(Setup(config, model_for(config), directory, screen, lambda: False, saved))
    np.testing.assert_array_equal(trainer.learner.weights(), weights_of(first.config))
    summary = trainer.run()
    trainer.end()
    assert summary["updates"] > done["updates"]
    assert summary["env_steps"] == done["env_steps"] + summary["ledger"]["trained_steps"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "progress.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows] == list(range(1, summary["updates"] + 1))
    times = [row["time_seconds"] for row in rows]
    assert times == sorted(times)
    table = (tmp_path / "run" / "progress.csv").read_text().splitlines()
    assert len(table) == 1 + len(rows)

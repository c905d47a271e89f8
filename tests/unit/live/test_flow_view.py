"""Runs that train a language model, from metrics pages to views and verdicts."""

import numpy as np
import pytest
from metrics_pages import FakeCluster, FakeController, FakeReward, FakeRollout

from raymon import catalog
from raymon.health.shares import no_signal_ratio, tail_ratio


def cluster(*rollouts, driver=None, reward=None):
    driver = driver or FakeController(expected=len(rollouts))
    reward = reward or FakeReward()

    def follow(snapshot):
        for rollout in rollouts:
            rollout.version = driver.numbers.get((catalog.UPDATES, ()), 0.0)

    fake = FakeCluster(*rollouts, reward, driver)
    return fake, follow


def test_flow_is_read_per_worker_and_for_the_run():
    fake, follow = cluster(FakeRollout("0", tail=0.2), FakeRollout("1", tail=0.2))
    view = fake.run(30, follow).run()
    assert [worker.role for worker in view.workers] == ["rollout", "rollout", "reward"]
    rollout = view.workers[0]
    # 32 responses of 100 tokens, the last one of 125, every 2.5 s.
    assert rollout.flow.tokens_per_second["out"] == pytest.approx((31 * 100 + 125) / 2.5, rel=0.3)
    assert view.flow.tokens_per_second["out"] == pytest.approx(2 * rollout.flow.tokens_per_second["out"], rel=0.01)
    assert view.flow.response_length == {"p50": 100.0, "p95": 125.0, "p99": 125.0}
    assert tail_ratio(view.flow) == pytest.approx(0.2)
    assert view.flow.tail_responses_ratio == pytest.approx(1 / 32)
    assert no_signal_ratio(view.flow) == pytest.approx(0.1)
    assert (view.flow.buffer_depth, view.flow.buffer_capacity) == (20.0, 64.0)
    assert view.flow.weight_sync_seconds == pytest.approx(0.05)
    assert (view.flow.updates_since_sync, view.flow.updates_between_syncs) == (0.0, 1.0)
    assert (rollout.unit, rollout.step_seconds) == ("token", pytest.approx(2.5 / 3225, rel=0.2))
    assert view.phase_ratio["train"] == pytest.approx(0.4)
    assert fake.collector.snapshot().verdicts["r"].severity in ("ok", "info")


def test_tail_of_batches_of_one_response_is_not_known():
    """Each response alone, as from verl: their costs per token are compared, and no tail of 0 % is shown."""
    fake, follow = cluster(*(FakeRollout(str(number), responses=1) for number in range(3)))
    snapshot = fake.run(40, follow)
    view = snapshot.run()
    assert tail_ratio(view.flow) is None
    assert not np.isfinite(snapshot.histories["r"].values["tail_ratio"]).any()
    assert view.workers[0].token_seconds == {"response": pytest.approx(0.02), "longest": pytest.approx(0.02)}


def test_phases_of_language_models_are_drawn():
    """A worker in a phase of language models once made the collection fail."""
    fake, follow = cluster(FakeRollout("0"))
    history = fake.run(5, follow).histories["r"]
    assert history.workers.strip.shape[0] == 2


def slow(fake):
    fake.processes[1].slower = 3.0


def no_signal(fake):
    fake.processes[4].equal = 1.0


def no_sync(fake):
    fake.processes[4].syncs = False


def full(fake):
    fake.processes[4].depth = 64.0


def heavy_sync(fake):
    fake.processes[4].phases = {"sample": 0.3, "train": 0.2, "weight_sync": 0.45, "other": 0.05}


@pytest.mark.parametrize(
    ("act", "code", "within"),
    [
        (slow, "straggler_bound", 15),
        (no_signal, "no_learning_signal", 15),
        (no_sync, "weights_stale", 15),
        (full, "buffer_overfull", 5),
        (heavy_sync, "weight_sync_bound", 12),
    ],
)
def test_a_fault_is_named(act, code, within):
    fake, follow = cluster(*(FakeRollout(str(number)) for number in range(3)))
    before = fake.run(40, follow).verdicts["r"]
    assert before.severity in ("ok", "info"), before.sentence
    act(fake)
    states = []
    fake.run(within, lambda snapshot: (follow(snapshot), states.append(snapshot.verdicts["r"].state)))
    assert states[-1] == code
    assert set(states) <= {before.state, "healthy", code}


def test_share_of_the_generation_in_which_a_worker_waits_for_a_core():
    fake, follow = cluster(FakeRollout("0"), FakeRollout("1"))

    def starve(snapshot):
        follow(snapshot)
        fake.processes[1].add(catalog.CPU_WAIT_SECONDS, 0.6)

    workers = fake.run(30, starve).run().workers
    assert [worker.cpu_wait_ratio for worker in workers[:2]] == [None, pytest.approx(0.6, abs=0.05)]

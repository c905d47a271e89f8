"""What really arrives at Ray's endpoint: exact counts, living gauges, numbers kept over restarts, no loss at exit."""

import os
import signal
import threading
import time

import pytest
import ray
from exported import series, total
from support import get, metrics_url, poll, ray_session, settle

import raymon
from raymon import catalog
from raymon.monitor import driver_monitor, export

RUN = "monitor-test"


@pytest.fixture(scope="module")
def early():
    """A driver's monitor that counts before Ray is up."""
    driver = raymon.DriverMonitor(RUN, environment="none", workers=2)
    driver.called(11)
    return driver


@pytest.fixture(scope="module", autouse=True)
def cluster(early):
    with ray_session(num_cpus=4):
        yield


@ray.remote(num_cpus=0)
class Worker:
    def __init__(self, worker=None):
        self.monitor = raymon.Monitor(worker)

    def sample(self, n, seconds=0.0):
        with self.monitor.rollout(), self.monitor.phase("environment"):
            self.monitor.steps(n)
            self.monitor.episode(1.0, n)
            time.sleep(seconds)
        return n

    def hammer(self, threads, calls):
        def body():
            for _ in range(calls):
                with self.monitor.phase("inference"):
                    self.monitor.steps(3)

        running = [threading.Thread(target=body) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        self.monitor.flush()

    def who(self):
        return self.monitor.run, self.monitor.worker, os.getpid()

    def leave(self, n):
        self.monitor.steps(n)
        ray.actor.exit_actor()


def test_counts_from_before_ray_are_handed_over():
    def arrived():
        assert series(catalog.ACTOR_CALLS, run=RUN) == [11.0]
        assert series(catalog.RUN_INFO, run=RUN, environment="none", engine="custom") == [1.0]

    settle(arrived)


def test_labels_of_any_letters_arrive():
    labels = dict.fromkeys(catalog.RUN_INFO.all_labels, "none")
    export.hand_over(catalog.RUN_INFO, {**labels, "run": "实验-é"}, 1.0)

    def arrived():
        assert series(catalog.RUN_INFO, run="%E5%AE%9E%E9%AA%8C-%C3%A9") == [1.0]

    settle(arrived)
    assert driver_monitor._label("x" * 80).isascii()


def test_counts_of_many_threads_arrive_exactly():
    worker = Worker.remote(0)
    ray.get([worker.sample.remote(7), worker.sample.remote(0)])
    ray.get(worker.hammer.remote(8, 2000))

    def arrived():
        assert total(catalog.ENV_STEPS, run=RUN, worker=0) == 7 + 8 * 2000 * 3
        assert total(catalog.ROLLOUTS, run=RUN, worker=0) == 2
        assert total(catalog.EPISODES, run=RUN, worker=0) == 2
        assert total(catalog.RECORDING_DROPPED, run=RUN, worker=0) == 0
        assert {len(series(catalog.ROLLOUT_LATENCY, run=RUN, worker=0, quantile=q)) for q in catalog.QUANTILES} == {1}

    settle(arrived)


def test_the_driver_s_ledger_arrives_exactly(early):
    for fragment in range(100):
        with early.iteration(), early.phase("sample"):
            early.received(0, seconds=0.05, env_steps=fragment, nbytes=1000)
        early.trained(1, fragment)
    early.dropped("stale", 3, 30)
    early.flush()

    def arrived():
        assert total(catalog.FRAGMENTS, run=RUN, outcome="dropped") == 3
        assert total(catalog.FRAGMENTS, run=RUN, outcome="received") == 100
        assert total(catalog.FRAGMENT_STEPS, run=RUN, outcome="trained") == 4950
        assert total(catalog.UPDATES, run=RUN) == 100
        assert total(catalog.PUT_BYTES, run=RUN, kind="rollouts") == 100_000
        assert len(series(catalog.WORKER_LOSSES, run=RUN)) == len(catalog.LOSS_REASONS), "every reason starts at 0"

    settle(arrived)


def test_a_hanging_worker_beats_and_shows_its_phase():
    worker = Worker.remote(5)
    hanging = worker.sample.remote(1, 8.0)
    poll(lambda: series(catalog.ACTIVITY, worker=5, activity="environment") == [1.0], 30, "the activity")
    progress, beat = series(catalog.PROGRESS, worker=5)[0], series(catalog.HEARTBEAT, worker=5)[0]
    poll(lambda: series(catalog.HEARTBEAT, worker=5)[0] >= beat + 2, 30, "a later heartbeat")
    if not ray.wait([hanging], timeout=0)[0]:
        assert series(catalog.PROGRESS, worker=5)[0] == pytest.approx(progress, abs=1.0)
        assert total(catalog.WORKER_PHASE, worker=5, phase="environment") > 1.0, "time of the phase in progress"
        assert total(catalog.ROLLOUT_SECONDS, worker=5) > 1.0
        assert series(catalog.ROLLOUT_LATENCY, worker=5, quantile="0.5") == [], (
            "a limit on silence must not grow with it"
        )
    ray.get(hanging)


def test_numbers_are_assigned_and_kept_over_a_restart():
    workers = [Worker.options(max_restarts=1, max_task_retries=-1).remote() for _ in range(3)]
    before = ray.get([worker.who.remote() for worker in workers])
    assert {run for run, _, _ in before} == {RUN}
    assert len({number for _, number, _ in before}) == 3
    assert all(int(number) < 10 for _, number, _ in before)
    os.kill(before[1][2], signal.SIGKILL)
    after = ray.get([worker.who.remote() for worker in workers])
    assert [number for _, number, _ in after] == [number for _, number, _ in before]
    assert after[1][2] != before[1][2]


def test_a_named_actor_keeps_its_number_when_recreated():
    first = Worker.options(name="monitor-named").remote()
    number = ray.get(first.who.remote())[1]
    ray.kill(first)
    again = poll(lambda: Worker.options(name="monitor-named").remote(), 30, "the name is free again")
    assert ray.get(again.who.remote())[1] == number


def test_an_actor_that_leaves_loses_nothing():
    worker = Worker.remote(6)
    ray.get(worker.sample.remote(0))
    worker.leave.remote(123)
    poll(lambda: total(catalog.ENV_STEPS, run=RUN, worker=6) == 123, 30, "the steps of its last moment")


def test_held_references_are_counted_and_not_kept_alive(early):
    before = time.time()
    kept, let_go = ray.put(b"x" * 1000), ray.put(b"y" * 500)
    early.hold(kept, nbytes=1000)
    early.hold(let_go, nbytes=500)
    del let_go
    early.flush()

    def kept_is_counted():
        assert series(catalog.REFS_HELD_BYTES, run=RUN) == [1000.0]
        assert before <= series(catalog.REFS_OLDEST, run=RUN)[0] <= time.time()

    settle(kept_is_counted)
    early.release(kept)
    early.flush()
    poll(lambda: series(catalog.REFS_HELD, run=RUN) == [0.0], 30, "nothing is kept")


def test_two_monitors_of_one_process_share_the_families(early):
    one, two = raymon.Monitor(20, RUN), raymon.Monitor(21, RUN)
    same = raymon.Monitor(20, RUN)
    for monitor, steps in ((one, 1), (two, 10), (same, 100)):
        monitor.steps(steps)
        monitor.flush()

    def arrived():
        assert total(catalog.ENV_STEPS, worker=20) == 101
        assert total(catalog.ENV_STEPS, worker=21) == 10

    settle(arrived)
    for monitor in (one, two, same):
        monitor.close()


def test_custom_metrics_next_to_those_of_the_catalogue(early):
    bumps = raymon.Metric(
        "test_bumps_total", "counter", "Bumps seen.", labels=("kind",), values={"kind": ("soft", "hard")}
    )
    height = raymon.Metric("test_height", "gauge", "Height of the walker.")
    impact = raymon.Metric("test_impact_seconds", "histogram", "Time of contact.", "seconds", buckets=(0.1, 1.0))
    monitor = raymon.Monitor(30, RUN)
    monitor.count(bumps, 2, kind="soft")
    monitor.set(height, 1.5)
    monitor.observe(impact, 0.5)
    monitor.flush()

    def arrived():
        assert series(bumps, worker=30, kind="soft", run=RUN) == [2.0]
        assert series(height, worker=30) == [1.5]
        buckets = [line for line in get(metrics_url()).splitlines() if line.startswith(impact.name + "_bucket")]
        assert len(buckets) == 3

    settle(arrived)
    monitor.close()


def test_a_flush_of_a_worker_is_cheap(early):
    monitor = raymon.Monitor(40, RUN)
    monitor.flush()
    began = time.thread_time()
    for _ in range(20):
        monitor.flush()
    assert (time.thread_time() - began) / 20 < 0.01
    monitor.close()


def test_more_lost_workers_than_there_is_room_for_silence_nothing_else(early, monkeypatch):
    monkeypatch.setattr("raymon.monitor.accumulator.MOST_WORKER_SETS", 20)
    driver = raymon.DriverMonitor("crowded", workers=50)
    for worker in range(50):
        driver.worker_lost(worker, "killed")

    def arrived():
        assert total(catalog.WORKER_LOSSES, run="crowded") == 50
        assert series(catalog.WORKERS, run="crowded", state="restarting") == [50.0]
        assert len(series(catalog.WORKER_TROUBLE, run="crowded")) == 20
        assert total(catalog.RECORDING_DROPPED, run="crowded") > 30

    settle(arrived)
    driver.called(3)
    poll(lambda: total(catalog.ACTOR_CALLS, run="crowded") == 3, 30, "what comes after")
    driver.close()

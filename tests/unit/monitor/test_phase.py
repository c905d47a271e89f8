"""Phases, rollouts and iterations entered again, inside themselves and by several threads; texts that are no labels."""

import threading

import pytest

import raymon
from raymon import catalog


def total(monitor, metric, *labels):
    return monitor.accumulator._cells[metric.name, labels].total


def values(monitor, metric):
    monitor._collect()
    return {labels: value for (name, labels), value in monitor.accumulator._values.items() if name == metric.name}


class Clock:
    def __init__(self, *monitors):
        self.now = 0
        for monitor in monitors:
            monitor._wall_time._clock, monitor._wall_time._mark = self, 0

    def __call__(self):
        return self.now


def test_a_kept_phase_can_be_entered_again_and_nested():
    driver = raymon.DriverMonitor("kept")
    clock, learn = Clock(driver), driver.phase("learn")
    for _ in range(2):
        with learn, learn:
            clock.now += 3
    clock.now += 1000
    driver._wall_time.settle()
    assert total(driver, catalog.PHASE_SECONDS, "learn") == 6
    assert not driver._wall_time._leaves


def test_a_phase_shared_by_threads_leaves_no_time_running():
    monitor = raymon.Monitor(0, "shared")
    phase, barrier = monitor.phase("inference"), threading.Barrier(4)

    def body(rank):
        for turn in range(50):
            barrier.wait(30)
            with phase:
                barrier.wait(30)
                if turn % 4 == rank:
                    with phase:
                        pass

    threads = [threading.Thread(target=body, args=(rank,)) for rank in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not monitor._wall_time._leaves
    assert not phase._entries


def test_a_kept_rollout_counts_each_time_but_not_nested():
    monitor = raymon.Monitor(0, "kept")
    rollout = monitor.rollout()
    for _ in range(2):
        with rollout, rollout, monitor.rollout():
            assert monitor.elapsed() > 0
    assert total(monitor, catalog.ROLLOUTS) == 2
    assert not monitor._open


def test_a_rollout_that_is_a_phase_excludes_inner_phases():
    monitor = raymon.Monitor(0, "one phase")
    clock = Clock(monitor)
    monitor.start_notes()
    with monitor.rollout("environment"):
        clock.now += 5
        with monitor.phase("inference"):
            clock.now += 2
        with monitor.rollout("sending"):  # part of the rollout, a phase of its own
            clock.now += 1
    assert [total(monitor, catalog.WORKER_PHASE, phase) for phase in ("environment", "inference", "sending")] == [
        5,
        2,
        1,
    ]
    assert total(monitor, catalog.ROLLOUTS) == 1
    noted = monitor.end_notes().spans
    assert [name for name, *_ in noted] == ["inference", "sending", "environment", "rollout"], "the innermost first"
    assert {name: until - began for name, began, until in (span[:3] for span in noted)} == {
        "rollout": 8,
        "environment": 8,
        "inference": 2,
        "sending": 1,
    }
    assert not monitor._open
    assert not monitor._wall_time._leaves


def test_a_rollout_of_an_unknown_phase_is_dropped_and_runs():
    monitor, ran = raymon.Monitor(0, "unknown"), []
    with monitor.rollout("dreaming"):
        ran.append(1)
    assert ran
    assert monitor._dropped.total == 1
    assert total(monitor, catalog.ROLLOUTS) == 0


def test_an_unknown_activity_is_dropped():
    monitor = raymon.Monitor(0, "activity")
    monitor.activity("inference")
    for odd in ("dreaming", [], None, {}):
        monitor.activity(odd)
    assert monitor._dropped.total == 4
    assert values(monitor, catalog.ACTIVITY)["inference",] == 1.0


def test_of_several_episodes_the_sound_ones_count():
    monitor = raymon.Monitor(0, "episodes")
    monitor.episodes(float(value) for value in (1, 2, 3))
    monitor.episodes([10, float("nan"), "six", None, 20])
    monitor.episodes([10**400])
    monitor.episodes(None)
    assert total(monitor, catalog.EPISODES) == 5
    assert values(monitor, catalog.EPISODE_RETURN) == {(): pytest.approx(7.2)}
    assert monitor._dropped.total == 5


def test_an_iteration_inside_another_is_part_of_it():
    driver = raymon.DriverMonitor("nested")
    clock = Clock(driver)
    for _ in range(2):
        with driver.iteration():
            clock.now += 10**9
            with driver.phase("learn"), driver.iteration() as inner:
                clock.now += 2 * 10**9
                inner.without_update()
            clock.now += 10**9
    assert total(driver, catalog.UPDATES) == 2
    assert total(driver, catalog.PHASE_SECONDS, "learn") == 4 * 10**9
    assert total(driver, catalog.PHASE_SECONDS, "other") == 4 * 10**9
    assert values(driver, catalog.ITERATION_SECONDS) == {(): pytest.approx(4.0)}


def test_phases_of_a_sampling_driver_sum_to_wall_time():
    driver, worker = raymon.DriverMonitor("alone"), raymon.Monitor(0, "alone")
    clock = Clock(driver, worker)
    with driver.iteration():
        with driver.phase("sample"), worker.rollout(), worker.phase("environment"):
            clock.now += 3
        with driver.phase("learn"):
            clock.now += 8
    assert {phase: total(driver, catalog.PHASE_SECONDS, phase) for phase in ("sample", "learn", "other")} == {
        "sample": 3,
        "learn": 8,
        "other": 0,
    }
    assert total(worker, catalog.WORKER_PHASE, "environment") == 3


def test_an_iteration_without_update_says_so_for_itself_alone():
    driver = raymon.DriverMonitor("again")
    iteration = driver.iteration()
    with iteration:
        iteration.without_update()
    with iteration:
        pass
    assert total(driver, catalog.UPDATES) == 1


class Corridor: ...


@pytest.mark.parametrize(
    ("environment", "label"),
    [
        ("raymon/Simulated-v0?" + "x" * 80, "raymon/Simulated-v0?" + "x" * 41 + "..."),
        (Corridor, "Corridor"),
        ("", "none"),
        ("é" * 64, "é" * 64),
    ],
)
def test_a_text_too_long_for_a_label_is_cut_short(environment, label):
    driver = raymon.DriverMonitor("labels", environment=environment)
    assert values(driver, catalog.RUN_INFO) == {("custom", "PPO", "none", label): 1.0}
    assert values(driver, catalog.RUN_STATE)["starting",] == 1.0
    assert driver._dropped.total == 0


def test_the_start_of_a_run_is_set_once_by_its_first_iteration():
    driver = raymon.DriverMonitor("start")
    assert not values(driver, catalog.RUN_START)
    with driver.iteration():
        began = values(driver, catalog.RUN_START)[()]
    assert values(driver, catalog.RUN_STATE)["training",] == 1.0
    driver.state("stopped")
    driver.state("training")
    assert values(driver, catalog.RUN_START)[()] == began > 0


def test_a_version_that_is_no_number_is_dropped_alone():
    driver = raymon.DriverMonitor("poison")
    driver.policy_version(5)
    driver.received(0, 1.0, 5, policy_version="v1")
    driver.received(0, 1.0, 5, policy_version=3)
    driver.trained(2, 10)
    assert values(driver, catalog.POLICY_LAG) == {("mean",): 2.0, ("max",): 2.0}
    assert total(driver, catalog.FRAGMENTS, "received") == 2
    driver.received(0, 1.0, 5, policy_version=5)
    driver.trained(1, 5, lags=["late"])
    driver.received(0, 1.0, 5, policy_version=4)
    driver.trained(1, 5)
    assert values(driver, catalog.POLICY_LAG) == {("mean",): 1.0, ("max",): 1.0}
    assert driver._dropped.total == 2

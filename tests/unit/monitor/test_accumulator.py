"""The sums are exact whatever the interleaving; the phases sum to the wall; quantiles keep their promised accuracy."""

import contextvars
import gc
import math
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import raymon
from raymon import catalog
from raymon.monitor.accumulator import MOST_LABEL_SETS, Accumulator, Cell
from raymon.monitor.latency import SlidingQuantiles
from raymon.monitor.wall_time import WallTime

PHASES = ("a", "b", "c")


class Yielding(int):
    """A number whose addition lets other threads run in the middle, so that an unguarded `+=` loses updates."""

    def __add__(self, other):
        time.sleep(0)
        return Yielding(int(self) + other)


class Clock:
    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


def run_together(*bodies):
    threads = [threading.Thread(target=body) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=20), min_size=2, max_size=6), st.integers(1, 5)
)
def test_steps_of_many_threads_are_handed_over_exactly(amounts, takers):
    monitor = raymon.Monitor(worker=0, run="exact")
    monitor._steps.total = Yielding(0)
    name = catalog.ENV_STEPS.name
    taken, running = [], threading.Event()
    running.set()

    def take():
        while running.is_set():
            taken.extend(more for (family, _), _, more in monitor.accumulator.take().increases if family == name)

    def add(these):
        for amount in these:
            monitor.steps(amount)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        collectors = [threading.Thread(target=take) for _ in range(takers)]
        for collector in collectors:
            collector.start()
        run_together(*(lambda these=these: add(these) for these in amounts))
        running.clear()
        for collector in collectors:
            collector.join(60)
    finally:
        sys.setswitchinterval(interval)
    taken.extend(more for (family, _), _, more in monitor.accumulator.take().increases if family == name)
    assert sum(taken) == sum(map(sum, amounts))


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["enter", "leave", "leave oldest", "flush"]),
            st.sampled_from(PHASES),
            st.integers(0, 10**12),
        ),
        max_size=40,
    )
)
def test_phases_sum_to_the_time_in_which_any_span_was_open(events):
    clock, cells = Clock(), {phase: Cell() for phase in PHASES}
    wall_time = WallTime(cells, threading.RLock(), clock)
    contexts = [contextvars.Context() for _ in range(3)]
    open_spans, expected = [[], [], []], 0
    for who, what, phase, elapsed in events:
        expected += elapsed if any(open_spans) else 0
        clock.now += elapsed
        if what == "enter":
            open_spans[who].append(contexts[who].run(wall_time.enter, phase))
        elif what == "flush":
            wall_time.settle()
        elif open_spans[who]:
            span = open_spans[who].pop(0 if what == "leave oldest" else -1)
            contexts[who].run(wall_time.leave, span)
    wall_time.settle()
    assert sum(cell.total for cell in cells.values()) == expected


nested = st.recursive(
    st.tuples(st.sampled_from(PHASES), st.integers(0, 10**10), st.just(())),
    lambda inner: st.tuples(st.sampled_from(PHASES), st.integers(0, 10**10), st.lists(inner, max_size=4)),
    max_leaves=15,
)


@given(nested, st.booleans())
def test_time_in_an_inner_phase_is_not_counted_in_the_outer(tree, flushing):
    clock, cells, expected = Clock(), {phase: Cell() for phase in PHASES}, dict.fromkeys(PHASES, 0)
    wall_time = WallTime(cells, threading.RLock(), clock)

    def walk(node):
        phase, own, inner = node
        span = wall_time.enter(phase)
        for child in inner:
            walk(child)
            if flushing:
                wall_time.settle()
        clock.now += own
        expected[phase] += own
        wall_time.leave(span)

    walk(tree)
    assert {phase: cell.total for phase, cell in cells.items()} == expected


def test_two_threads_in_phases_share_the_wall_time():
    clock, cells = Clock(), {phase: Cell() for phase in PHASES}
    wall_time = WallTime(cells, threading.RLock(), clock)
    one, two = contextvars.Context(), contextvars.Context()
    first = one.run(wall_time.enter, "a")
    clock.now += 10
    second = two.run(wall_time.enter, "b")
    clock.now += 10
    one.run(wall_time.leave, first)
    clock.now += 10
    two.run(wall_time.leave, second)
    assert [cells[phase].total for phase in PHASES] == [15, 15, 0]


@given(st.lists(st.tuples(st.sampled_from(PHASES), st.integers(0, 100)), max_size=20), st.integers(0, 5_000))
def test_time_measured_elsewhere_is_subtracted_from_its_span(parts, wall):
    clock, cells = Clock(), {phase: Cell() for phase in (*PHASES, "other")}
    wall_time = WallTime(cells, threading.RLock(), clock)
    span = wall_time.enter("other")
    clock.now += wall
    for phase, nanoseconds in parts:
        wall_time.add(phase, nanoseconds)
    wall_time.leave(span)
    measured = sum(nanoseconds for _, nanoseconds in parts)
    assert sum(cell.total for cell in cells.values()) == max(wall, measured)
    assert cells["other"].total == max(0, wall - measured)


@given(st.lists(st.floats(1e-6, 1e5), min_size=1, max_size=300), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_quantiles_are_within_one_percent(durations, quantile):
    window = SlidingQuantiles(60.0)
    for index, seconds in enumerate(durations):
        window.add(seconds, now=100.0 + index / 1000)
    exact = sorted(durations)[max(1, math.ceil(quantile * len(durations))) - 1]
    assert window.quantiles((quantile,), now=101.0)[0] == pytest.approx(exact, rel=0.0101)


def test_a_quantile_window_forgets_and_stays_small():
    window = SlidingQuantiles(60.0)
    for step in range(100_000):
        window.add(1.0 if step < 50_000 else 0.001, now=step / 500)
    assert window.quantiles((0.5, 0.99), now=200.0) == pytest.approx([0.001, 0.001], rel=0.02)
    assert sum(map(len, window._slots.values())) < 100


def test_a_rollout_of_an_hour_has_the_latency_of_the_one_before():
    window = SlidingQuantiles(60.0)
    assert window.quantiles((0.5,), now=0.0) == []
    window.add(3600.0, now=3600.0)
    assert window.quantiles((0.5,), now=9000.0) == [3600.0]


def test_the_yardsticks_of_silence_do_not_grow_while_something_hangs():
    clock = Clock()
    worker, driver = raymon.Monitor(worker=0, run="hang"), raymon.DriverMonitor("hang")
    for monitor in (worker, driver):
        monitor._wall_time._clock, monitor._wall_time._mark = clock, 0
    with driver.iteration(), worker.rollout():
        clock.now += 10**9
        assert values(worker, catalog.ROLLOUT_LATENCY) == {}
        assert values(driver, catalog.ITERATION_SECONDS) == {}
    with driver.iteration(), worker.rollout():
        for _ in range(3):
            clock.now += 200 * 10**9
            assert values(worker, catalog.ROLLOUT_LATENCY)["0.99",] == pytest.approx(1.0, rel=0.02)
            assert values(driver, catalog.ITERATION_SECONDS) == {(): pytest.approx(1.0)}
    with worker.rollout():
        clock.now += 600 * 10**9
    assert values(worker, catalog.ROLLOUT_LATENCY)["0.5",] == pytest.approx(600.0, rel=0.02), "without the first one"


def test_driver_phases_sum_to_wall_during_an_iteration():
    driver = raymon.DriverMonitor("sum", workers=1)
    clock = Clock()
    driver._wall_time._clock = clock
    driver._wall_time._mark = 0
    with driver.iteration():
        clock.now += 7
        with driver.phase("sample"):
            clock.now += 600 * 10**9
            driver._wall_time.settle()
            assert phases(driver) == {"other": 7, "sample": 600 * 10**9}
            with driver.phase("transfer"):
                clock.now += 5
        clock.now += 3
    clock.now += 1000  # between iterations
    assert phases(driver) == {"other": 10, "sample": 600 * 10**9, "transfer": 5}


def phases(monitor):
    cells = monitor.accumulator._cells
    name = catalog.PHASE_SECONDS.name
    return {labels[0]: cell.total for (family, labels), cell in cells.items() if family == name and cell.total}


def values(monitor, metric):
    with monitor.accumulator.lock:
        monitor._collect()
    return {key[1]: value for key, value in monitor.accumulator._values.items() if key[0] == metric.name}


def total(monitor, metric, *labels):
    return monitor.accumulator._cells[metric.name, labels].total * monitor.accumulator._cells[metric.name, labels].scale


def activity(monitor):
    return [labels[0] for labels, on in values(monitor, catalog.ACTIVITY).items() if on]


def test_activity_is_known_at_every_moment():
    monitor = raymon.Monitor(worker=0, run="activity")
    assert activity(monitor) == ["starting"]
    with monitor.rollout():
        assert activity(monitor) == ["environment"]
        with monitor.phase("inference"):
            assert activity(monitor) == ["inference"]
            with monitor.phase("sending"):
                assert activity(monitor) == ["sending"]
            assert activity(monitor) == ["inference"]
        monitor.activity("waiting")
        assert activity(monitor) == ["waiting"]
    assert activity(monitor) == ["waiting"]
    with monitor.phase("sending"):
        assert activity(monitor) == ["sending"]
    assert activity(monitor) == ["waiting"]


def test_the_time_between_rollouts_is_waiting_and_in_no_rollout():
    monitor = raymon.Monitor(worker=0, run="waiting")
    clock = Clock()
    monitor._wall_time._clock = clock
    monitor._wall_time._mark = 0
    clock.now += 10**9  # before the first rollout the worker is starting
    for _ in range(2):
        with monitor.rollout():
            clock.now += 2 * 10**9
            with monitor.phase("inference"):
                clock.now += 10**9
        clock.now += 4 * 10**9
    with monitor.rollout():
        clock.now += 10**9
        values(monitor, catalog.PROGRESS)  # a flush in the middle
        assert total(monitor, catalog.ROLLOUT_SECONDS) == pytest.approx(7)
    assert total(monitor, catalog.ROLLOUTS) == 3
    assert total(monitor, catalog.WORKER_PHASE, "inference") == pytest.approx(2)
    assert total(monitor, catalog.WORKER_PHASE, "waiting") == pytest.approx(8)


def test_failed_and_nested_rollouts_are_not_counted():
    monitor = raymon.Monitor(worker=0, run="raise")
    with pytest.raises(ZeroDivisionError), monitor.rollout(), monitor.phase("environment"):
        1 / 0  # noqa: B018
    assert total(monitor, catalog.ROLLOUTS) == 0
    with monitor.rollout(), monitor.rollout():
        pass
    assert total(monitor, catalog.ROLLOUTS) == 1
    assert activity(monitor) == ["waiting"]


def test_progress_changes_only_when_something_finishes():
    monitor = raymon.Monitor(worker=0, run="progress")
    before = values(monitor, catalog.PROGRESS)[()]
    assert values(monitor, catalog.PROGRESS)[()] == before
    for finish in (lambda: monitor.steps(3), lambda: monitor.episode(1.0, 10)):
        finish()
        after = values(monitor, catalog.PROGRESS)[()]
        assert after > before
        before = after


class Model:
    """Represents a number of another library, such as a tensor of one element."""

    def __float__(self):
        return 5.0


@pytest.mark.parametrize("n", [5, 5.0, Model()])
def test_steps_of_any_kind_of_number(n):
    monitor = raymon.Monitor(worker=0, run="kinds")
    monitor.steps(n)
    assert total(monitor, catalog.ENV_STEPS) == 5


@pytest.mark.parametrize("n", [-1, float("nan"), float("inf"), "five", None, [1, 2], object()])
def test_invalid_counts_are_dropped_and_counted(n):
    monitor = raymon.Monitor(worker=0, run="bad")
    monitor.steps(2)
    monitor.steps(n)
    assert total(monitor, catalog.ENV_STEPS) == 2
    assert total(monitor, catalog.RECORDING_DROPPED) == 1


def test_wrong_use_never_raises_and_every_drop_is_counted():
    own = raymon.Metric("test_collisions_total", "counter", "Collisions.", labels=("kind",), values={"kind": ("hard",)})
    monitor = raymon.Monitor(worker=0, run="bad")
    wrong = [
        lambda: monitor.count(own, kind="soft"),
        lambda: monitor.count(own),
        lambda: monitor.count(own, kind="hard", step=3),
        lambda: monitor.set(own, 1.0, kind="hard"),
        lambda: monitor.observe(own, 1.0, kind="hard"),
        lambda: monitor.count("collisions"),
        lambda: monitor.activity("sleeping"),
        lambda: monitor.add_phase("sleeping", 1.0),
        lambda: monitor.add_phase("environment", -1.0),
        lambda: monitor.episode("high", 1),
        lambda: monitor.policy_version(None),
    ]
    for use in wrong:
        use()
    with monitor.phase("sleeping"):
        pass
    assert total(monitor, catalog.RECORDING_DROPPED) == len(wrong) + 1
    monitor.count(own, 3, kind="hard")
    assert total(monitor, own, "hard") == 3


def test_labels_without_enumerated_values_are_bounded():
    own = raymon.Metric("test_visits_total", "counter", "Visits.", labels=("room",))
    accumulator = Accumulator()
    for room in range(MOST_LABEL_SETS):
        accumulator.cell(own, {"room": room})
    with pytest.raises(ValueError, match="more than"):
        accumulator.cell(own, {"room": "one more"})
    with pytest.raises(ValueError, match="short text"):
        Accumulator().cell(own, {"room": "x" * 100})


def test_wrong_declarations_do_raise(monkeypatch):
    with pytest.raises(ValueError, match="whole number"):
        raymon.Monitor(worker=-1)
    with pytest.raises(ValueError, match="whole number"):
        raymon.Monitor(worker="first")
    with pytest.raises(ValueError, match="1 to 128 characters"):
        raymon.Monitor(worker=1, run="")
    with pytest.raises(ValueError, match="0 or more"):
        raymon.DriverMonitor("x", workers=-1)
    monkeypatch.setenv("RAYMON_RUN", "from-environment")
    monkeypatch.setenv("RAYMON_WORKER", "7")
    assert (raymon.Monitor().run, raymon.Monitor().worker) == ("from-environment", "7")
    assert (raymon.Monitor(2, "given").run, raymon.Monitor(2, "given").worker) == ("given", "2")


def test_a_monitor_that_is_switched_off_does_nothing():
    monitor = raymon.Monitor(worker=0, run="off", enabled=False)
    driver = raymon.DriverMonitor("off", enabled=False)
    monitor.steps(3)
    monitor.steps("nonsense")
    with monitor.rollout(), monitor.phase("nonsense"):
        monitor.episode(1.0, 2)
    with driver.iteration(), driver.phase("learn"):
        driver.update(loss=1.0)
    assert all(cell.total == 0 for each in (monitor, driver) for cell in each.accumulator._cells.values())


def test_the_driver_s_ledger():
    driver = raymon.DriverMonitor("ledger", workers=3)
    driver.policy_version(5)
    driver.received(0, seconds=0.1, env_steps=128, nbytes=1000, policy_version=4)
    driver.received(1, seconds=0.1, env_steps=64, nbytes=500, policy_version=2)
    driver.trained(1, 128)
    driver.dropped("stale", env_steps=64)
    assert [total(driver, catalog.FRAGMENT_STEPS, outcome) for outcome in ("received", "trained", "dropped")] == [
        192,
        128,
        64,
    ]
    assert [total(driver, catalog.FRAGMENTS, outcome) for outcome in ("received", "trained", "dropped")] == [2, 1, 1]
    assert total(driver, catalog.FRAGMENTS_DROPPED, "stale") == 1
    assert total(driver, catalog.PUT_BYTES, "rollouts") == 1500
    assert values(driver, catalog.POLICY_LAG) == {("mean",): 2.0, ("max",): 3.0}


def test_the_fleet_as_the_driver_sees_it():
    driver = raymon.DriverMonitor("fleet", workers=3)
    for worker in range(3):
        driver.worker_up(worker)
    driver.worker_lost(1, "killed")
    driver.worker_lost(2, "no such reason")
    assert total(driver, catalog.WORKER_LOSSES, "unknown") == 1
    driver.worker_given_up(2)
    states = values(driver, catalog.WORKERS)
    assert states == {("expected",): 3, ("up",): 1, ("restarting",): 1, ("given_up",): 1}
    assert total(driver, catalog.WORKER_RESTARTS, "1", "killed") == 0
    driver.worker_restarted(1, "killed")
    assert total(driver, catalog.WORKER_RESTARTS, "1", "killed") == 1
    trouble = values(driver, catalog.WORKER_TROUBLE)
    assert {labels for labels, on in trouble.items() if on} == {("2", "given_up")}
    assert ("1", "restarting") in trouble


def test_a_diverged_update_keeps_the_gauges_finite():
    driver = raymon.DriverMonitor("diverged")
    driver.update(loss=0.5, kl=0.01, learning_rate=None)
    driver.update(loss=float("nan"), gradient_norm=float("inf"), kl=float("nan"))
    driver.update(nonfinite=True)
    driver.update(los=1.0)
    assert total(driver, catalog.NONFINITE_UPDATES) == 2
    assert total(driver, catalog.RECORDING_DROPPED) == 1
    assert values(driver, catalog.LOSS) == {("total",): 0.5}


def test_a_loop_without_iterations_counts_its_updates():
    driver = raymon.DriverMonitor("plain")
    for _ in range(3):
        driver.update(loss=0.5)
    assert total(driver, catalog.UPDATES) == 3
    assert values(driver, catalog.RUN_STATE)["training",] == 1.0
    with driver.iteration():
        driver.update(loss=0.5)
    driver.update(kl=0.01)
    assert total(driver, catalog.UPDATES) == 4, "iterations count from the first one on"


def test_an_iteration_of_ten_minutes_has_a_duration_until_the_next_ends():
    driver = raymon.DriverMonitor("long")
    clock = Clock()
    driver._wall_time._clock = clock
    with driver.iteration():
        clock.now += 2 * 10**9
    assert values(driver, catalog.ITERATION_SECONDS) == {(): pytest.approx(2.0)}
    with driver.iteration():
        clock.now += 600 * 10**9
    clock.now += 300 * 10**9
    assert values(driver, catalog.ITERATION_SECONDS) == {(): pytest.approx(600.0)}
    with pytest.raises(ZeroDivisionError), driver.iteration():
        1 / 0  # noqa: B018
    assert total(driver, catalog.UPDATES) == 2


def test_observations_between_two_flushes_are_bounded():
    driver = raymon.DriverMonitor("many")
    for _ in range(6000):
        driver.received(0, seconds=0.1, env_steps=1)
    observed = sum(len(family) for _, family in driver.accumulator.take().observations)
    assert observed + total(driver, catalog.RECORDING_DROPPED) == 6000
    assert total(driver, catalog.FRAGMENTS, "received") == 6000


def test_an_unreferenced_monitor_is_forgotten():
    from raymon.monitor.flusher import flusher

    before = flusher.monitors
    for _ in range(20):
        raymon.Monitor(worker=0, run="gone").steps(1)
    gc.collect()
    assert flusher.monitors <= before

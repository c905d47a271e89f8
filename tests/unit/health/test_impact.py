"""What faults cost, against numbers worked out by hand."""

import dataclasses

import pytest
from health_views import run, worker

from raymon.health import judge
from raymon.views import NodeView


def slow_fleet(**more):
    speeds = (900.0, 900.0, 300.0)
    workers = [
        worker(str(number), 0.1 * 900.0 / speed, steps_per_second=speed, phase_ratio={"environment": 1.0})
        for number, speed in enumerate(speeds)
    ]
    return judge(run(*workers, steps_per_second=2100.0, **more))


def test_asynchronous_straggler_costs_its_own_missing_steps():
    finding = slow_fleet(sampler="async").findings[0]
    assert (finding.code, finding.worker) == ("straggler_bound", "2")
    assert finding.cost_ratio == pytest.approx(600.0 / 2700.0)
    assert finding.sentence.endswith("this costs 22 % of the throughput (600 of 2,700 steps/s).")


def test_synchronous_straggler_costs_the_others_waiting_time():
    finding = slow_fleet(sampler="sync", phase_ratio={"sample": 0.9, "learn": 0.1}).findings[0]
    assert finding.cost_ratio == pytest.approx(0.9 * (1.0 - 1.0 / 3.0))


def test_synchronous_straggler_does_not_cost_what_the_longest_of_the_others_takes_anyway():
    spread = {"latency_seconds": {"p50": 0.10, "p95": 0.15, "p99": 0.16}}
    workers = [worker(str(number), rollouts_per_second=3.0, **spread) for number in range(5)]
    slow = worker("5", 0.3, rollouts_per_second=3.0)
    view = run(*workers, slow, steps_per_second=5400.0, sampler="sync", phase_ratio={"sample": 0.98, "learn": 0.02})
    longest = 0.10 + 0.05 / 1.645 * 1.18  # the longest of five rollouts, on average, is 1.18 deviations above the mean
    assert judge(view).findings[0].cost_ratio == pytest.approx(3.0 * (0.3 - longest), rel=0.02)
    partly = [dataclasses.replace(each, latency_seconds={"p99": 0.16}) for each in workers]
    without = judge(dataclasses.replace(view, workers=(*partly, slow))).findings[0]
    assert without.cost_ratio == pytest.approx(0.98 * (1.0 - 1.0 / 3.0)), "quantiles that are missing say nothing"


def test_trainer_of_unknown_kind_shows_that_it_waits_for_the_slowest():
    workers = [
        worker(
            str(number),
            0.4 if number == 2 else 0.1,
            rollouts_per_second=2.0,
            steps_per_second=200.0,
            phase_ratio={"environment": 0.8, "waiting": 0.2} if number == 2 else {"environment": 0.2, "waiting": 0.8},
        )
        for number in range(3)
    ]
    finding = judge(run(*workers, steps_per_second=600.0, sampler="rllib")).findings[0]
    assert (finding.code, finding.cost_ratio) == ("straggler_bound", pytest.approx(0.6))


def test_idle_time_between_calls_is_not_the_stragglers():
    rates = (900.0, 900.0, 450.0)
    workers = [
        worker(str(number), 0.3 if number == 2 else 0.1, steps_per_second=rate, phase_ratio={"environment": 0.7})
        for number, rate in enumerate(rates)
    ]
    finding = judge(run(*workers, steps_per_second=2250.0, sampler="async")).findings[0]
    assert finding.cost_ratio == pytest.approx(450.0 / 2700.0)


@pytest.mark.parametrize(("update_age", "cost"), [(15.2, 1.0), (0.3, 1.0 / 3.0)])
def test_hanging_worker_costs_all_where_no_update_was_made_since(update_age, cost):
    hanging = worker("0", stuck_seconds=15.0, progress_age_seconds=15.0)
    view = run(
        hanging,
        worker("1"),
        worker("2"),
        steps_per_second=2700.0,  # of two exports before the hang
        updates_per_second=3.0,
        last_update_age_seconds=update_age,
        phase_ratio={"sample": 0.99, "learn": 0.01},
    )
    finding = judge(view).findings[0]
    assert (finding.code, finding.cost_ratio) == ("worker_stalled", pytest.approx(cost, abs=0.01))


def test_lost_worker_costs_the_rate_of_a_healthy_one():
    workers = [worker(str(number), steps_per_second=1000.0) for number in range(3)]
    lost = worker("3", lifecycle="given_up", steps_per_second=0.0)
    finding = judge(run(*workers, lost, steps_per_second=3000.0, sampler="async")).findings[0]
    assert (finding.code, finding.cost_ratio) == ("workers_lost", pytest.approx(0.25))


def test_a_lost_node_costs_what_its_workers_would_do_and_one_out_of_sight_nothing():
    workers = [worker(str(number), steps_per_second=1000.0, node=f"10.0.0.{1 + number % 2}") for number in range(4)]
    silent = NodeView("u2", "10.0.0.2", silent_seconds=20.0, error="timed out", workers=("1", "3"))
    well = NodeView("u1", "10.0.0.1", silent_seconds=0.0, workers=("0", "2"), driver=True)
    lost = dataclasses.replace(silent, listed=False, departure="failure")
    finding = judge(run(*workers, nodes=(well, lost), steps_per_second=2000.0, sampler="async")).findings[0]
    assert (finding.code, finding.cost_ratio) == ("node_lost", pytest.approx(0.5))
    assert "costs 50 % of the throughput" in finding.sentence
    finding = judge(run(*workers, nodes=(well, silent), steps_per_second=2000.0, sampler="async")).findings[0]
    assert (finding.code, finding.cost_ratio) == ("node_silent", None), "its workers may go on"


def test_a_failing_worker_and_a_run_that_stands_still_have_a_cost():
    workers = [worker(str(number), steps_per_second=1000.0) for number in range(3)]
    nothing = {"rollouts_per_second": 0.0, "steps_per_second": 0.0}
    failing = worker("3", failures={"TypeError": 5.0}, failures_total=50.0, **nothing)
    finding = judge(run(*workers, failing, steps_per_second=3000.0, sampler="async")).findings[0]
    assert (finding.code, finding.cost_ratio) == ("rollouts_failing", pytest.approx(0.25))
    values = {"last_update_age_seconds": 60.0, "usual_steps_per_second": 1900.0, "steps_per_second": 0.0}
    still = judge(run(*workers, **values)).findings[0]
    assert (still.code, still.cost_ratio) == ("no_progress", 1.0)
    assert "costs 100 % of the throughput (1,900 of 1,900 steps/s)" in still.sentence

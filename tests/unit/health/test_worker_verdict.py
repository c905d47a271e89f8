"""Verdicts on workers, from numbers."""

import dataclasses

import pytest
from health_views import fleet, run, worker

from raymon import health
from raymon.format import duration
from raymon.health import THRESHOLDS, judge, judge_workers


def states(view):
    return [verdict.state for verdict in judge_workers(view)]


def one(**more):
    return judge_workers(run(worker(**more)))[0]


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({}, "running"),
        ({"activity": "waiting", "progress_age_seconds": 500.0, "stuck_seconds": 0.2}, "waiting"),
        ({"activity": "starting", "progress_age_seconds": None, "stuck_seconds": 30.0}, "starting"),
        ({"activity": "environment", "progress_age_seconds": None, "stuck_seconds": 30.0}, "starting"),
        ({"activity": "starting", "progress_age_seconds": None, "stuck_seconds": 300.0}, "suspect"),
        ({"activity": "starting", "progress_age_seconds": None, "stuck_seconds": 300.0, "where": "load"}, "stalled"),
        ({"activity": "environment", "progress_age_seconds": None, "stuck_seconds": 300.0}, "stalled"),
        ({"heartbeat_age_seconds": 20.0}, "stalled"),
        ({"heartbeat_age_seconds": 20.0, "present": False, "lifecycle": None}, "stalled"),
        ({"heartbeat_age_seconds": 90.0, "present": False, "lifecycle": None}, "dead"),
        ({"heartbeat_age_seconds": 90.0, "present": False, "lifecycle": "up"}, "stalled"),
        ({"heartbeat_age_seconds": 90.0, "lifecycle": "restarting"}, "restarting"),
        ({"heartbeat_age_seconds": 90.0, "lifecycle": "given_up"}, "given_up"),
        ({"progress_age_seconds": 20.0, "stuck_seconds": 20.0}, "stalled"),
        ({"progress_age_seconds": 20.0, "stuck_seconds": 3.0}, "running"),
        ({"progress_age_seconds": 20.0, "stuck_seconds": 20.0, "latency_seconds": {"p99": 15.0}}, "running"),
        ({"stuck_seconds": 50.0, "latency_seconds": {"p99": 15.0}, "rollouts_total": 30.0}, "stalled"),
        ({"stuck_seconds": 50.0, "latency_seconds": {"p99": 15.0}, "rollouts_total": 5.0}, "suspect"),
        ({"heartbeat_age_seconds": None, "present": False}, "stalled"),
        ({"heartbeat_age_seconds": None, "present": False, "seen_seconds": 3.0}, "unknown"),
        ({"heartbeat_age_seconds": None, "present": False, "lifecycle": None}, "unknown"),
    ],
)
def test_one_worker(values, state):
    verdict = one(**values)
    assert verdict.state == state
    assert verdict.reason


@pytest.mark.parametrize(("p50", "state"), [(10.0, "stalled"), (3.0, "suspect")])
def test_few_rollouts_of_one_worker_are_judged_by_those_of_all(p50, state):
    few = {"latency_seconds": {"p50": p50, "p99": 12.0}, "rollouts_total": 6.0}
    fleet = [worker(str(number), **few) for number in range(3)]
    hangs = worker("3", **few, stuck_seconds=40.0)
    assert states(run(hangs, *fleet))[0] == state
    assert states(run(hangs))[0] != "stalled", "alone, six rollouts say little"


def test_a_run_started_again_under_its_name_is_starting():
    left = worker(heartbeat_age_seconds=None, present=False)
    assert states(run(left, started_seconds_ago=60.0)) == ["starting"]
    assert states(run(left, started_seconds_ago=91.0)) == ["stalled"]


@pytest.mark.parametrize(("started", "state"), [(22.0, "starting"), (24.0, "stalled")])
def test_a_worker_without_a_heartbeat_is_missed_sooner_where_others_report(started, state):
    missing = worker("1", heartbeat_age_seconds=None, present=False)
    assert states(run(worker("0"), missing, started_seconds_ago=started))[1] == state


def test_a_worker_that_has_only_failed_is_failing_even_when_silent():
    silent = {"heartbeat_age_seconds": 40.0, "rollouts_per_second": 0.0, "steps_per_second": 0.0, "rollouts_total": 0.0}
    verdict = one(**silent, failures={"OSError in __init__": 0.0}, failures_total=1.0)
    assert verdict.state == "failing"
    assert verdict.reason.startswith("every rollout fails with OSError in __init__, 1 so far")


def test_every_state_is_in_the_vocabulary():
    for state in ("running", "waiting", "starting", "slow", "stalled", "restarting", "dead", "given_up", "unknown"):
        assert state in health.WORKER_STATES
    assert health.worker_rank("running") == health.worker_rank("waiting") > health.worker_rank("stalled")


def test_when_all_are_silent_no_worker_is_blamed():
    silent = [worker(str(number), heartbeat_age_seconds=9.5) for number in range(3)]
    assert states(run(*silent, data_age_seconds=9.5)) == ["unknown"] * 3
    assert "no process of this run" in judge_workers(run(*silent, data_age_seconds=9.5))[0].reason


def test_heartbeats_may_be_older_with_slow_exports():
    late = worker(heartbeat_age_seconds=12.0)
    assert states(run(late, data_age_seconds=1.0, report_seconds=10.0)) == ["running"]
    assert states(run(late, data_age_seconds=1.0, report_seconds=1.0)) == ["stalled"]
    assert states(run(late, data_age_seconds=1.0, report_seconds=None)) == ["running"], "not known yet: Ray's default"


@pytest.mark.parametrize(
    ("started", "state", "expected"),
    [
        (None, "starting", "starting"),
        (9.0, "training", "starting"),
        (95.0, "training", "unknown"),
        (120.0, "training", "stalled"),
    ],
)
def test_worker_of_an_earlier_run_of_that_name_is_not_stalled(started, state, expected):
    silent = worker(heartbeat_age_seconds=97.0)
    assert states(run(silent, state=state, started_seconds_ago=started)) == [expected]


def test_after_the_end_no_worker_is_stalled():
    silent = worker(heartbeat_age_seconds=500.0, present=False)
    assert states(run(silent, state="finished")) == ["unknown"]


def test_a_straggler_among_three():
    assert states(fleet(0.1, 0.31, 0.1)) == ["running", "slow", "running"]
    reason = judge_workers(fleet(0.1, 0.31, 0.1))[1].reason
    assert "3.1 times the median of the others" in reason
    assert "a rollout takes 310 ms instead of 100 ms" in reason


def test_a_mean_of_few_rollouts_never_exceeds_the_longest():
    slow = worker("2", 16.0, latency_seconds={"p95": 7.8, "p99": 8.0})
    reason = judge_workers(run(worker("0", 2.0), worker("1", 2.0), slow))[2].reason
    assert "a rollout takes 8.0 s instead of 2.0 s" in reason


def test_hung_worker_is_not_a_straggler_baseline():
    hangs = worker("1", 8.0, stuck_seconds=30.0)
    reason = judge_workers(run(worker("0"), hangs, worker("2", 0.5)))[2].reason
    assert "a rollout takes 500 ms instead of 100 ms" in reason


def test_durations_of_steps_are_read_in_microseconds():
    assert [duration(value) for value in (3.73e-5, 0.00099, 0.001, 0.0371)] == ["37.3 µs", "990 µs", "1 ms", "37.1 ms"]


def test_a_straggler_of_two_and_none_when_alone():
    assert states(fleet(0.1, 0.26)) == ["running", "slow"]
    assert states(fleet(0.5)) == ["running"]


@pytest.mark.parametrize(
    "costs",
    [
        (0.1, 0.13, 0.19),
        (0.1, 0.15, 0.2, 0.25),
        (0.1, 0.1, 0.3, 0.3),
        (0.05, 0.1, 0.2, 0.4),
        tuple(0.1 * 1.03**number for number in range(40)),
    ],
)
def test_workers_of_different_speed_by_design_are_not_slow(costs):
    assert set(states(fleet(*costs))) == {"running"}


def test_one_slow_worker_of_a_thousand_is_found_quickly():
    view = fleet(*[0.1 + 0.00002 * (number % 50) for number in range(999)], 0.35)
    assert states(view).count("slow") == 1
    assert states(view)[-1] == "slow"


def test_differences_too_small_to_matter_are_no_straggler():
    assert states(fleet(0.0005, 0.0005, 0.0012)) == ["running"] * 3


def test_fragments_of_different_lengths_compare_by_the_step():
    longer = worker("2", 0.4, rollout_steps=400.0)
    assert states(run(worker("0"), worker("1"), longer)) == ["running"] * 3


def test_a_worker_in_its_warm_up_is_not_compared():
    young = worker("2", 0.9, seen_seconds=THRESHOLDS.warmup_seconds - 1)
    assert states(run(worker("0"), worker("1"), young))[2] == "running"


def test_rare_exports_show_a_hang_that_has_just_begun_and_no_slow_worker():
    hung = worker("1", 0.35, stuck_seconds=3.0, heartbeat_age_seconds=3.0, progress_age_seconds=6.0)
    others = worker("0", 0.1), worker("2", 0.1)
    assert states(run(others[0], hung, others[1], report_seconds=10.0))[1] == "running"
    stepping = dataclasses.replace(hung, progress_age_seconds=3.2)
    assert states(run(others[0], stepping, others[1], report_seconds=10.0))[1] == "slow"
    before = judge_workers(run(others[0], hung, others[1], report_seconds=10.0), slow_before={"1"})
    assert before[1].state == "slow"


def test_a_slow_worker_that_waits_now_is_still_slow():
    waiting = worker("1", 0.9, activity="waiting")
    assert states(run(worker("0"), waiting, worker("2")))[1] == "slow"


def test_every_threshold_has_a_reason_and_acts():
    for field in dataclasses.fields(THRESHOLDS):
        assert health.reason_of(field.name).endswith(".")
        assert getattr(THRESHOLDS, field.name) > 0
    strict = dataclasses.replace(
        THRESHOLDS, slow_factor=1.1, slow_weak_factor=1.05, slow_deviations=1.0, slow_unwatched_factor=1.05
    )
    assert judge_workers(fleet(0.1, 0.12, 0.1), strict)[1].state == "slow"
    with pytest.raises(KeyError):
        health.reason_of("nonsense")


@pytest.mark.parametrize(
    ("process", "silence", "state", "part"),
    [
        ("stopped", 9.5, "stalled", "its process is stopped"),
        ("gone", 9.5, "stalled", "its process has ended"),
        ("swapping", 9.5, "stalled", "swapped out"),
        ("starved", 9.5, "stalled", "starved of CPU"),
        ("native_busy", 12.0, "suspect", "busy in native code, in `Env.step (my_env.py:8)`, for 12 s"),
        ("native_busy", 33.0, "stalled", "busy in native code, in `Env.step (my_env.py:8)`"),
        ("native", 10.0, "suspect", "native code holds the GIL without using CPU"),
        ("native", 14.0, "stalled", "native code holds the GIL without using CPU"),
    ],
)
def test_silent_process_is_called_what_it_is(process, silence, state, part):
    silent = worker("0", heartbeat_age_seconds=silence, process=process, where="Env.step (my_env.py:8)")
    verdict = judge_workers(run(silent, worker("1"), watched_seconds=60.0))[0]
    assert verdict.state == state
    assert part in verdict.reason


def test_hang_is_named_with_its_frame_and_the_driver_that_waits():
    pause = {"latency_seconds": {"p50": 0.2, "p99": 0.2}, "mean_rollout_seconds": 0.2}
    stuck = worker("3", stuck_seconds=14.5, where="Env.step → recv (my_env.py:88)", process="idle", **pause)
    verdict = judge(run(stuck, worker("1"), watched_seconds=60.0, driver_waits_for=("3",), driver_silent_seconds=14.0))
    assert verdict.sentence.startswith("Worker 3 is stalled: it hangs in `Env.step → recv (my_env.py:88)`, for 14")
    assert "The driver has waited 14 s for worker 3." in verdict.evidence

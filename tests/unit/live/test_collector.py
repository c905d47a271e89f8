"""What is remembered between scrapes and what is said about it, on pages whose every number is known."""

import dataclasses
import math
import time

import numpy as np
import pytest
from health_views import worker
from metrics_pages import NOW, URL, FakeCluster, FakeDriver, FakeWorker, LongRollouts, line
from stage import Stage, processes
from support import poll

from raymon import catalog
from raymon.live.clock import Clock
from raymon.live.collector import Collector
from raymon.live.driver_view import Driver
from raymon.live.history import COPIED_SAMPLES, MOST_SAMPLES, Ring, WorkerSample
from raymon.live.rates import Rates
from raymon.live.runs import _fleet_rate, driver_growth
from raymon.live.scrape import Page
from raymon.live.subject import Process, key_of


def cluster(workers=3, **driver):
    return FakeCluster(FakeDriver(expected=workers, **driver), *(FakeWorker(str(i)) for i in range(workers)))


def states(snapshot, run="r"):
    return {worker.worker: worker.state for worker in snapshot.verdicts[run].workers}


def seconds_until(fake, condition, most=40):
    for second in range(1, most + 1):
        if condition(fake.run(1)):
            return second
    raise AssertionError(f"not within {most} s")


def test_a_healthy_run_is_read_as_it_is():
    fake = cluster()
    snapshot = fake.run(20)
    run = snapshot.run()
    assert (run.engine, run.sampler, run.environment, run.state) == ("own", "async", "zmq://host:1", "training")
    assert run.steps_per_second == pytest.approx(3000)
    assert run.updates_per_second == pytest.approx(2)
    assert run.phase_ratio["learn"] == pytest.approx(0.5)
    assert sum(run.phase_ratio.values()) == pytest.approx(1.0)
    assert run.store.used_bytes == 50e6, "the heap of workers is not in the object store"
    assert run.workers[1].mean_rollout_seconds == pytest.approx(0.09)
    assert run.workers[1].pid == 4001
    assert set(states(snapshot).values()) == {"running"}
    assert snapshot.verdicts["r"].severity in ("ok", "info")
    assert snapshot.alerts == ()
    assert snapshot.data_age_seconds == pytest.approx(0.3)


def long_rollouts(counts):
    return FakeCluster(FakeDriver(phase="sample", share=0.9), *(LongRollouts(str(n), counts) for n in range(3)))


def test_counted_steps_reveal_a_hang_in_a_long_rollout():
    fake = long_rollouts(counts=True)
    assert set(states(fake.run(50)).values()) == {"running"}
    fake.processes[2].works = False
    said = []
    fake.run(8, each=lambda snapshot: said.append(states(snapshot)["1"]))
    assert "slow" not in said, "a hang is not called slow on the way"
    said.clear()
    fake.run(120, each=lambda snapshot: said.append(states(snapshot)["1"]))
    assert set(said[5:]) == {"stalled"}, "also when its last step is long ago"


def test_long_rollouts_without_step_counts_set_the_limit():
    fake = long_rollouts(counts=False)
    assert set(states(fake.run(70)).values()) == {"running"}
    fake.processes[2].works = False
    assert states(fake.run(45))["1"] == "running"
    assert states(fake.run(30))["1"] == "suspect", "after few rollouts twice as long is allowed"
    assert states(fake.run(60))["1"] == "stalled"


def test_a_straggler_is_reported_during_its_first_slow_rollout():
    fake = long_rollouts(counts=True)
    fake.run(50)
    fake.processes[2].speed = 250.0
    snapshot = fake.run(12)
    assert states(snapshot) == {"0": "running", "1": "slow", "2": "running"}
    assert "4.0 times the median of the others per step (4 ms instead of 1 ms)" in snapshot.verdicts["r"].sentence


def test_mean_return_is_that_of_the_workers_where_the_driver_has_none():
    fake = cluster()
    for process in fake.processes[1:]:
        process.set(catalog.EPISODE_RETURN, 30.0 + float(process.worker))
    assert fake.run(3).run().learning["return_mean"] == pytest.approx(
        sum(30.0 + float(process.worker) for process in fake.processes[1:]) / len(fake.processes[1:])
    )
    fake.processes[0].set(catalog.FLEET_RETURN, 7.0, "mean")
    assert fake.run(1).run().learning["return_mean"] == 7.0


def test_throughput_is_not_known_before_workers_report():
    fake = FakeCluster(FakeDriver(expected=2))
    view = fake.run(20).run()
    assert (view.state, view.steps_per_second) == ("training", None)
    idle, new = (dataclasses.replace(worker("0"), steps_per_second=rate) for rate in (0.0, None))
    assert _fleet_rate((idle, new), Driver()) is None
    assert _fleet_rate((idle, idle), Driver()) == 0.0


def test_a_restart_never_takes_counts_away():
    fake = cluster()
    fake.run(20)
    fake.processes[2].beats = fake.processes[2].works = False
    fake.processes.append(FakeWorker("1", life=2))
    rates = []
    fake.run(15, each=lambda s: rates.append(s.run().workers[1].steps_per_second))
    assert min(rates) >= 0.0
    assert rates[-1] == pytest.approx(1000)
    assert fake.run(1).run().workers[1].log_id == "r-1-2", "the newest process speaks for the worker"


def test_a_restarted_counter_does_not_go_backwards():
    fake = cluster()
    fake.run(20)
    fake.processes[1].set(catalog.ENV_STEPS, 0.0)
    rates = []
    fake.run(12, each=lambda s: rates.append(s.run().workers[0].steps_per_second))
    assert min(rates) > 0.0
    assert max(rates) == pytest.approx(1000, rel=0.2)


def test_a_stopped_process_is_stalled_within_15_s_and_stays_so():
    fake = cluster()
    fake.run(20)
    stopped = fake.processes[2]
    stopped.beats = False
    assert seconds_until(fake, lambda s: states(s)["1"] == "stalled") <= 13
    stopped.gauges_shown = False
    snapshot = fake.run(30)
    assert states(snapshot)["1"] == "stalled"
    assert not snapshot.run().workers[1].present
    assert snapshot.run().workers[1].steps_per_second == 0.0
    assert snapshot.verdicts["r"].state == "worker_stalled"
    assert any(alert.worker == "1" for alert in snapshot.alerts)
    stopped.beats = stopped.gauges_shown = True
    assert seconds_until(fake, lambda s: states(s)["1"] == "running") <= 3


def test_a_hanging_environment_is_stalled_within_15_s():
    fake = cluster()
    fake.run(20)
    fake.processes[2].works = False
    fake.processes[3].activity = "waiting"
    assert seconds_until(fake, lambda s: states(s)["1"] == "stalled") <= 13
    snapshot = fake.run(120)
    assert states(snapshot) == {"0": "running", "1": "stalled", "2": "waiting"}
    assert "in phase environment" in snapshot.verdicts["r"].workers[1].reason


def test_a_long_rollout_after_a_long_wait_is_not_stalled():
    fake = cluster()
    fake.processes[2].activity = "waiting"
    fake.run(60)
    fake.processes[2].activity, fake.processes[2].works = "environment", False
    fake.run(7, each=lambda s: pytest.fail("stalled") if states(s)["1"] == "stalled" else None)


@pytest.mark.parametrize("gone", [False, True])
def test_opened_late_a_stopped_worker_is_still_named(gone):
    fake = cluster()
    fake.run(20)
    fake.processes[2].beats, fake.processes[2].gauges_shown = False, not gone
    fake.run(30)
    fake.collector = fake.viewer()
    assert states(fake.run(5))["1"] == ("unknown" if gone else "stalled")
    assert states(fake.run(10))["1"] == "stalled"


@pytest.mark.parametrize("again", [False, True])
def test_worker_that_dies_in_a_run_without_iterations_is_stalled_unless_of_an_earlier_run(again):
    fake = cluster(2)
    driver = fake.processes[0]
    driver.state, driver.started, driver.works = "starting", 0.0, False
    fake.run(20)
    fake.processes[2].beats = False
    if again:
        driver.beats, fake.processes[1:2] = False, [FakeDriver(life=2), FakeWorker("0", life=2)]
        fake.processes[1].state, fake.processes[1].started, fake.processes[1].works = "starting", 0.0, False
    assert states(fake.run(30))["1"] == ("starting" if again else "stalled")


def test_labels_of_an_earlier_run_are_not_workers():
    fake = cluster()
    earlier = FakeWorker("7")
    earlier.second(NOW)
    earlier.gauges_shown = earlier.beats = False
    fake.processes.append(earlier)
    assert [worker.worker for worker in fake.run(5).run().workers] == ["0", "1", "2"]


def test_the_drivers_word_on_a_lost_worker():
    fake = cluster()
    fake.run(20)
    driver, lost = fake.processes[0], fake.processes[2]
    lost.beats = False
    driver.set(catalog.WORKER_TROUBLE, 1.0, "1", "restarting")
    driver.set(catalog.WORKER_LOSSES, 1.0, "killed")
    snapshot = fake.run(2)
    assert states(snapshot)["1"] == "restarting"
    assert snapshot.verdicts["r"].state == "workers_lost"
    assert snapshot.run().recent_losses == {"killed": 1}
    driver.set(catalog.WORKER_TROUBLE, 0.0, "1", "restarting")
    driver.set(catalog.WORKER_RESTARTS, 1.0, "1", "killed")
    fake.processes.append(FakeWorker("1", life=2))
    snapshot = fake.run(3)
    assert states(snapshot)["1"] == "running"
    assert snapshot.run().workers[1].restarts == {"killed": 1}
    assert "just replaced worker 1" in snapshot.verdicts["r"].sentence
    assert fake.run(40).verdicts["r"].severity in ("ok", "info"), "half a minute later it is history"
    driver.set(catalog.WORKER_TROUBLE, 1.0, "1", "given_up")
    assert states(fake.run(1))["1"] == "given_up"


def test_a_silent_driver_is_named_and_its_workers_are_not_blamed():
    fake = cluster()
    fake.run(20)
    fake.processes[0].beats = False
    assert seconds_until(fake, lambda s: s.verdicts["r"].state == "driver_gone") <= 15
    assert set(states(fake.run(1)).values()) == {"running"}


def test_a_frozen_exporter_never_looks_live():
    fake = cluster()
    fake.run(20)
    fake.exports = False
    ages = []
    fake.run(20, each=lambda s: ages.append(s.data_age_seconds))
    assert ages == sorted(ages)
    assert ages[-1] > 19
    snapshot = fake.run(1)
    assert snapshot.verdicts["r"].state == "stale"
    assert set(states(snapshot).values()) == {"unknown"}


def test_an_unreachable_endpoint_says_so_and_keeps_the_last_state():
    fake = cluster()
    fake.run(20)
    fake.answers = False
    snapshot = fake.run(20)
    assert "connection refused" in snapshot.problem
    assert snapshot.targets[0].answered_seconds_ago == pytest.approx(20)
    assert snapshot.verdicts["r"].state == "stale"
    fake.answers = True
    assert seconds_until(fake, lambda s: not s.problem and s.verdicts["r"].severity in ("ok", "info")) <= 5


def test_a_finished_run_keeps_its_last_state():
    fake = cluster()
    fake.run(20)
    fake.processes[0].state = "finished"
    fake.run(2)
    for process in fake.processes:
        process.beats = process.gauges_shown = False
    snapshot = fake.run(60)
    assert snapshot.verdicts["r"].state == "finished"
    assert snapshot.run().updates == 44


def test_a_suspended_viewer_reports_no_stall():
    fake = cluster()
    fake.run(20)
    fake.now += 600.0
    assert set(states(fake.look()).values()) == {"running"}
    assert fake.look().verdicts["r"].severity in ("ok", "info")
    assert set(states(fake.run(20)).values()) == {"running"}


@pytest.mark.parametrize("behind", [-120.0, 45.0])
def test_a_node_whose_clock_differs_is_not_stalled(behind):
    fake = cluster()
    for process in fake.processes:
        usual = process.second
        process.second = lambda now, usual=usual: usual(now - behind)
    fake.run(5)
    fake.run(30, each=lambda s: pytest.fail(str(states(s))) if set(states(s).values()) != {"running"} else None)
    assert fake.run(1).data_age_seconds < 5
    fake.processes[2].beats = False
    assert seconds_until(fake, lambda s: states(s)["1"] == "stalled") <= 15


def test_ten_seconds_between_exports_raise_no_alarm():
    fake = cluster()
    fake.exports = True
    alarmed = []
    for second in range(90):
        fake.exports = second % 10 == 0
        snapshot = fake.run(1)
        run = snapshot.run()
        verdict = snapshot.verdicts[run.run]
        alarmed += [verdict.sentence] if verdict.severity not in ("ok", "info") else []
    assert alarmed == []
    assert snapshot.run().report_seconds == pytest.approx(10)


def test_several_runs_the_live_one_first():
    fake = cluster()
    older = FakeDriver(run="older")
    older.started = NOW - 5000.0
    other = FakeWorker("0", run="older")
    fake.processes += [older, other]
    assert [run.run for run in fake.run(5).runs] == ["r", "older"]
    for process in fake.processes[:4]:
        process.beats = False
    snapshot = fake.run(40)
    assert [run.run for run in snapshot.runs] == ["older", "r"]
    assert snapshot.run("r").run == "r"
    assert snapshot.run("none") is None


def test_workers_without_a_driver_are_shown_too():
    fake = FakeCluster(FakeWorker("0"), FakeWorker("1"))
    snapshot = fake.run(20)
    assert snapshot.run().steps_per_second == pytest.approx(2000)
    fake.processes[0].beats = fake.processes[0].gauges_shown = False
    assert states(fake.run(20))["0"] == "stalled"
    assert states(fake.run(60))["0"] == "dead"


def test_a_duplicate_series_counts_once():
    fake = cluster()
    page = fake.page

    def doubled():
        text = page()
        return text + text.replace(b"environment", b"environment")

    fake.page = doubled
    assert fake.run(20).run().steps_per_second == pytest.approx(3000)


def test_broken_pages_between_good_ones_change_nothing():
    fake = cluster()
    fake.run(20)
    not_a_number = line(catalog.ENV_STEPS.name, "NaN", run="r", worker="0").encode()
    endless = line(catalog.HEARTBEAT.name, "1e999", worker_id="r-0-1", run="r", worker="0").encode()
    unclosed = catalog.ENV_STEPS.name.encode() + b'{run="r" 5\n'
    rubbish = [b"", b"<html>busy</html>", b"\xff\xfe\x00", not_a_number, endless, unclosed, b"ray_raymon_" * 10_000]
    for body in rubbish:
        fake.now += 0.1
        fake.collector.digest([Page(URL, body)])
    snapshot = fake.run(15)
    assert snapshot.run().steps_per_second == pytest.approx(3000, rel=0.1)
    assert [run.run for run in snapshot.runs] == ["r"]


def test_terminal_escapes_and_long_labels_are_harmless():
    fake = FakeCluster()
    worker = FakeWorker("0", run="\x1b[2J" + "x" * 500)
    fake.processes.append(worker)
    run = fake.run(2).run()
    assert "\x1b" not in run.run
    assert len(run.run) <= 120


def test_history_is_there_bounded_and_not_changed_by_later_samples():
    fake = cluster()
    first = fake.run(10).histories["r"]
    kept = first.times.copy()
    fake.processes[2].activity = "waiting"
    history = fake.run(30).histories["r"]
    assert np.array_equal(first.times, kept)
    assert len(history.times) == 40
    assert history.values["steps_per_second"][-12] == pytest.approx(2000, rel=0.01)
    assert history.workers.strip.shape == (3, 40)
    assert history.workers.steps_per_second[0, -1] == pytest.approx(1000)


def test_a_full_history_is_thinned_and_keeps_its_span():
    ring = Ring()
    sample = {"0": WorkerSample(1.0, 2.0, 0.5, "environment")}
    for second in range(3 * MOST_SAMPLES):
        ring.add(float(second), {"steps_per_second": float(second)}, sample)
    frozen = ring.freeze()
    assert len(frozen.times) <= MOST_SAMPLES
    assert frozen.times[0] == 0.0
    assert frozen.times[-1] == 3 * MOST_SAMPLES - 1
    assert np.all(np.diff(frozen.times) > 0)
    assert np.array_equal(frozen.times, frozen.values["steps_per_second"])
    assert np.all(np.diff(frozen.times)[-300:] == 1.0), "the last minutes stay complete"


def test_copies_of_a_history_are_blocks_of_one_size_for_a_minute():
    ring = Ring()
    sizes = []
    for second in range(COPIED_SAMPLES + 1):
        ring.add(float(second), {"steps_per_second": 1.0, "trained_steps": 2.0}, {})
        frozen = ring.freeze()
        (block,) = {id(values.base): values.base for values in frozen.values.values()}.values()
        sizes.append(block.nbytes)
    assert len(set(sizes[:-1])) == 1
    assert sizes[-1] > sizes[0]
    ring.add(99.0, {"steps_per_second": 9.0}, {})
    assert 9.0 not in block, "no later sample changes it"


def test_memory_that_jumps_once_is_no_leak_memory_that_climbs_is():
    ring = Ring()
    for second in range(30):
        jump = WorkerSample(1.0, 300e6 if second < 25 else 500e6, 0.5, "environment")
        climb = WorkerSample(1.0, 300e6 + 5e6 * second, 0.5, "environment")
        ring.add(float(second), {}, {"jump": jump, "climb": climb})
    slopes = ring.memory_slopes(9.0)
    assert slopes["climb"] == pytest.approx(5e6, rel=0.01)
    assert slopes["jump"] < 1e5


def test_memory_growth_of_the_driver_differs_from_one_buffer():
    climbs, jumps = Ring(), Ring()
    for second in range(30):
        climbs.add(float(second), {"driver_rss_bytes": 300e6 + 5e6 * second}, {})
        jumps.add(float(second), {"driver_rss_bytes": 300e6 if second < 22 else 500e6}, {})
    assert driver_growth(climbs, 1.0) == pytest.approx(5e6, rel=0.01)
    assert driver_growth(jumps, 1.0) == 0.0
    assert driver_growth(Ring(), None) is None


def test_ages_leave_out_pauses_of_the_viewer_only():
    clock = Clock()
    for now in (100.0, 101.0, 161.0, 162.0):
        clock.tick(now)
    assert clock.age(100.5, "n", 162.0) == pytest.approx(1.5)
    assert clock.age(161.5, "n", 162.0) == pytest.approx(0.5)


@pytest.mark.parametrize("offset", [120.0, -120.0])
@pytest.mark.parametrize(("nodes", "viewer"), [(1, False), (2, True), (0, True)], ids=["a node", "all", "the viewer"])
def test_a_clock_that_is_set_and_set_right_again_stalls_nobody(offset, nodes, viewer):
    near, far = cluster(2), FakeCluster(FakeWorker("2", node="10.0.0.2"), FakeWorker("3", node="10.0.0.2"))
    far.address, far_url, moment = "10.0.0.2", "http://10.0.0.2:8080/metrics", NOW
    collector = Collector([URL], clock=lambda: moment)
    seen, offsets = set(), set()
    for second in range(120):
        wrong = offset if 40 <= second < 80 else 0.0
        moment = NOW + second + wrong * viewer
        for fake, away in ((near, wrong * (nodes > 1)), (far, wrong * (nodes > 0))):
            fake.now = NOW + second
            for process in fake.processes:
                process.second(NOW + second - 0.3 + away)
        snapshot = collector.digest([Page(URL, near.page()), Page(far_url, far.page())])
        if second > 20:
            seen |= set(states(snapshot).values())
            offsets |= {round(node.clock_offset_seconds) for node in snapshot.run().nodes}
        if second in (39, 79, 119):
            assert snapshot.run().steps_per_second == pytest.approx(4000, rel=0.02)
    assert seen == {"running"}
    assert offsets == ({0, round(offset) * (viewer - (nodes > 0))})


def test_nothing_is_said_of_the_clock_of_a_node_without_heartbeats():
    clock = Clock()
    clock.tick(NOW)
    clock.saw("10.0.0.1", 0.5, NOW)
    for moment in (NOW - 99.0, NOW - 98.0):
        clock.tick(clock.forward(moment))
    assert (clock.offset("10.0.0.1", 0.0), clock.offset("10.0.0.9", 0.0)) == (0.0, 0.0)
    clock.saw("10.0.0.1", 0.5, clock.forward(NOW - 98.0))
    assert clock.offset("10.0.0.1", 0.0) == pytest.approx(-100.0, abs=1.5)


def test_worker_that_begins_after_its_clock_was_set_is_not_stalled():
    fake = cluster(2)
    moment = NOW
    collector = Collector([URL], clock=lambda: moment)
    for second in range(24):
        fake.now, moment = NOW + second, NOW + second - 120.0 * (second >= 8)
        if second == 12:
            fake.processes.append(FakeWorker("2"))
        for process in fake.processes:
            process.second(moment - 0.3)
        snapshot = collector.digest([Page(URL, fake.page())])
        assert second < 18 or set(states(snapshot).values()) == {"running"}
    assert all(each.progress_age_seconds < 5.0 for each in snapshot.run().workers)


def test_a_heartbeat_that_arrives_late_is_no_clock_that_was_set():
    process = Process("id", "10.0.0.1", NOW)
    for beat, seen in ((0.0, 1.0), (1.0, 61.0), (62.0, 63.0)):  # the agent stood still for a minute
        process.flushed(NOW + beat, 0.0, NOW + seen)
        assert process.shift == 0.0
    process.flushed(NOW + 30.0, 0.0, NOW + 64.0)
    assert process.shift == pytest.approx(33.0)


def test_no_view_holds_a_number_that_is_not_finite():
    fake = cluster()
    fake.processes[0].set(catalog.LOSS, "NaN", "policy")
    fake.processes[0].set(catalog.KL, "+Inf")
    run = fake.run(5).run()
    assert "policy" not in run.learning
    numbers = [value for value in dataclasses.asdict(run).values() if isinstance(value, float)]
    assert all(math.isfinite(value) for value in numbers)


def test_workers_of_a_frozen_node_are_not_stalled():
    near, far = cluster(2), FakeCluster(FakeWorker("2", node="10.0.0.2"))
    far_url, snapshot = "http://10.0.0.2:8080/metrics", None
    seen = set()
    for second in range(50):
        for fake in (near, far):
            fake.now = NOW + second
            for process in fake.processes:
                process.second(fake.now - 0.3)
        near._page = near.page()
        if second < 20:
            far._page = far.page()
        snapshot = near.collector.digest([Page(URL, near._page), Page(far_url, far._page)])
        seen.add(states(snapshot).get("2"))
    assert states(snapshot) == {"0": "running", "1": "running", "2": "unknown"}
    assert "stalled" not in seen


def test_policy_lag_excludes_updates_between_two_reports():
    driver = Driver(version=1000.0, beat_age=0.2, rates=Rates({key_of(catalog.UPDATES): 20.0}))
    assert driver.policy_lag(985.0, 0.9) == 1.0
    assert driver.policy_lag(1010.0, 0.1) == 0.0
    assert driver.policy_lag(400.0, 30.0) == 600.0, "a worker that is silent falls behind"
    assert driver.policy_lag(None, 0.1) is None


def test_a_session_that_has_ended_is_not_added_to_the_next():
    fake = cluster()
    fake.spilled_bytes = 900e6
    assert "object_store" in {finding.code for finding in fake.run(20).verdicts["r"].findings}
    fake.move("10.0.0.2", 9999, FakeDriver(run="next", expected=1), FakeWorker("0", run="next"))
    fake.spilled_bytes = 0.0
    snapshot = fake.run(40)
    store = snapshot.run("next").store
    assert (store.used_bytes, store.available_bytes, store.spilled_bytes) == (50e6, 150e6, 0.0)
    assert list(snapshot.run("next").node_cpu_ratio) == ["10.0.0.2"]
    assert "object_store" not in {finding.code for finding in snapshot.verdicts["next"].findings}


def test_an_ended_cluster_keeps_its_nodes_last_state():
    fake = cluster()
    before = fake.run(20).run()
    fake.answers = False
    after = fake.run(660).run()
    assert after.store.used_bytes == 50e6
    assert after.node_cpu_ratio == before.node_cpu_ratio
    assert fake.look().targets[0].answered_seconds_ago == pytest.approx(660)


def test_a_node_without_targets_or_workers_is_forgotten():
    near, far = cluster(2), FakeCluster(FakeWorker("2", node="10.0.0.2"))
    far_url, refused_url, *gone = (f"http://10.0.0.{number}:8080/metrics" for number in range(2, 9))
    for second in range(700):
        for fake in (near, far):
            fake.now = NOW + second
            for process in fake.processes:
                process.second(fake.now - 0.3)
        pages = [
            Page(URL, near.page()),
            Page(refused_url, error="refused") if second else Page(refused_url, FakeCluster().page()),
        ]
        if second < 20:
            pages += [Page(far_url, far.page()), *(Page(url, FakeCluster().page()) for url in gone)]
        snapshot = near.collector.digest(pages)
    assert set(near.collector._memory.nodes) == {URL, far_url, refused_url}
    assert states(snapshot) == {"0": "running", "1": "running", "2": "unknown"}
    assert snapshot.targets[1].answered_seconds_ago == pytest.approx(699)


def test_collection_slows_down_without_viewers(monkeypatch):
    monkeypatch.setattr("raymon.live.collector.LEFT_SECONDS", 0.5)
    monkeypatch.setattr("raymon.live.collector.UNWATCHED_SECONDS", 30.0)
    with Stage(*processes("unwatched")) as stage:
        watching = Collector([stage.url], period_seconds=0.1)
        watching.start()
        try:
            poll(lambda: watching.snapshot().rounds > 5, 30, "it is looked at")
            poll(lambda: not watching._watched(), 10, "nobody looks any more")
            time.sleep(0.5)
            rounds_before = stage.asked
            time.sleep(1.0)
            assert stage.asked == rounds_before
            before = watching.snapshot().rounds
            poll(lambda: watching.snapshot().rounds > before + 3, 10, "somebody looks again")
        finally:
            watching.stop()


def test_process_that_ran_tasks_and_was_idle_has_ended_without_trouble():
    fake = cluster(2)
    for process in fake.processes[1:]:
        process.set(catalog.TASK_PROCESSES, 1.0)
    fake.run(20)
    ended, other = fake.processes[1:]
    ended.activity, ended.works = "waiting", False
    fake.run(3)
    ended.beats = False
    fake.run(2)
    ended.gauges_shown = False
    snapshot = fake.run(20)
    assert states(snapshot) == {"1": "running"}
    assert snapshot.verdicts["r"].severity in ("ok", "info")
    assert states(fake.look(fake.viewer())) == {"1": "running"}, "a viewer that comes later"
    other.activity, other.works = "waiting", False
    fake.run(3)
    other.beats = False
    snapshot = fake.run(20)
    assert states(snapshot) == {"1": "waiting"}, "the last one is kept"
    assert snapshot.verdicts["r"].severity in ("ok", "info")


def test_process_that_goes_silent_in_a_task_is_stalled():
    fake = cluster(2)
    fake.processes[1].set(catalog.TASK_PROCESSES, 1.0)
    fake.run(20)
    fake.processes[1].beats = False
    assert states(fake.run(20))["0"] == "stalled"

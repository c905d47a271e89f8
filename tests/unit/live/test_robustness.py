"""Numbers that are extreme or invented, runs under two names, a watcher that slept: nothing of it spreads."""

import math
import time
from dataclasses import fields, is_dataclass
from pkgutil import resolve_name

import pytest
from metrics_pages import NOW, URL, FakeCluster, FakeDriver, FakeReward, FakeWorker, line

from raymon import catalog, health
from raymon.live.collector import Collector
from raymon.live.memory import Memory
from raymon.live.node_views import node_views
from raymon.live.parse import Parser
from raymon.live.scrape import Page
from raymon.queries.ray_families import NODE_CPU, NODE_MEMORY_USED
from raymon.views import RunView

HEARTBEATS = ("5e-324", "1e308", "-1e308", "1e300", "1e-300", "0", "-1")


def healthy(workers=2, **more):
    return FakeCluster(FakeDriver(expected=workers, **more), *(FakeWorker(str(n), **more) for n in range(workers)))


def numbers(value):
    """Yield every number within a view."""
    if is_dataclass(value):
        for field in fields(value):
            yield from numbers(getattr(value, field.name))
    elif isinstance(value, dict):
        yield from (number for item in value.values() for number in numbers(item))
    elif isinstance(value, tuple):
        yield from (number for item in value for number in numbers(item))
    elif isinstance(value, float):
        yield value


@pytest.mark.parametrize("text", ["1e301", "-1e301", "1e308", "NaN", "+Inf"])
def test_values_that_rates_cannot_hold_are_refused(text):
    assert list(Parser().samples(line(catalog.KL.name, text, run="r").encode())) == []


def test_negative_counters_and_undeclared_label_values_are_refused():
    parser = Parser()
    page = line(catalog.ENV_STEPS.name, "-1", run="r", worker="0")
    page += line(catalog.RUN_STATE.name, "1", run="r", state="on fire")
    page += line(catalog.RUN_STATE.name, "1", run="r")
    assert list(parser.samples(page.encode())) == []
    tiny = list(parser.samples(line(catalog.KL.name, "5e-324", run="r").encode()))
    assert [value for _, value in tiny] == [0.0]


@pytest.mark.parametrize("text", HEARTBEATS)
def test_a_run_with_extreme_numbers_leaves_the_others_alone(text):
    cluster = healthy()
    odd = FakeDriver(run="odd"), FakeWorker("0", run="odd")
    for process in odd:
        process.second(NOW)
        process.beats = False
    page = cluster.page
    cluster.page = lambda: (
        page() + "".join(f"{row.rsplit(' ', 1)[0]} {text}\n" for process in odd for row in process.lines()).encode()
    )
    snapshot = cluster.run(15)
    assert snapshot.run("r").steps_per_second == pytest.approx(2000)
    assert snapshot.verdicts["r"].severity in ("ok", "info")
    assert {run.run for run in snapshot.runs} <= {"r", "odd"}
    assert all(math.isfinite(number) for run in snapshot.runs for number in numbers(run))
    assert not snapshot.problem


def judge_unless_odd(run, workers):
    return health.judge(run, workers) if run.run != "odd" else 1 / 0


def test_a_run_that_cannot_be_judged_is_one_bad_card(monkeypatch):
    cluster = FakeCluster(FakeDriver(), FakeWorker(), FakeDriver(run="odd"), FakeWorker(run="odd"))
    monkeypatch.setattr("raymon.live.debounce.judge", judge_unless_odd)
    snapshot = cluster.run(12)
    assert "cannot be judged (ZeroDivisionError)" in snapshot.verdicts["odd"].sentence
    assert snapshot.verdicts["odd"].severity == "unknown"
    assert snapshot.verdicts["r"].severity in ("ok", "info")


@pytest.mark.parametrize(
    "step",
    [
        "raymon.live.baseline.Baseline.compare",
        "raymon.live.collector.Collector._add_sample",
        "raymon.live.local_alerts.alarms",
    ],
)
def test_a_run_that_fails_at_any_step_fails_no_other(monkeypatch, step):
    cluster = FakeCluster(FakeDriver(), FakeWorker(), FakeDriver(run="odd"), FakeWorker(run="odd"))
    original = resolve_name(step)

    def unless_odd(*arguments):
        view = next(argument for argument in arguments if isinstance(argument, RunView))
        return original(*arguments) if view.run != "odd" else 1 / 0

    monkeypatch.setattr(step, unless_odd)
    snapshot = cluster.run(12)
    assert {run.run for run in snapshot.runs} == {"r", "odd"}
    assert snapshot.verdicts["r"].severity in ("ok", "info")
    assert snapshot.histories["r"].times.size > 5
    assert not snapshot.problem


def test_invented_labels_cost_neither_time_nor_memory():
    cluster, invented = healthy(), []
    page = cluster.page

    def hostile():
        base = len(invented) * 300
        invented.append(base)
        rows = [
            line(catalog.RUN_INFO.name, 1, run="r", engine=f"e{base + n}", algorithm="", sampler="", environment="")
            + line(catalog.ROLLOUT_FAILURES.name, n, worker_id="r-0-1", run="r", worker="0", exception=f"E{base + n}")
            + line(catalog.RUN_STATE.name, n, run="r", state=f"s{base + n}")
            for n in range(300)
        ]
        return page() + "".join(rows).encode()

    def cost():
        begun = time.process_time()
        cluster.run(3)
        return time.process_time() - begun

    cluster.page = hostile
    cluster.run(3)
    early = min(cost() for _ in range(3))  # a busy machine makes single measurements longer
    cluster.run(30)
    assert min(cost() for _ in range(3)) < 3 * early + 0.1
    snapshot = cluster.run(3)
    assert len(snapshot.run("r").workers[0].failures) <= 16
    processes = [p for s in cluster.collector._memory.subjects.values() for p in s.processes.values()]
    assert max(len(process.gauges) + len(process.counters) for process in processes) < 150


def test_a_failed_collection_is_a_problem_with_its_time(monkeypatch):
    cluster = healthy()
    cluster.run(12)
    collector = cluster.collector
    before = collector.snapshot()
    monkeypatch.setattr(collector, "collect", lambda: 1 / 0)
    monkeypatch.setattr(collector, "_period", 0.05)
    collector.start()
    try:
        deadline = time.monotonic() + 10.0
        while not collector.snapshot().problem and time.monotonic() < deadline:
            time.sleep(0.02)
        snapshot = collector.snapshot()
        assert "ZeroDivisionError" in snapshot.problem
        assert snapshot.problem_since == cluster.now
        assert snapshot.runs == before.runs
        time.sleep(0.2)
        assert snapshot.age_seconds() >= 0.2
        assert collector.snapshot().age_seconds() >= snapshot.age_seconds() - 0.1
        assert collector.snapshot().problem_since == cluster.now
    finally:
        collector.stop()


def test_a_collection_that_hangs_is_a_problem_while_it_hangs(monkeypatch):
    monkeypatch.setattr("raymon.live.collector.SLOW_SECONDS", 0.2)

    class Hanging:
        def find(self):
            time.sleep(1.5)
            raise OSError

    collector = Collector(Hanging())
    collector.start()
    try:
        time.sleep(0.6)
        assert "has been running for" in collector.snapshot().problem
    finally:
        collector.stop()


def test_a_run_under_a_fallback_name_gives_way_to_its_own_name():
    cluster = FakeCluster(FakeWorker("0", run="job-01"), FakeWorker("1", run="job-01"))
    assert [run.run for run in cluster.run(12).runs] == ["job-01"]
    seen = cluster.look().run().workers[0].seen_seconds
    for process in list(cluster.processes):
        renamed = FakeWorker(process.worker, run="mine")
        renamed.worker_id, renamed.numbers = process.worker_id, dict(process.numbers)
        process.beats = process.gauges_shown = False
        cluster.processes.append(renamed)
    rates = []
    snapshot = cluster.run(20, each=lambda s: rates.append(s.run("mine").steps_per_second or 0.0))
    assert [run.run for run in snapshot.runs] == ["mine"]
    assert max(rates) == pytest.approx(2000), "the totals that moved to the new name are no growth"
    assert snapshot.run().workers[0].seen_seconds > seen
    assert snapshot.run().workers_up == 2


def test_a_finished_run_keeps_its_name_when_workers_move_on():
    cluster = healthy()
    cluster.run(12)
    first = list(cluster.processes)
    for process in first:
        other = (
            type(process)(worker=process.worker, run="next") if process.worker != "driver" else FakeDriver(run="next")
        )
        other.worker_id = process.worker_id
        process.beats = process.gauges_shown = False
        cluster.processes.append(other)
    assert {run.run for run in cluster.run(15).runs} == {"r", "next"}


def test_workers_up_come_from_heartbeats_where_the_driver_never_counts():
    cluster = healthy()
    driver = cluster.processes[0]
    driver.each_second(lambda _: driver.set(catalog.WORKERS, 0.0, "up"))
    run = cluster.run(12).run()
    assert (run.workers_up, run.workers_by_state) == (2, {"expected": 2, "up": 2})
    cluster.processes.append(FakeReward("2"))
    assert cluster.run(5).run().workers_up == 2, "the driver expects those that sample"
    cluster.processes[2].beats = False
    assert cluster.run(15).run().workers_up == 1
    driver.set(catalog.FRAGMENTS, 5.0, "received")
    assert cluster.run(1).run().workers_up == 0, "a driver that counts is believed"


def test_failing_rollouts_are_in_the_view_by_exception():
    cluster = healthy()
    failing = cluster.processes[1]
    failing.each_second(lambda _: failing.add(catalog.ROLLOUT_FAILURES, 23.0, "TypeError"))
    worker, other = cluster.run(15).run().workers
    assert worker.failures == {"TypeError": pytest.approx(23.0)}
    assert (worker.failures_total, worker.rollouts_total) == (15 * 23.0, 150.0)
    assert (other.failures, other.failures_total) == ({}, 0.0)


def test_rollouts_without_a_step_are_a_verdict_unless_the_run_is_polled():
    cluster = healthy()
    poller, hiding = cluster.processes[1:]

    def second(now, worker, steps):
        FakeWorker.second(worker, now)
        worker.add(catalog.ENV_STEPS, steps - 1000.0)
        if not steps:
            worker.add(catalog.EMPTY_ROLLOUTS, 10.0)

    poller.second = lambda now: second(now, poller, 1000.0 if int(now) % 15 == 0 else 0.0)
    hiding.second = lambda now: second(now, hiding, 1000.0 if now < NOW + 60.0 else 0.0)
    assert cluster.run(60).run().workers[1].empty_seconds is None
    codes = []
    cluster.run(60, each=lambda snapshot: codes.append(snapshot.verdicts["r"].state))
    assert "rollouts_empty" not in codes[:18]
    assert set(codes[25:]) == {"rollouts_empty"}
    hidden = cluster.run(1).verdicts["r"]
    assert (hidden.severity, hidden.findings[0].worker) == ("warning", "1"), hidden.sentence
    assert [worker.state for worker in hidden.workers] == ["running", "failing"]


def test_a_node_that_stops_answering_is_known_with_its_workers():
    near, far = healthy(), FakeCluster(FakeWorker("2", node="10.0.0.2"))
    far.address, far_url = "10.0.0.2", "http://10.0.0.2:8080/metrics"
    for second in range(40):
        for cluster in (near, far):
            cluster.now = NOW + second
            for process in cluster.processes:
                process.second(cluster.now - 0.3)
        gone = second >= 20
        pages = [Page(URL, near.page()), Page(far_url, b"" if gone else far.page(), "no answer" if gone else "")]
        snapshot = near.collector.digest(pages if second < 35 else pages[:1])
        if second == 30:
            near.processes.append(FakeWorker("2", life=2))
        if second == 19:
            assert [node.silent_seconds for node in snapshot.run().nodes] == [0.0, 0.0]
        if second == 24:
            here, there = snapshot.run().nodes
            assert (here.address, here.silent_seconds, here.workers, here.driver) == ("10.0.0.1", 0.0, ("0", "1"), True)
            assert (there.address, there.error, there.listed) == ("10.0.0.2", "no answer", True)
            assert (there.silent_seconds, there.workers, there.driver) == (5.0, ("2",), False)
    here, there = snapshot.run().nodes
    assert (there.listed, there.silent_seconds) == (False, 20.0)
    assert (there.workers, there.lost_workers, here.lost_workers) == ((), ("2",), ())
    assert "2" in here.workers
    assert here.cpu_ratio is not None


@pytest.mark.parametrize("others_slept", [True, False])
def test_rates_after_a_sleep_hold_nothing_of_it(others_slept):
    cluster = healthy(phase="sample", share=0.9)
    before = cluster.run(20).run()
    if others_slept:
        cluster.now += 30.0
        cluster.processes[0].add(catalog.PHASE_SECONDS, 30.0, "learn")  # it was learning when the machine fell asleep
    else:
        for _ in range(30):
            cluster.now += 1.0
            for process in cluster.processes:
                process.second(cluster.now - 0.3)
    states, ratios, rates = set(), [], []

    def each(snapshot):
        run = snapshot.run()
        states.add(snapshot.verdicts["r"].severity)
        ratios.append(run.phase_ratio.get("sample", 0.9))
        rates.append(run.steps_per_second)

    cluster.run(30, each=each)
    assert states <= {"ok", "info"}
    assert min(ratios) > 0.85
    assert [rate for rate in rates if rate is not None] == pytest.approx([2000.0] * sum(r is not None for r in rates))
    assert rates[-1] == pytest.approx(before.steps_per_second)


def test_numbers_of_a_node_stay_while_its_pages_leave_them_out():
    memory = Memory()

    def look(second, *names):
        page = "".join(line(name, "40", ip="10.0.0.1") for name in names).encode()
        memory.absorb({URL: list(Parser().samples(page))}, NOW + second)
        memory.asked({URL: ""})
        return node_views(memory, NOW + second)[URL].cpu_ratio

    assert look(0.0, NODE_CPU, NODE_MEMORY_USED) == 0.4
    assert [look(second, NODE_MEMORY_USED) for second in (1.0, 6.0, 14.0)] == [0.4, 0.4, 0.4]
    assert look(20.0, NODE_MEMORY_USED) is None


@pytest.mark.parametrize("order", [(5.0, 9.0), (9.0, 5.0)])
def test_a_node_under_two_addresses_counts_once_with_the_larger_number(order):
    memory, parser = Memory(), Parser()

    def page(steps):
        return parser.samples(line(catalog.ENV_STEPS.name, steps, run="r", worker="0").encode())

    memory.absorb({"http://a/metrics": page(1.0), "http://b/metrics": page(1.0)}, NOW)
    memory.absorb({"http://a/metrics": page(order[0]), "http://b/metrics": page(order[1]) + page(2.0)}, NOW + 1.0)
    subject = memory.subjects["r", "0"]
    assert list(subject.totals) == [8.0]
    assert subject.newest().counter(catalog.ENV_STEPS) == 9.0

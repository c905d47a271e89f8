"""A thousand workers on sixteen nodes: time, memory, and many viewers for the price of one."""

import threading
import time

import numpy as np
import pytest
from metrics_pages import FakeCluster, FakeDriver, FakeWorker
from support import poll
from synthetic import fleet, serve

from raymon.live import collector as collecting
from raymon.live import memory
from raymon.live.collector import Collector
from raymon.live.history import MOST_CELLS, Ring, WorkerSample
from raymon.live.scrape import Page
from raymon.live.targets import Endpoints

WORKERS, NODES = 1000, 16


@pytest.fixture(scope="module")
def addresses():
    faults = {7: "stopped", 500: "slow", 600: "stalled", 999: "dead"}
    with serve(fleet(workers=WORKERS, nodes=NODES, runs=2, faults=faults)) as fake:
        yield fake


def test_a_thousand_workers_take_less_than_two_seconds(addresses):
    collector = Collector(addresses)
    spent = []
    for _ in range(4):
        begun = time.process_time()  # what others do on the machine does not count
        snapshot = collector.collect()
        spent.append(time.process_time() - begun)
        time.sleep(1.0)
    assert min(spent) < 2.0, spent
    assert [len(run.workers) for run in snapshot.runs] == [500, 500]
    states = {
        (run.run, worker.worker): worker.state for run in snapshot.runs for worker in snapshot.verdicts[run.run].workers
    }
    silent = [state for state in states.values() if state in ("stalled", "unknown", "dead")]
    assert len(silent) == 3, "stopped, stalled, and one whose gauges are gone"
    assert silent.count("stalled") >= 2, "what the one without gauges is depends on how long the collections took"
    assert len(snapshot.alerts) < 20


def test_many_viewers_cost_one_collection():
    fake = FakeCluster(FakeDriver(), FakeWorker("0"))
    fake.run(2)
    calls = []

    class Counting:
        def find(self):
            calls.append(1)
            return Endpoints((), "nowhere", "none")

    collector = Collector(Counting(), period_seconds=0.2)
    others = set(threading.enumerate())
    collector.start()
    collector.start()
    poll(lambda: collector.snapshot().rounds >= 3, 20, "three rounds")
    before, rounds = len(calls), collector.snapshot().rounds

    def look():
        for _ in range(2000):
            assert collector.snapshot() is not None

    viewers = [threading.Thread(target=look) for _ in range(8)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()
    assert len(calls) - before <= collector.snapshot().rounds - rounds + 1
    collector.stop()
    assert not [thread for thread in set(threading.enumerate()) - others if thread.name == "raymon-collector"]


def test_the_history_of_thousands_of_workers_keeps_its_size():
    ring = Ring()
    samples = {str(worker): WorkerSample(1.0, 2.0, 0.5, "environment") for worker in range(8000)}
    for second in range(140):
        ring.add(float(second), {"steps_per_second": 1.0}, samples)
    frozen = ring.freeze()
    assert frozen.workers.strip.size <= MOST_CELLS
    assert frozen.times[0] == 0.0
    assert np.all(np.diff(frozen.times) > 0)


def test_processes_that_come_and_go_leave_nothing_behind():
    now = [1.8e9]
    collector = Collector(["a:1"], clock=lambda: now[0])
    collector._parser.most_series = 1200
    for life in range(300):
        now[0] += 1.0
        fake = FakeWorker("0", life=life)
        fake.second(now[0] - 0.2)
        collector.digest([Page("http://a:1/metrics", "".join(fake.lines()).encode())])
    snapshot = collector.snapshot()
    assert snapshot.runs[0].workers[0].log_id == "r-0-299", "the newest is read although the limit was met many times"
    assert len(collector._parser._known) <= 1200
    assert len(collector._memory.subjects["r", "0"].processes) < 150


@pytest.fixture
def hurried(monkeypatch):
    """Runs are over after 100 s; after 10 s where more than five, or their workers, take the room."""
    monkeypatch.setattr(memory, "OVER_SECONDS", 100.0)
    monkeypatch.setattr(memory, "CROWDED_OUT_SECONDS", 10.0)
    monkeypatch.setattr(memory, "GONE_ROUNDS", 10)
    monkeypatch.setattr(collecting, "FORGET_ROUNDS", 10)
    monkeypatch.setattr(collecting, "MOST_RUNS", 5)


def processes_of(run, workers):
    return [FakeDriver(run=run, expected=workers), *(FakeWorker(str(number), run=run) for number in range(workers))]


def end(fake):
    """Let the last run finish; as with Ray, the counters of its processes stay on the page and the gauges do not."""
    for process in fake.processes:
        process.state = "finished"
    snapshot = fake.run(2)
    for process in fake.processes:
        process.beats = process.gauges_shown = False
    return snapshot


def kept_for_runs(collector):
    """Return the largest number of runs that anything but the memory of what is on the pages is kept for."""
    charted = [key for key, subject in collector._memory.subjects.items() if subject.points]
    keys = [key[0] for key in (*collector._debounce._since, *collector._phases._owed, *charted)]
    return max(len(collector._rings), len(collector._debounce._runs), len(set(keys)), len(collector._memory.heard))


@pytest.mark.parametrize("sessions", [1, 30])
def test_short_runs_one_after_the_other_leave_little_behind(hurried, sessions):
    fake = FakeCluster()
    collector, largest = fake.collector, {"runs": 0, "subjects": 0, "slots": 0, "series": 0}
    for number in range(30):
        started = processes_of(f"run{number}", 2)
        fake.move("10.0.0.1", 9000 + number % sessions, *(fake.processes if sessions == 1 else ()), *started)
        fake.run(5)
        snapshot = end(fake)
        assert [worker.worker for worker in snapshot.run(f"run{number}").workers] == ["0", "1"]
        sizes = (
            kept_for_runs(collector),
            len(collector._memory.subjects),
            len(collector._memory._slots),
            len(collector._parser._known),
        )
        largest = {name: max(size, most) for (name, most), size in zip(largest.items(), sizes, strict=True)}
    assert largest["runs"] <= 12
    if sessions > 1:
        assert largest["subjects"] <= 3 * 12
        assert largest["slots"] <= 3 * 12 * 30
        assert largest["series"] <= 3 * 12 * 30
    snapshot = fake.run(300)
    assert snapshot.runs[0].run == "run29", "the last state stays for as long as nothing newer comes"
    assert snapshot.verdicts["run29"].state == "finished"
    assert snapshot.runs[0].updates == 14
    assert len(snapshot.histories["run29"].times) > 0


def test_a_run_resumes_its_history_when_it_beats_again(hurried):
    fake = FakeCluster(*processes_of("quiet", 1), *processes_of("live", 1))
    fake.run(20)
    for process in fake.processes[:2]:
        process.beats = process.gauges_shown = False
    assert fake.run(90).run("quiet").updates == 40
    snapshot = fake.run(40)
    assert [run.run for run in snapshot.runs] == ["live"]
    assert snapshot.run("live").steps_per_second == pytest.approx(1000)
    for process in fake.processes[:2]:
        process.beats = process.gauges_shown = True
    rates = []
    snapshot = fake.run(15, each=lambda s: rates.append(s.run("quiet").steps_per_second or 0.0))
    assert snapshot.run("quiet").updates == 70
    assert max(rates) == pytest.approx(1000)
    assert rates[-1] == pytest.approx(1000)


def test_all_that_ended_together_stays_when_nothing_goes_on(hurried):
    fake = FakeCluster(*processes_of("one", 1), *processes_of("two", 1))
    fake.run(20)
    end(fake)
    assert {run.run for run in fake.run(300).runs} == {"one", "two"}


def test_an_outage_brings_back_no_run_that_is_over(hurried):
    fake = FakeCluster(*processes_of("quiet", 1))
    fake.run(5)
    end(fake)
    fake.processes += processes_of("live", 1)
    fake.run(130)
    fake.answers = False
    fake.run(95)
    fake.answers = True
    assert [run.run for run in fake.run(15).runs] == ["live"]


def test_new_runs_appear_however_many_workers_there_were(hurried, monkeypatch):
    monkeypatch.setattr(memory, "MOST_SUBJECTS", 100)
    fake = FakeCluster()
    for number in range(30):
        fake.move("10.0.0.1", 9000 + number, *processes_of(f"run{number}", 8))
        run = fake.run(10).run(f"run{number}")
        assert run is not None, number
        assert [worker.worker for worker in run.workers] == [str(worker) for worker in range(8)]
    assert len(fake.collector._memory.subjects) <= 100

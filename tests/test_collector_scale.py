"""A thousand workers on sixteen nodes: time, memory, and many viewers for the price of one."""

import threading
import time

import numpy as np
import pytest
from metrics_pages import FakeCluster, FakeDriver, FakeWorker
from support import poll

from benchmarks.synthetic import fleet, serve
from raymon.status.collector import Collector
from raymon.status.history import MOST_CELLS, Ring, WorkerSample
from raymon.status.scrape import Page
from raymon.status.targets import Found

WORKERS, NODES = 1000, 16


@pytest.fixture(scope="module")
def addresses():
    faults = {7: "stopped", 500: "slow", 600: "stalled", 999: "dead"}
    with serve(fleet(workers=WORKERS, nodes=NODES, runs=2, faults=faults)) as made:
        yield made


def test_a_round_over_a_thousand_workers_takes_less_than_two_seconds_and_names_the_faulty(addresses):
    collector = Collector(addresses)
    spent = []
    for _ in range(4):
        begun = time.process_time()  # what others do on the machine does not count
        snapshot = collector.collect()
        spent.append(time.process_time() - begun)
        time.sleep(1.0)
    assert min(spent) < 2.0, spent
    assert [len(run.workers) for run in snapshot.runs] == [500, 500]
    found = {
        (run.run, worker.worker): worker.state for run in snapshot.runs for worker in snapshot.verdicts[run.run].workers
    }
    stalled = [name for name, state in found.items() if state == "stalled"]
    assert len(stalled) == 3, "stopped, stalled, and the one whose gauges are gone though the driver counts on it"
    assert len(snapshot.alerts) < 20


def test_many_viewers_cost_one_collection():
    made = FakeCluster(FakeDriver(), FakeWorker("0"))
    made.run(2)
    asked = []

    class Counting:
        def find(self):
            asked.append(1)
            return Found((), "nowhere", "none")

    collector = Collector(Counting(), period_seconds=0.2)
    others = set(threading.enumerate())
    collector.start()
    collector.start()
    poll(lambda: collector.snapshot().rounds >= 3, 20, "three rounds")
    before, rounds = len(asked), collector.snapshot().rounds

    def look():
        for _ in range(2000):
            assert collector.snapshot() is not None

    viewers = [threading.Thread(target=look) for _ in range(8)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()
    assert len(asked) - before <= collector.snapshot().rounds - rounds + 1
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
        made = FakeWorker("0", life=life)
        made.second(now[0] - 0.2)
        collector.digest([Page("http://a:1/metrics", "".join(made.lines()).encode())])
    snapshot = collector.snapshot()
    assert snapshot.runs[0].workers[0].log_id == "r-0-299", "the newest is read although the limit was met many times"
    assert len(collector._parser._known) <= 1200
    assert len(collector._memory.subjects["r", "0"].processes) < 150

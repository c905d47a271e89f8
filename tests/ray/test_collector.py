"""Faults on real Ray actors, seen through a real node's metrics: who is stalled, who only waits, who was replaced."""

import contextlib
import os
import re
import signal
import threading
import time

import pytest
import ray
from support import metrics_url, poll, ray_session

import raymon
from raymon.live.collector import Collector
from raymon.live.targets import NamedTargets

RUN = "live"
WITHIN = 30.0
"""15 s are promised; more is given to a machine that runs other tests at the same time."""


@ray.remote(num_cpus=0.1, max_concurrency=4)
class Sampler:
    """Rollouts of twenty steps of 5 ms each, until it has to hang in the environment or to wait."""

    def __init__(self, worker):
        self.monitor = raymon.Monitor(worker=worker, run=RUN)
        self.hang, self.idle = threading.Event(), threading.Event()

    def pid(self):
        return os.getpid()

    def set(self, name, on):
        getattr(self, name).set() if on else getattr(self, name).clear()

    def work(self):
        while True:
            while self.idle.is_set():
                time.sleep(0.05)
            with self.monitor.rollout(), self.monitor.phase("environment"):
                for _ in range(20):
                    time.sleep(0.005)
                    while self.hang.is_set():
                        time.sleep(0.05)
                    self.monitor.steps(1)


@pytest.fixture(scope="module")
def fleet():
    with ray_session(num_cpus=2):
        driver = raymon.DriverMonitor(RUN, workers=4, sampler="async")
        driver.state("training")
        samplers = {}

        def start(worker):
            samplers[worker] = Sampler.remote(worker)
            samplers[worker].work.remote()
            driver.worker_up(worker)

        for worker in range(4):
            start(worker)
        stop = threading.Event()

        def drive():
            while not stop.is_set():
                with driver.iteration(), driver.phase("sample"):
                    stop.wait(0.2)

        thread = threading.Thread(target=drive)
        thread.start()
        collector = Collector(NamedTargets.of([metrics_url()]))
        collector.start()
        try:
            yield driver, samplers, start, collector
        finally:
            collector.stop()
            stop.set()
            thread.join()
            driver.close()


def states(collector):
    snapshot = collector.snapshot()
    return {worker.worker: worker for worker in snapshot.verdicts[RUN].workers} if RUN in snapshot.verdicts else {}


def state(collector, worker):
    by_worker = states(collector)
    return by_worker[str(worker)].state if str(worker) in by_worker else "absent"


def expect(collector, **wanted):
    """Return a condition for `poll` that reports what was seen instead."""

    def holds():
        by_worker = states(collector)
        seen = {name: by_worker[name[1:]] for name in wanted if name[1:] in by_worker}
        assert {name: verdict.state for name, verdict in seen.items()} == wanted, seen
        return True

    return holds


def view(collector, worker):
    return next(by_worker for by_worker in collector.snapshot().run(RUN).workers if by_worker.worker == str(worker))


def test_stopped_hanging_and_idle_workers_are_distinguished(fleet):
    _, samplers, _, collector = fleet
    poll(expect(collector, w0="running", w1="running", w2="running", w3="running"), 60, "four running workers")
    poll(lambda: (view(collector, 0).steps_per_second or 0) > 50, 30, "steps per second")
    pid = ray.get(samplers[1].pid.remote())
    assert view(collector, 1).pid == pid
    ray.get([samplers[2].set.remote("hang", True), samplers[3].set.remote("idle", True)])
    os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        poll(expect(collector, w1="stalled", w2="stalled"), WITHIN, "both stalled")
        assert time.monotonic() - begun > 5
        assert re.search("no heartbeat|its process is stopped", states(collector)["1"].reason)
        poll(lambda: "it hangs in `Sampler.work → sleep" in states(collector)["2"].reason, 20, "the line of worker 2")
        assert state(collector, 0) == "running"
        assert state(collector, 3) == "waiting"
        assert collector.snapshot().verdicts[RUN].state == "worker_stalled"
        poll(lambda: not view(collector, 1).present, 60, "Ray drops the gauges of a stopped process")
        assert state(collector, 1) == "stalled"
        late = Collector(NamedTargets.of([metrics_url()]))
        late.start()
        with contextlib.closing(_Stopping(late)):
            poll(
                lambda: [state(late, w) for w in (1, 2, 3)] == ["stalled", "stalled", "waiting"], WITHIN, "opened late"
            )
    finally:
        os.kill(pid, signal.SIGCONT)
        ray.get([samplers[2].set.remote("hang", False), samplers[3].set.remote("idle", False)])
    poll(expect(collector, w0="running", w1="running", w2="running", w3="running"), 30, "all running again")


def test_a_killed_worker_restarts_and_counts_never_fall(fleet):
    driver, samplers, start, collector = fleet
    poll(lambda: state(collector, 0) == "running", 60, "a running worker")
    rates = []
    os.kill(ray.get(samplers[0].pid.remote()), signal.SIGKILL)
    driver.worker_lost(0, "killed")
    poll(lambda: state(collector, 0) == "restarting", 10, "restarting")
    assert collector.snapshot().verdicts[RUN].state == "workers_lost"
    old = view(collector, 0).log_id
    start(0)
    driver.worker_restarted(0, "killed")

    def back():
        rates.append(view(collector, 0).steps_per_second or 0.0)
        return state(collector, 0) == "running" and view(collector, 0).log_id != old and rates[-1] > 50

    poll(back, 30, "running again", every=0.5)
    assert min(rates) >= 0.0
    assert max(rates) < 400, "a successor's counts are its own, the predecessor's stay"
    poll(lambda: view(collector, 0).restarts == {"killed": 1}, 10, "the restart with its reason")


class _Stopping:
    def __init__(self, collector):
        self.close = collector.stop

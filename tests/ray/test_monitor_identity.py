"""A run gets its one name however late and wherever its driver's monitor is created."""

import pytest
import ray
from exported import series, total
from support import poll, ray_session, settle

import raymon
from raymon import catalog

RUN = "late"


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with ray_session(num_cpus=2):
        yield


@ray.remote(num_cpus=0)
class Worker:
    def __init__(self):
        self.monitor = raymon.Monitor()

    def sample(self, steps):
        with self.monitor.rollout():
            self.monitor.steps(steps)

    def name(self):
        return self.monitor.run, self.monitor.worker


@ray.remote(num_cpus=0)
class Trainer:
    def __init__(self, environment):
        self.driver = raymon.DriverMonitor(RUN, environment=environment)
        self.driver.state("training")


def test_late_driver_in_another_actor_names_the_run_and_counts_carry_over():
    workers = [Worker.remote() for _ in range(2)]
    ray.get([worker.sample.remote(100) for worker in workers])
    fallback = poll(lambda: {run for run, _ in ray.get([w.name.remote() for w in workers])} - {None}, 20)
    assert fallback == {f"job-{ray.get_runtime_context().get_job_id()}"}
    old = fallback.pop()
    settle_total(old, 200)

    trainer = Trainer.remote("first")
    ray.get(trainer.__ray_ready__.remote())
    names = poll(lambda: renamed(workers), 6, "workers adopt the run's name")
    assert sorted(names) == [(RUN, "0"), (RUN, "1")]
    ray.get(workers[0].sample.remote(11))
    settle_total(RUN, 211)
    settle_total(old, 200)

    # The gauges of the old name and those of the older driver end after the same while, so both are awaited at once.
    newer = raymon.DriverMonitor(RUN, environment="second")
    poll(lambda: series(catalog.RUN_INFO, run=RUN, environment="second") == [1.0], 20)
    poll(lambda: not series(catalog.HEARTBEAT, run=old), 60, "gauges of the old name vanish")
    poll(lambda: not series(catalog.RUN_INFO, run=RUN, environment="first"), 60, "the older driver's gauges vanish")
    poll(lambda: len(series(catalog.HEARTBEAT, run=RUN)) == 3, 20, "two workers and the newer driver are left")
    newer.close()
    poll(lambda: series(catalog.RUN_INFO, run=RUN, environment="first") == [1.0], 20, "the older driver takes over")


def renamed(workers):
    names = ray.get([worker.name.remote() for worker in workers])
    return names if {run for run, _ in names} == {RUN} else None


def settle_total(run, steps):
    def arrived():
        assert total(catalog.ENV_STEPS, run=run) == steps

    settle(arrived)

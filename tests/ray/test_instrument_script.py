"""Examples as scripts: driver and workers record one run, in whatever order they start."""

import re
import sys

import pytest
import ray
from exported import LABEL, series
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from support import ROOT, Command, get, metrics_url, poll, ray_session

import raymon
from raymon import catalog
from raymon.monitor import monitor_of

FAMILY = re.compile(rf"{catalog.PREFIX}\w+\{{([^}}]*)\}}")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with ray_session(num_cpus=4):
        yield


def labels():
    """Return the labels of every series of raymon's in the scrape."""
    return [dict(LABEL.findall(line)) for line in FAMILY.findall(get(metrics_url()))]


@pytest.mark.parametrize(
    ("name", "options"),
    [("sampler", "--actors 2 --updates 100000"), ("averaging", "--workers 2 --rounds 100000")],
)
def test_the_driver_names_the_run_of_every_worker(name, options):
    script = str(ROOT / "examples" / f"{name}.py")
    with Command(
        *options.split(),
        cwd=ROOT,
        program=(sys.executable, script),
        RAY_ADDRESS=ray.get_runtime_context().gcs_address,
        PYTHONPATH=str(ROOT),
    ) as command:
        poll(lambda: len(series(catalog.ENV_STEPS)) >= 2 and series(catalog.UPDATES, run=name), 60, command.text)
        poll(
            lambda: (
                {each["worker"] for each in labels() if each.get("run") == name and "worker" in each}
                >= {"0", "1", catalog.DRIVER}
            ),
            30,
            "workers 0 and 1 and the driver",
        )
        strangers = {each["run"] for each in labels()} - {"sampler", "averaging"}
        assert not strangers


@ray.remote(num_cpus=0)
@raymon.instrument(rollout="sample")
class Worker:
    def sample(self):
        return []

    def who(self):
        return monitor_of(self).run, monitor_of(self).worker

    def flush(self):
        monitor_of(self).flush()


def test_a_worker_that_is_up_first_waits_for_the_run_s_name():
    alone, early = Worker.remote(), Worker.remote()
    ray.get(alone.flush.remote())
    job = ray.get_runtime_context().get_job_id()
    assert ray.get(alone.who.remote()) == (f"job-{job}", "0"), "asked to hand over, it waits no longer"
    driver = raymon.DriverMonitor("late")
    poll(lambda: ray.get(early.who.remote()) == ("late", "0"), 30, "the run's name")
    driver.close()


@ray.remote(num_cpus=0)
class Trial:
    """What a trial of Tune is to us: a driver in a placement group that it passes on."""

    def __init__(self, run):
        self.worker = Worker.options(max_restarts=1, max_task_retries=1).remote()
        self.driver = raymon.DriverMonitor(run)

    def who(self):
        return ray.get(self.worker.who.remote())

    def restart(self):
        ray.kill(self.worker, no_restart=False)


def test_runs_in_separate_placement_groups_do_not_mix():
    before = raymon.DriverMonitor("outside")
    groups = [placement_group([{"CPU": 0.1}]) for _ in range(2)]
    placed = [PlacementGroupSchedulingStrategy(each, placement_group_capture_child_tasks=True) for each in groups]
    trials = [Trial.options(scheduling_strategy=each).remote(f"trial-{n}") for n, each in enumerate(placed)]

    def named():
        return ray.get([trial.who.remote() for trial in trials]) == [("trial-0", "0"), ("trial-1", "0")]

    poll(named, 30, "workers of either run")
    ray.get([trial.restart.remote() for trial in trials])
    poll(named, 30, "their run and number after a restart")
    before.close()


def test_a_restarted_actor_keeps_its_run(caplog):
    first = raymon.DriverMonitor("first")
    worker = Worker.options(max_restarts=1, max_task_retries=1).remote()
    poll(lambda: ray.get(worker.who.remote()) == ("first", "0"), 30, "the first run's worker")
    caplog.clear()
    second, again = raymon.DriverMonitor("second"), raymon.DriverMonitor("second")
    said = [record.getMessage() for record in caplog.records if record.name == "raymon"]
    assert len(said) == 1
    assert "had the run 'first', now it has 'second'" in said[0]
    ray.kill(worker, no_restart=False)
    poll(lambda: ray.get(worker.who.remote()) == ("first", "0"), 30, "the same run after a restart")
    for driver in (first, second, again):
        driver.close()

"""Examples as scripts of their own: what the driver and its workers record is one run, whoever is up first."""

import re
import sys

import pytest
import ray
from support import ROOT, Command, get, metrics_url, poll, ray_session
from test_monitor_ray import LABEL, series

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
    return [dict(LABEL.findall(found)) for found in FAMILY.findall(get(metrics_url()))]


@pytest.mark.parametrize(
    ("name", "options"),
    [("sampler", "--actors 2 --updates 100000"), ("averaging", "--workers 2 --rounds 100000")],
)
def test_the_driver_names_the_run_of_every_worker(name, options):
    script = str(ROOT / "examples" / f"{name}.py")
    with Command(
        *options.split(), cwd=ROOT, program=(sys.executable, script),
        RAY_ADDRESS=ray.get_runtime_context().gcs_address, PYTHONPATH=str(ROOT),
    ) as command:  # fmt: skip
        poll(lambda: len(series(catalog.ENV_STEPS)) >= 2 and series(catalog.UPDATES, run=name), 60, command.text)
        poll(lambda: {each["worker"] for each in labels() if each.get("run") == name and "worker" in each}
             >= {"0", "1", catalog.DRIVER}, 30, "workers 0 and 1 and the driver")  # fmt: skip
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

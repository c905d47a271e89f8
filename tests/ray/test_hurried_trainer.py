"""A trainer in a hurry: workers train themselves, results are never fetched, the driver's monitor is created late."""

import json
import re
import sys

import pytest
from support import Command, poll, short_folder

TRAINER = """
import sys, time
import ray, raymon

@raymon.instrument(rollout="rollout")
class Learner:
    def rollout(self):
        time.sleep(0.02)
        return [0.0] + ["not a number"] + 1  # what a new version of numpy did to a real trainer

    def train_forever(self):
        while True:
            try:
                self.rollout()
            except Exception:
                pass

ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1],
         _system_config={"metrics_report_interval_ms": 1000})
node = ray.nodes()[0]
print(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics", flush=True)
learners = [ray.remote(Learner).remote() for _ in range(2)]
pending = [learner.train_forever.remote() for learner in learners]
time.sleep(6)
monitor = raymon.DriverMonitor(run="hurried")
print("driver created", flush=True)
while True:
    with monitor.iteration():
        ray.wait(pending, timeout=0.5)
"""


@pytest.fixture(scope="module")
def report():
    """What `raymon top --once --json` says ten seconds after the driver's monitor was created."""
    with short_folder() as folder:
        (folder / "trainer.py").write_text(TRAINER)
        program = (sys.executable, str(folder / "trainer.py"), str(folder / "ray"))
        with Command(cwd=folder, program=program) as trainer:
            poll(lambda: "driver created" in trainer.text(), 60, "the driver's monitor")
            (url,) = re.findall(r"http://\S+/metrics", trainer.text())
            options = ("--once", "--json", "--seconds", "10", "--metrics-url", url)
            with Command("top", *options, cwd=folder) as top:
                assert top.wait(60) == 1, top.text()
                yield json.loads(top.text())


def test_failing_rollouts_are_the_first_verdict(report):
    verdict = report["verdict"]
    assert (verdict["state"], verdict["severity"]) == ("rollouts_failing", "critical"), verdict
    assert "TypeError" in verdict["sentence"]
    assert re.search(r"workers? 0 and 1", verdict["sentence"]), verdict["sentence"]


def test_no_worker_is_called_running(report):
    assert [worker["state"] for worker in report["workers"]] == ["failing", "failing"]
    assert all(worker["pid"] for worker in report["workers"])


def test_the_run_has_the_name_of_the_late_driver(report):
    assert report["run"] == "hurried"

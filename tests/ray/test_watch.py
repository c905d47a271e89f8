"""`raymon watch` on a foreign trainer whose worker hangs in a socket: stacks, webhook, exit code."""

import json
import re
import sys

import pytest
from http_replies import ReplyHandler, ReplyServer
from support import Command, poll, short_folder

TRAINER = """
import socket, sys, time
import ray, raymon

@raymon.instrument(rollout="sample", steps=len, worker="number")
class Sampler:
    def __init__(self, number):
        self.number, self.calls = number, 0
        self.left, self.right = socket.socketpair()

    def ask_simulator(self):
        return self.left.recv(1)

    def sample(self):
        self.calls += 1
        if self.number == 1 and self.calls > 40:
            self.ask_simulator()
        time.sleep(0.05)
        return [0] * 10

ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1],
         _system_config={"metrics_report_interval_ms": 1000})
node = ray.nodes()[0]
print(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics", flush=True)
samplers = [ray.remote(Sampler).remote(number) for number in range(3)]
driver = raymon.DriverMonitor(run="hung", workers=3)
pending = {sampler.sample.remote(): sampler for sampler in samplers}
while True:
    with driver.iteration(), driver.phase("sample"):
        done, _ = ray.wait(list(pending))
        sampler = pending.pop(done[0])
        pending[sampler.sample.remote()] = sampler
"""


@pytest.fixture(scope="module")
def received():
    """A webhook receiver; yields its address and what it received."""
    events = []

    class Receiver(ReplyHandler):
        def do_POST(self):
            events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.reply(status=202)

    with ReplyServer(Receiver) as server:
        yield f"{server.url}/hook", events


@pytest.fixture(scope="module")
def hung(received):
    """A run whose worker 1 hangs, watched from its start; yields the folder, the watch and the trainer."""
    hook, _ = received
    with short_folder() as folder:
        (folder / "trainer.py").write_text(TRAINER)
        program = (sys.executable, str(folder / "trainer.py"), str(folder / "ray"))
        with Command(cwd=folder, program=program) as trainer:
            url = poll(lambda: re.findall(r"http://\S+/metrics", trainer.text()), 60, "metrics endpoint")[0]
            options = ("--metrics-url", url, "--root", str(folder / "runs"), "--until-end", "--webhook", "env:HOOK")
            with Command("watch", *options, cwd=folder, HOOK=hook) as watch:
                yield folder, watch, trainer


def test_incident_names_the_frame_in_which_the_worker_hangs(hung, received):
    folder, *_ = hung
    path = poll(lambda: next((folder / "runs/hung/incidents").glob("*/incident.json"), None), 60, "incident")
    data = json.loads(path.read_text())
    assert (data["code"], data["worker"] or "1") == ("worker_stalled", "1")
    odd = [group for group in data["stacks"]["groups"] if "worker 1" in group["processes"]]
    assert odd[0]["processes"] == ["worker 1"], data["stacks"]
    assert odd[0]["frames"][0].startswith("Sampler.ask_simulator (")
    assert "orker 1 is in Sampler.ask_simulator" in data["stacks"]["sentence"]
    assert data["collected_in_seconds"] < 6
    assert data["versions"]["ray"]
    assert data["series"]["values"]["steps_per_second"]
    assert {actor["state"] for actor in data["cluster"]["actors"]} == {"ALIVE"}
    _, events = received
    event = poll(lambda: [event for event in events if event["code"] == "worker_stalled"], 20, "webhook")[0]
    assert event["folder"] == str(path.parent)
    assert "Worker 1" in event["text"]


def test_incidents_are_listed_and_printed(hung):
    folder, *_ = hung
    with Command("incidents", cwd=folder) as listing:
        assert listing.wait(60) == 0, listing.text()
        assert "hung Worker stalled" in listing.text()
        path = listing.text().splitlines()[-1].strip()
    with Command("incidents", path, cwd=folder) as one:
        assert one.wait(60) == 0
        assert "ask_simulator" in one.text()
    with Command("incidents", "--root", str(folder / "none"), cwd=folder) as nothing:
        assert nothing.wait(60) == 1
    with Command("incidents", str(folder), cwd=folder) as wrong:
        assert wrong.wait(60) == 2
        assert "cannot be read" in wrong.text()


def test_watch_ends_with_1_when_the_driver_is_killed(hung):
    _, watch, trainer = hung
    trainer.process.kill()
    assert watch.wait(120) == 1, watch.text()
    assert "hook" not in watch.text()
    assert any("[incident]" in line for line in watch.text().splitlines()), watch.text()


def test_postmortem_names_the_hang_from_the_recording_alone(hung):
    folder, *_ = hung
    with Command("postmortem", str(folder / "runs/hung"), "--json", cwd=folder) as command:
        assert command.wait(120) == 1, command.text()
        result = json.loads(command.text())
    assert (result["first"]["code"], result["first"]["worker"]) == ("worker_stalled", "1"), result
    with Command("postmortem", str(folder), cwd=folder) as wrong:
        assert wrong.wait(60) == 2
        assert "found no recording" in wrong.text()

"""A process without progress writes where it hangs, in Python or native code, and what it waits for."""

import contextlib
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
import ray
from support import free_port, poll, ray_session

import raymon
from raymon import ray_internals
from raymon.cluster import discovery
from raymon.live.evidence_files import EvidenceFiles
from raymon.monitor import process_evidence

RUN = "stacks"


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with ray_session(num_cpus=2, dashboard=True, dashboard_port=free_port()):
        yield


class Env:
    def step(self, how):
        if how == "socket":
            silent, other = socket.socketpair()
            silent.settimeout(12)
            with silent, other, contextlib.suppress(TimeoutError):
                silent.recv(1)
        if how == "native":
            ctypes.PyDLL(None).sleep(12)  # a call through PyDLL keeps the GIL
        if how == "raise":
            raise ConnectionResetError("the simulator hung up")


@raymon.instrument(rollout="sample", worker="number")
@ray.remote(num_cpus=0, max_restarts=0)
class Worker:
    def __init__(self, number):
        self.env = Env()

    def sample(self, how):
        self.env.step(how)

    def pid(self):
        return os.getpid()


@pytest.fixture(scope="module")
def driver():
    return raymon.DriverMonitor(RUN)


@pytest.fixture(scope="module")
def session(driver):
    return Path(ray_internals.session_folder())


@pytest.fixture(scope="module")
def worker(driver):
    return Worker.remote(7)


def evidence(session, pid, state):
    stacks = process_evidence.read(session, pid)
    return stacks if stacks is not None and stacks.state == state else None


def two_losses(stacks):
    return stacks.losses if stacks and len(stacks.losses) == 2 else None


def line_of(text):
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_hanging_socket_is_named_and_whom_the_driver_waits_for(session, driver, worker):
    pid = ray.get(worker.pid.remote())
    hanging = worker.sample.remote("socket")
    with driver.iteration(), driver.phase("sample"):
        ray.wait([hanging], timeout=9)
        there, own = evidence(session, pid, "python"), evidence(session, os.getpid(), "python")
    assert there
    assert own
    assert there.where == f"Env.step → recv (test_monitor_stacks.py:{line_of('silent.recv(1)')})"
    assert own.waits_for == ("7",)
    assert own.where.split(" (")[0].endswith("→ wait")
    process = (ray.nodes()[0]["NodeManagerAddress"], pid)
    assert EvidenceFiles().read([process])[process] == evidence(session, pid, "python")
    assert_served_to_other_machines(process, evidence(session, pid, "python"))
    ray.get(hanging)
    poll(lambda: evidence(session, pid, "none"), 10, "the standstill is over")
    assert_healthy_process_answers_other_machines(process)
    folder = session / "logs" / "raymon"
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_size < 16_000 for path in folder.iterdir())


def assert_served_to_other_machines(process, expected):
    dashboard = ray.get_runtime_context().worker.node.address_info["webui_url"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "raylets", lambda: ())  # as on a machine without a node of the cluster
        remote = EvidenceFiles(dashboard).read([process, ("192.0.2.1", 1)])[process]
        assert (remote.state, remote.where, remote.stacks) == (expected.state, expected.where, expected.stacks)
        assert EvidenceFiles().read([process]) == {}
        patch.setenv("RAY_AUTH_TOKEN", "0" * 64)
        assert EvidenceFiles(dashboard).read([process]) == {}


def assert_healthy_process_answers_other_machines(process):
    dashboard = ray.get_runtime_context().worker.node.address_info["webui_url"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "raylets", lambda: ())
        healthy = EvidenceFiles(dashboard).read([process], 5.0, request=True)[process]
        assert (healthy.state, healthy.requested) == ("none", True)


def test_native_code_that_holds_the_gil_is_named(session, worker):
    pid = ray.get(worker.pid.remote())
    hanging = worker.sample.remote("native")
    stacks = poll(lambda: evidence(session, pid, "native"), 11, "stacks by faulthandler")
    assert stacks.where == f"step (test_monitor_stacks.py:{line_of('PyDLL(None).sleep(12)')})"
    assert_served_to_other_machines((ray.nodes()[0]["NodeManagerAddress"], pid), stacks)
    ray.get(hanging)
    poll(lambda: process_evidence.read(session, pid).state != "native", 10, "the process runs again")


def test_failures_and_losses_keep_their_frames_and_causes(session, driver, worker):
    pid = ray.get(worker.pid.remote())
    with pytest.raises(ConnectionResetError) as failed:
        ray.get(worker.sample.remote("raise"))
    driver.worker_lost(7, failed.value)
    failure = poll(lambda: (stacks := process_evidence.read(session, pid)) and stacks.failure, 10)
    assert (failure["exception"], failure["message"]) == ("ConnectionResetError", "the simulator hung up")
    assert failure["frames"][-1][0] == "Env.step"
    victim = Worker.remote(8)
    os.kill(ray.get(victim.pid.remote()), signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError) as died:
        ray.get(victim.pid.remote())
    driver.worker_lost(8, died.value)
    losses = poll(lambda: two_losses(process_evidence.read(session, os.getpid())), 10)
    assert [(loss["worker"], loss["reason"]) for loss in losses] == [("7", "error"), ("8", "killed")]
    assert losses[0]["frames"][-1][0] == "step"
    assert losses[1]["exit_type"] == "SYSTEM_ERROR"
    assert losses[1]["exit_detail"]

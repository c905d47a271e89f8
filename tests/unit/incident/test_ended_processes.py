"""The ends and errors of a run's processes, by worker, from what the driver and Ray say."""

from health_views import run, snapshot_of, worker

from raymon.incident.ended_processes import SeenProcesses, deaths
from raymon.monitor.error_details import describe_failure, describe_loss

NODE = "10.0.0.3"


def view(pid):
    return run(worker("3", pid=pid, node=NODE), driver_pid=99, driver_node=NODE)


def ended(pid, exit_detail="connection error code 2"):
    return {"kind": "worker", "pid": pid, "node": NODE, "exit": exit_detail, "ended_at": 5.0}


def test_process_that_was_replaced_is_known_by_its_worker():
    seen = SeenProcesses()
    for pid in (7, 8):
        seen.add(snapshot_of(view(pid)))
    cluster = {"ended_workers": [ended(7), ended(4)], "actors": []}
    (death,) = deaths(seen.of("r"), cluster, (), {})
    assert (death["worker"], death["pid"], death["sentence"]) == ("3", 7, "connection error code 2")
    assert seen.of("other") == {}


def test_driver_says_how_a_worker_ended():
    text = "The actor died. Worker exit type: SYSTEM_ERROR Worker exit detail: killed by SIGKILL, exit code -9"
    (death,) = deaths({}, {}, [describe_loss("3", RuntimeError(text))], {})
    assert (death["worker"], death["exit_code"], death["signal"]) == ("3", -9, "SIGKILL")
    assert death["sentence"] == "lost (unknown): killed by SIGKILL, exit code -9"


def test_failed_rollout_has_its_exception_and_frames():
    try:
        raise ValueError("the simulator\nrefused")
    except ValueError as error:
        failure = describe_failure(error)
    (death,) = deaths({}, {}, (), {"worker 3": failure})
    assert (death["kind"], death["worker"], death["exception"]) == ("failed", "3", "ValueError")
    assert "test_failed_rollout_has_its_exception_and_frames" in death["frames"][0]
    assert death["sentence"].startswith("ValueError: the simulator refused, in `")


def test_damaged_records_are_left_out():
    cluster = {"ended_workers": [ended(7, "")], "actors": []}
    assert deaths({(NODE, 7): "worker 3"}, cluster, [{"frames": 7, "exit_code": "x", "at": []}], {})[0]["frames"] == []

"""The post-mortem of a run's directory, with and without a recording, and its exit codes."""

import json
from dataclasses import asdict

import pytest
from metrics_pages import NOW as BEGIN
from metrics_pages import URL, FakeCluster, FakeDriver, FakeWorker
from support import poll

from raymon import catalog
from raymon.incident import FOLDER, postmortem
from raymon.incident.deaths import Death, DeathLog
from raymon.incident.recording_writer import RecordingWriter
from raymon.incident.store import IncidentStore
from raymon.live import silent_process_reader
from raymon.live.collector import Collector
from raymon.live.silent_process_reader import SilentProcessReader
from raymon.monitor.error_details import describe_loss
from raymon.monitor.process_evidence import ProcessEvidence

NOW = 1_700_000_000.0


def directory(tmp_path, state):
    run = tmp_path / "mine"
    run.mkdir(exist_ok=True)
    if state:
        (run / "summary.json").write_text(json.dumps({"run": "mine", "state": state, "episodes": 7}))
    return run


def add_incident(run, code="worker_stalled", worker="1", closed_at=None, **parts):
    store = IncidentStore(run.parent)
    data = {"run": "mine", "code": code, "severity": "critical", "worker": worker, "sentence": "Worker 1 is stalled."}
    view = {"workers": [{"worker": "1", "pid": 71, "node": "n"}], "driver_pid": 70, "driver_node": "n"}
    data |= {"opened_at": NOW, "closed_at": closed_at, "view": view, **parts}
    store.write(store.create("mine", code, worker, NOW), data, "")


@pytest.mark.parametrize(("state", "code"), [("finished", 0), ("stopped", 0), ("failed", 1)])
def test_exit_code_without_a_recording_is_that_of_the_outcome(tmp_path, capsys, state, code):
    run = directory(tmp_path, state)
    assert postmortem.main([str(run)]) == code
    assert "episodes: 7" in capsys.readouterr().out


def test_open_incident_of_a_failed_run_is_its_first_cause(tmp_path, capsys):
    run = directory(tmp_path, "failed")
    add_incident(run, hang={"processes": ["worker 1"], "where": "recv", "sentence": "Worker 1 hangs in `recv`."})
    assert postmortem.main([str(run)]) == 1
    assert "Worker 1 is stalled. Worker 1 hangs in `recv`." in capsys.readouterr().out


def test_incident_that_was_over_is_no_cause(tmp_path):
    run = directory(tmp_path, "failed")
    add_incident(run, closed_at=NOW + 1.0)
    assert postmortem.postmortem(run).first is None


def test_log_of_deaths_is_read_with_the_processes_of_the_incidents(tmp_path):
    run = directory(tmp_path, "")
    add_incident(run, code="killed", worker="", sentence="The driver's process has ended.")
    DeathLog(run / FOLDER).add(Death("worker", NOW - 1.0, 71, "n", "SIGSEGV, in step (env.py:3)", "crashed"))
    result = postmortem.postmortem(run)
    assert (result.outcome, result.first.worker) == ("failed", "1")
    assert result.first.sentence.startswith("Worker 1 crashed at ")
    assert [link.code for link in result.chain] == ["crashed", "killed"]
    assert asdict(result)["first"]["node"] == "n"


def test_directory_of_no_run_is_refused(tmp_path):
    with pytest.raises(postmortem.PostMortemError, match=r"no summary\.json"):
        postmortem.postmortem(tmp_path)


def test_recording_alone_names_the_loss_that_ended_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(silent_process_reader, "PERIOD_SECONDS", 0.01)
    driver, recorder = FakeDriver(), RecordingWriter(tmp_path / FOLDER)
    cluster = FakeCluster(driver, *(FakeWorker(str(number)) for number in range(3)))
    loss = {**describe_loss("1", ValueError("bad action")), "at": BEGIN + 5.0}
    left = ProcessEvidence(99, "none", "", None, BEGIN, losses=(loss,))
    cluster.collector = Collector([URL], clock=lambda: cluster.now, on_round=recorder.add)
    cluster.collector._silent = SilentProcessReader(lambda processes: dict.fromkeys(processes, left))
    driver.set(catalog.PROCESS_ID, 99)
    driver.set(catalog.WORKER_LOSSES, 0.0, "error")
    assert not cluster.run(5).runs[0].worker_losses
    driver.works = False
    driver.add(catalog.WORKER_LOSSES, 1.0, "error")
    poll(lambda: cluster.run(1).runs[0].worker_losses, 5)
    driver.state = "failed"
    cluster.run(3)
    cluster.collector.stop()
    recorder.close()
    assert postmortem.main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("r: Worker 1 was lost at ")
    assert printed.splitlines()[0].endswith(": ValueError: bad action.")


def test_run_of_the_directory_is_chosen_among_those_of_its_recording(tmp_path):
    recorder = RecordingWriter(tmp_path / "r" / "recording")
    driver, other = FakeDriver(), FakeDriver(run="other")
    cluster = FakeCluster(driver, FakeWorker("0"))
    cluster.collector = Collector([URL], clock=lambda: cluster.now, on_round=recorder.add)
    cluster.run(3)
    driver.state = "failed"
    other.started = BEGIN + 3.0
    cluster.processes += [other, FakeWorker("0", run="other")]
    assert cluster.run(3).runs[0].run == "other"
    cluster.collector.stop()
    recorder.close()
    assert (postmortem.postmortem(tmp_path / "r").run, postmortem.postmortem(tmp_path / "r").outcome) == ("r", "failed")
    assert postmortem.postmortem(tmp_path / "r" / "recording").run == "r"
    assert postmortem.postmortem(tmp_path / "r", "other").run == "other"

"""The post-mortem of a run's directory that holds no recording, and its exit codes."""

import json
from dataclasses import asdict

import pytest

from raymon.incident import FOLDER, postmortem
from raymon.incident.deaths import Death, DeathLog
from raymon.incident.store import IncidentStore

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

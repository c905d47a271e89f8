"""Incidents on disk are bounded, written whole or not at all, and foreign files are refused in a sentence."""

import json

import pytest

from raymon.incident.incidents import printable_text
from raymon.incident.report import bounded_report, report
from raymon.incident.schema import shaped
from raymon.incident.store import DATA, MOST_BYTES, MOST_INCIDENTS, IncidentError, IncidentStore, load
from raymon.page.incident_list import summary

NOW = 1_800_000_000.0
DATA_OF_ONE = {"run": "r", "code": "worker_stalled", "worker": "1", "sentence": "Worker 1 hangs.", "opened_at": NOW}


def test_an_incident_is_written_and_read_back(tmp_path):
    store = IncidentStore(tmp_path)
    folder = store.create("my/run", "worker_stalled", "1", NOW)
    assert folder.parent == tmp_path / "my-run" / "incidents"
    store.write(folder, DATA_OF_ONE, "<html></html>")
    (incident,) = store.list()
    assert (incident.code, incident.worker, incident.closed_at) == ("worker_stalled", "1", None)
    assert store.list("other") == []


def test_two_watchers_write_one_cause_once(tmp_path):
    first, second = IncidentStore(tmp_path), IncidentStore(tmp_path)
    import time

    now = time.time()
    assert first.create("r", "worker_stalled", "1", now) is not None
    assert second.create("r", "worker_stalled", "1", now + 1.0) is None
    assert second.create("r", "worker_stalled", "2", now + 1.0) is not None


def test_number_and_size_are_bounded(tmp_path):
    store = IncidentStore(tmp_path)
    folders = [store.create("r", "driver_gone", str(number), NOW) for number in range(MOST_INCIDENTS + 5)]
    assert folders.count(None) == 5
    store.write(folders[0], {**DATA_OF_ONE, "logs": {"a": "x" * MOST_BYTES}}, "")
    assert (folders[0] / DATA).stat().st_size < 10_000


def test_size_of_the_report_is_bounded():
    stacks = {"sentence": "s", "groups": [{"processes": ["w"], "frames": ["<" * 400] * 40}] * 64}
    logs = {str(name): "line <\n" * 40_000 for name in range(8)}
    text = bounded_report({**DATA_OF_ONE, "logs": logs, "stacks": stacks})
    assert len(text) <= MOST_BYTES
    assert "left out: the report has more than" in text
    assert "Worker 1 hangs." in text
    assert "&lt;" * 400 in text  # the stacks are left out later than the logs


def test_report_shows_memory_and_disk_of_every_node():
    node = {"memory_used_bytes": 60e9, "memory_total_bytes": 100e9, "disk_used_bytes": 98e9, "disk_free_bytes": 2e9}
    nodes = [{"address": "10.0.0.3", "silent_seconds": 0.0, "cpu_ratio": 0.5, **node}, {"address": "10.0.0.4"}]
    text = report(shaped({**DATA_OF_ONE, "view": {"nodes": nodes}}))
    for cell in ("10.0.0.3", "answers", "60 % of 100 GB", "98 % full, 2 GB free", "10.0.0.4"):
        assert cell in text, cell


def test_a_directory_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "r").write_text("a file")
    with pytest.raises(IncidentError, match="cannot write incidents to"):
        IncidentStore(tmp_path).create("r", "driver_gone", "", NOW)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"run": 1}', "[" * 50_000, '{"opened_at": "x"}'])
def test_what_is_no_incident_is_refused(tmp_path, text):
    (tmp_path / DATA).write_text(text)
    with pytest.raises(IncidentError):
        load(tmp_path)
    assert IncidentStore(tmp_path.parent).list() == []


def test_labels_cannot_carry_escapes_into_a_terminal(tmp_path):
    (tmp_path / DATA).write_text(json.dumps({**DATA_OF_ONE, "sentence": "\x1b[31mred"}))
    assert load(tmp_path).sentence == "red"


def test_frames_without_a_letter_cannot_move_the_cursor(tmp_path):
    stacks = {"groups": [{"processes": ["worker 1"], "frames": ["\r", "\v", "step (env.py:3)"]}]}
    (tmp_path / DATA).write_text(json.dumps({**DATA_OF_ONE, "stacks": stacks}))
    assert all(line.isprintable() for line in printable_text(load(tmp_path)).split("\n"))


@pytest.mark.parametrize(
    "part",
    [
        {"stacks": {"groups": [7, {"processes": [1], "frames": "x"}], "unreadable": 1.5}},
        {"stacks": []},
        {"cluster": {"actors": [[]], "ended_workers": 7, "nodes": ["x"]}},
        {"cluster": {"actors": [{"state": 1.5}]}},
        {"series": {"values": {"steps_per_second": [1.0, {}, "x", 10**400], "phase_learn": 7}}},
        {"view": {"workers": [{"worker": 1, "rss_bytes": {}, "steps_per_second": float("nan")}]}},
        {"deaths": [7, {"worker": 1, "frames": "x"}, {"kind": [], "sentence": 7}]},
        {"findings": 7, "advice": [], "logs": [], "machine": 7},
    ],
    ids=str,
)
def test_parts_of_another_shape_are_left_out(tmp_path, part):
    (tmp_path / DATA).write_text(json.dumps({**DATA_OF_ONE, **part}))
    incident = load(tmp_path)
    assert "Worker 1 hangs." in report(incident.data)
    assert "Worker 1 hangs." in printable_text(incident)
    assert not any(sentence for worker, sentence, _ in summary(incident).deaths if worker)


@pytest.mark.parametrize("moment", ["x", float("nan"), 1e300, 10**400, None, []])
def test_incident_at_an_impossible_moment_is_refused(tmp_path, moment):
    (tmp_path / DATA).write_text(json.dumps({**DATA_OF_ONE, "opened_at": moment}))
    with pytest.raises(IncidentError, match="is not an incident"):
        load(tmp_path)

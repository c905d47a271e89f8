"""The watcher opens an incident once per cause, survives failing parts and closes it when it is over."""

from dataclasses import replace

import numpy as np
import pytest
from health_views import fleet, run, snapshot_of

from raymon.health import Finding, RunVerdict
from raymon.incident.events import WatchEvent
from raymon.incident.notify import Notifier, NotifyError, receiver, resolved
from raymon.incident.store import IncidentStore
from raymon.incident.watcher import OVER_SECONDS, Watcher
from raymon.live.snapshot import RunHistory, WorkerHistory

NOW = 1_800_000_000.0
HANG = Finding("worker_stalled", "critical", "Worker 1 is stalled.", "", "1")
FINE = Finding("healthy", "ok", "All is well.")


def at(seconds, *findings):
    snapshot = snapshot_of(fleet(0.1, 0.1), taken_at=NOW + seconds)
    return replace(snapshot, verdicts={"r": RunVerdict(findings)})


def test_one_incident_per_cause_until_it_is_over(tmp_path):
    events, collected = [], []
    watcher = Watcher(IncidentStore(tmp_path), lambda *_: collected.append(1) or {"versions": {}}, events.append)
    for second in range(5):
        watcher.look(at(second, HANG, FINE))
    watcher.wait()
    watcher.look(at(6, FINE))
    watcher.look(at(6 + OVER_SECONDS, FINE))
    kinds = [event.kind for event in events]
    assert len(collected) == 1
    assert sorted(kinds) == ["closed", "opened", "verdict", "verdict"]
    (incident,) = IncidentStore(tmp_path).list("r")
    assert incident.closed_at == NOW + 6 + OVER_SECONDS
    assert (incident.folder / "report.html").read_text().startswith("<!doctype html>")


def test_findings_on_a_cut_node_are_one_incident_and_the_end_of_the_run_another(tmp_path):
    events, collected = [], []
    silent = Finding("node_silent", "critical", "Node b does not answer.")
    still = Finding("no_progress", "critical", "No policy update for 12 s.")
    ended = Finding("killed", "critical", "The driver's process has ended.")

    def collect(_snapshot, _run, finding):
        collected.append(finding.code)
        return {"hang": {"processes": ("worker 1",), "where": "step", "sentence": ""} if finding is HANG else None}

    watcher = Watcher(IncidentStore(tmp_path), collect, events.append)
    for second, findings in enumerate([(silent,), (silent, HANG), (silent, HANG, still), (ended,)]):
        watcher.look(at(20 * second, *findings))
        watcher.wait()
    opened = [event.code for event in events if event.kind == "opened"]
    assert opened == ["node_silent", "killed"]
    first = IncidentStore(tmp_path).list("r")[-1]
    assert [finding["code"] for finding in first.data["followed_by"]] == ["worker_stalled", "no_progress"]
    assert first.data["hang"]["processes"] == ["worker 1"]
    assert collected == ["node_silent", "worker_stalled", "killed"]


def test_worker_that_is_lost_later_brings_its_end_into_the_incident(tmp_path):
    lost = replace(HANG, code="workers_lost", severity="warning")

    def collect(_snapshot, _run, finding):
        hang = {"processes": ["worker 1"], "where": "step", "sentence": ""}
        return {"hang": hang, "deaths": [{"worker": "1", "sentence": finding.code}]}

    watcher = Watcher(IncidentStore(tmp_path), collect)
    for second, findings in enumerate([(HANG,), (HANG, lost)]):
        watcher.look(at(20 * second, *findings))
        watcher.wait()
    (incident,) = IncidentStore(tmp_path).list("r")
    assert [death["sentence"] for death in incident.data["deaths"]] == ["workers_lost"]


def test_later_trouble_of_another_worker_is_another_incident(tmp_path):
    hangs = {"1": HANG, "2": replace(HANG, worker="2"), "": replace(HANG, worker="", code="no_progress")}

    def collect(_snapshot, _run, finding):
        return {"hang": {"processes": [f"worker {finding.worker or '2'}"], "where": "step", "sentence": ""}}

    watcher = Watcher(IncidentStore(tmp_path), collect)
    for second in range(0, 400, 5):
        findings = [hangs["1"]] + [hangs["2"]] * (second >= 200) + [hangs[""]] * (second >= 300)
        watcher.look(at(second, *findings))
        watcher.wait()
    second, first = IncidentStore(tmp_path).list("r")
    assert (first.worker, second.worker) == ("1", "2")
    assert first.data["followed_by"] == []
    assert [finding["code"] for finding in second.data["followed_by"]] == ["no_progress"]


@pytest.mark.parametrize(("comes", "reported"), [(2.0, 2.0), (99.0, 3.0)])
def test_failed_run_is_reported_with_its_exception_or_three_seconds_later(tmp_path, comes, reported):
    events = []
    watcher = Watcher(IncidentStore(tmp_path), lambda *_: {}, events.append)
    for second in range(5):
        reason = "KeyError: 'reward'" if second >= comes else ""
        view = run(state="failed", driver_pid=7, driver_exit=reason)
        watcher.look(snapshot_of(view, taken_at=NOW + second))
        assert watcher.awaits_reason == (second < reported)
    watcher.wait()
    verdict, opened = sorted(events, key=lambda event: event.kind, reverse=True)
    assert verdict.at == opened.at == NOW + reported
    assert ("KeyError: 'reward'" in opened.sentence) == (comes < 3.0)


def test_failed_run_is_reported_when_the_watch_ends(tmp_path):
    events = []
    watcher = Watcher(IncidentStore(tmp_path), lambda *_: {}, events.append)
    watcher.look(snapshot_of(run(state="failed", driver_pid=7), taken_at=NOW))
    watcher.wait()
    assert {event.code for event in events} == {"failed"}


def test_evidence_that_waits_keeps_a_minute_of_its_run_in_memory(tmp_path):
    times = np.arange(900.0)
    floats = np.zeros((1, 900), np.float32)
    workers = WorkerHistory(("1",), times, floats, np.zeros((1, 900), np.int8), floats, floats)
    history = RunHistory(times, {"steps_per_second": times * 2.0}, workers)
    seen = []
    watcher = Watcher(IncidentStore(tmp_path), lambda snapshot, *_: seen.append(snapshot) or {})
    watcher.look(replace(at(0, HANG), histories={"r": history, "other": history}))
    watcher.wait()
    ((run, kept),) = seen[0].histories.items()
    assert run == "r"
    assert list(kept.times) == list(times[-61:])
    assert list(kept.values["steps_per_second"]) == list(2.0 * times[-61:])
    arrays = [kept.times, *kept.values.values(), kept.workers.times, kept.workers.rss_bytes, kept.workers.strip]
    assert all(array.base is None and array.size == 61 for array in arrays), "they are no part of larger ones"


def test_a_failing_collection_still_tells(tmp_path):
    events = []

    def collect(*_):
        raise RuntimeError("no evidence")

    watcher = Watcher(IncidentStore(tmp_path), collect, events.append)
    watcher.look(at(0, HANG))
    watcher.wait()
    assert "opened" in [event.kind for event in events]


def test_a_dead_receiver_gets_three_attempts_and_no_secret_is_logged(caplog):
    calls = []

    def send(event):
        calls.append(event)
        raise OSError("https://host/secret")

    notifier = Notifier([("https://host", send)], pauses=(0.0, 0.0))
    notifier.tell(WatchEvent("opened", "r", "worker_stalled", "critical", "Worker 1 is stalled.", NOW))
    notifier.tell(WatchEvent("verdict", "r", "healthy", "ok", "All is well.", NOW))
    notifier.close()
    assert len(calls) == 3
    assert "secret" not in caplog.text


@pytest.mark.parametrize("address", ["env:RAYMON_NO_SUCH_VARIABLE", "file:/no/such/file"])
def test_a_missing_secret_is_one_sentence(address):
    with pytest.raises(NotifyError, match="--webhook"):
        resolved(address)


def test_an_unknown_receiver_is_refused():
    with pytest.raises(NotifyError):
        receiver("nowhere")

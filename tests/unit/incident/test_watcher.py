"""The watcher opens an incident once per cause, survives failing parts and closes it when it is over."""

from dataclasses import replace

import pytest
from health_views import fleet

from raymon.health import Finding, RunVerdict
from raymon.incident.notify import Notifier, NotifyError, receiver, resolved
from raymon.incident.store import IncidentStore
from raymon.incident.watcher import OVER_SECONDS, Watcher, WatchEvent
from raymon.live.snapshot import snapshot_of

NOW = 1_800_000_000.0
HANG = Finding("worker_stalled", "critical", "Worker 1 is stalled.", "", "1")
FINE = Finding("healthy", "ok", "All is well.")


def at(seconds, *findings):
    snapshot = snapshot_of([fleet(0.1, 0.1)], taken_at=NOW + seconds)
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

"""Alerts and older history from a Prometheus that is there, is gone, or answers nonsense."""

import contextlib
import json
import time

import numpy as np
import pytest
from http_replies import ReplyHandler, ReplyServer
from metrics_pages import FakeCluster, FakeDriver, FakeWorker
from support import poll

from raymon.live.collector import Collector
from raymon.live.prometheus import Prometheus
from raymon.live.snapshot import RunHistory

ALERT = {
    "state": "firing",
    "activeAt": "2026-01-01T00:00:00.5Z",
    "labels": {"alertname": "RaymonWorkerStalled", "severity": "critical", "run": "r", "worker": "3"},
    "annotations": {"summary": "A worker is stalled.", "description": "Worker 3 stood\x1b[2J still."},
}
PENDING = {"state": "pending", "labels": {"alertname": "RaymonWorkerStalled"}}
FOREIGN = {"name": "DiskFull", "alerts": [{"state": "firing", "labels": {"alertname": "DiskFull"}}]}


def rules(*alerts):
    """What Prometheus answers about its rules: one of ours with these alerts, and one of somebody else's."""
    return {"groups": [{"rules": [{"name": "RaymonWorkerStalled", "alerts": list(alerts)}, FOREIGN]}]}


@contextlib.contextmanager
def prometheus(answers):
    """An HTTP server that answers a path's last word with the given data."""

    class Handler(ReplyHandler):
        def do_GET(self):
            route = self.path.partition("?")[0].rsplit("/", 1)[-1]
            body = answers[route] if isinstance(answers, dict) else answers
            if not isinstance(body, bytes):
                body = json.dumps({"status": "success", "data": body}).encode()
            self.reply(body)

    with ReplyServer(Handler) as server:
        yield server.url


def series(first, count):
    points = [[first + 15 * number, str(100.0 + number)] for number in range(count)]
    return {"resultType": "matrix", "result": [{"metric": {"run": "r"}, "values": points}]}


def test_alerts_that_fire_there_are_shown_and_others_not():
    with prometheus({"rules": rules(ALERT, PENDING), "values": [], "query_range": series(0, 0)}) as url:
        client = Prometheus(url)
        client.refresh()
    (alert,) = client.alerts()
    assert (alert.name, alert.run, alert.worker, alert.source) == ("RaymonWorkerStalled", "r", "3", "Prometheus")
    assert alert.summary == "Worker 3 stood\\x1b[2J still."
    assert alert.active_seconds > 1000


def test_history_from_before_the_viewer_was_opened_is_put_in_front():
    now = time.time()
    with prometheus({"rules": rules(), "values": [], "query_range": series(now - 600, 20)}) as url:
        client = Prometheus(url)
        client.refresh()
    mine = RunHistory(
        np.array([now - 400, now]), {"steps_per_second": np.array([1.0, 2.0]), "policy": np.array([3.0, 4.0])}
    )
    longer = client.extended("r", mine)
    assert len(longer.times) == 14 + 2
    assert np.all(np.diff(longer.times) > 0)
    assert longer.values["steps_per_second"].tolist() == [100.0 + n for n in range(14)] + [1.0, 2.0]
    assert np.isnan(longer.values["policy"][:14]).all()
    assert client.extended("another", mine) is mine


def test_the_collector_names_the_source_of_alerts():
    cluster = FakeCluster(FakeDriver(), FakeWorker("0"), FakeWorker("1"))
    with prometheus({"rules": rules(ALERT), "values": ["r"], "query_range": series(0, 0)}) as url:
        cluster.collector = Collector(["a:1"], clock=lambda: cluster.now, prometheus_url=url)
        cluster.collector._prometheus.refresh()
        snapshot = cluster.run(12)
        assert [alert.source for alert in snapshot.alerts] == ["Prometheus"]
        assert url in snapshot.source
    cluster.collector._prometheus.refresh()
    assert not cluster.collector._prometheus.answers()
    cluster.processes[2].beats = False
    snapshot = cluster.run(15)
    assert "does not answer: connection refused" in snapshot.source
    (alert,) = snapshot.alerts
    assert (alert.source, alert.worker) == ("local", "1")
    assert 1.0 < alert.active_seconds < 15.0


@pytest.mark.parametrize(
    ("groups", "runs", "says"),
    [
        ({"groups": [{"rules": [FOREIGN]}]}, [], "without raymon's rules"),
        (rules(ALERT), ["theirs"], "has not scraped these runs"),
    ],
)
def test_prometheus_without_rules_or_of_another_cluster_hides_no_alert(groups, runs, says):
    cluster = FakeCluster(FakeDriver(), FakeWorker("0"), FakeWorker("1"))
    with prometheus({"rules": groups, "values": runs, "query_range": series(0, 0)}) as url:
        cluster.collector = Collector(["a:1"], clock=lambda: cluster.now, prometheus_url=url)
        cluster.collector._prometheus.refresh()
    cluster.run(12)
    cluster.processes[2].beats = False
    snapshot = cluster.run(15)
    assert says in snapshot.source
    assert [(alert.source, alert.worker) for alert in snapshot.alerts] == [("local", "1")]


def test_a_missing_default_prometheus_is_no_problem():
    cluster = FakeCluster(FakeDriver(), FakeWorker("0"))
    cluster.collector = Collector(
        ["a:1"], clock=lambda: cluster.now, prometheus_url="http://127.0.0.1:1", prometheus_expected=False
    )
    cluster.collector._prometheus.refresh()
    assert "Prometheus" not in cluster.run(3).source


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"status": "error"}',
        b'{"status": "success"}',
        {"rules": {"groups": 5}, "values": [5], "query_range": 5},
        {
            "rules": {"groups": [5, {"rules": 5}, {"rules": [5, {"name": "RaymonNoUpdate", "alerts": 5}]}]},
            "values": "r",
            "query_range": 5,
        },
        {
            "rules": rules(5, {"labels": 5}, {"labels": {}, "state": "stopped"}),
            "values": {"r": 5},
            "query_range": {"result": [5, {"values": 5}, {"metric": 5, "values": [[1, "NaN"], [1], "x", ["a", "b"]]}]},
        },
    ],
)
def test_nonsense_is_harmless(answer):
    with prometheus(answer) as url:
        client = Prometheus(url)
        client.refresh()
    assert client.alerts() == ()
    history = RunHistory()
    assert client.extended("r", history) is history


@pytest.mark.parametrize(
    "answer", [{"result": None}, {"result": [{"metric": {"run": "r"}, "values": [[10**400, "1"]]}]}, b"[" * 100_000]
)
def test_the_thread_survives_any_answer_and_then_shows_no_old_alert(answer, monkeypatch):
    monkeypatch.setattr("raymon.live.prometheus.REFRESH_SECONDS", 0.05)
    answers = {"rules": rules(ALERT), "values": ["r"], "query_range": answer}
    with prometheus(answers) as url:
        client = Prometheus(url)
        client.start()
        try:
            poll(client.alerts, 10, "the alert")
            answers["rules"] = b'{"status": "success", "data": {"groups": [{"rules": null}], "groups": 5}}'
            poll(lambda: not client.alerts() and not client.has_rules(), 10, "no alert")
            answers["rules"] = rules(ALERT)
            poll(client.alerts, 10, "the alert again")
            answers["rules"] = b""
            poll(lambda: not client.alerts() and client.error, 10, "no alert from a Prometheus that does not answer")
        finally:
            client.stop()


def test_alerts_of_a_prometheus_that_fell_silent_are_not_shown(monkeypatch):
    with prometheus({"rules": rules(ALERT), "values": ["r"], "query_range": series(0, 0)}) as url:
        client = Prometheus(url)
        client.refresh()
    assert client.alerts()
    monkeypatch.setattr("raymon.live.prometheus.SILENT_SECONDS", 0.0)
    assert (client.alerts(), client.has_rules()) == ((), False)

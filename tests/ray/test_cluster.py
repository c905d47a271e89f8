"""A run on a cluster of several machines with tokens and TLS: nodes that are cut off, lost, drained and added.

The tests share one cluster and one run, in the order of this file: each begins where the one before ended.
"""

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from ray_cluster import Node, RayCluster, ray_cluster
from support import Command, Prometheus, chromium_page, free_port, poll

from raymon import catalog
from raymon.cluster import discovery
from raymon.live import targets
from raymon.live.collector import Collector

WORKERS = 7
"""One fewer than the cluster has CPUs; without a node, one worker has no place."""
SILENT_SECONDS = 15.0
"""A node that does not answer is named within this time."""


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster(workers=3, cpus=2) as started:
        yield started


@pytest.fixture(scope="module")
def run(cluster, tmp_path_factory):
    """A run whose driver is on the head; it finds the token by itself."""
    runs = tmp_path_factory.mktemp("runs")
    flags = ("--env", "raymon/Simulated-v0", "--workers", str(WORKERS), "--no-page", "--worker-timeout", "20")
    flags += ("--total-env-steps", "1000000000", "--envs-per-worker", "1", "--fragment-steps", "32")
    place = ("--address", cluster.address, "--name", "apart", "--runs", str(runs))
    program = ("env", "-u", "RAY_AUTH_MODE", *cluster.nodes[0].program, sys.executable, "-m", "raymon")
    with Command("train", *flags, *place, cwd=runs, program=program, **cluster.environment) as train:
        poll(
            lambda: f"workers {WORKERS}/{WORKERS}" in train.text(),
            120,
            f"all workers are up; {train.output}",
            every=0.5,
        )
        yield train


@pytest.fixture(scope="module")
def view(cluster, run):
    """What a viewer on another machine sees, which asks the Ray Dashboard for the nodes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", cluster.environment["RAY_AUTH_TOKEN"])
        collector = Collector(targets.choose(dashboard=cluster.dashboard_url), watched=True)
        collector.start()
        view = View(collector)
        poll(lambda: sum(map(len, view.workers().values())) == WORKERS, 60, "every worker is seen on a node")
        yield view
        collector.stop()


class View:
    """Findings and nodes of the newest snapshot."""

    def __init__(self, collector: Collector):
        self.collector = collector

    def workers(self) -> dict[str, tuple[str, ...]]:
        """Return address to workers, of the nodes that answer."""
        runs = self.collector.snapshot().runs
        return {node.address: node.workers for node in runs[0].nodes if not node.error} if runs else {}

    def sentences(self) -> dict[str, str]:
        """Return code to sentence of everything that is found."""
        snapshot = self.collector.snapshot()
        findings = snapshot.verdicts[snapshot.runs[0].run].findings if snapshot.runs else ()
        return {finding.code: finding.sentence for finding in findings}

    def first(self) -> str:
        return next(iter(self.sentences()), "")

    def await_sentence(self, code: str, seconds: float) -> str:
        return poll(lambda: self.sentences().get(code), seconds, code + ", not " + str(self.sentences()))

    def await_end(self, code: str, seconds: float) -> None:
        poll(lambda: self.sentences() and code not in self.sentences(), seconds, f"{code} is over")


def output(command: Command, code: int = 0) -> str:
    with command as done:
        assert done.wait(90) == code, done.text()
        return done.text()


def doctor(cluster: RayCluster, node: Node) -> dict[str, str]:
    """Return check to state, as seen from a node."""
    checks = json.loads(output(cluster.raymon("doctor", "--json", "--address", cluster.address, node=node)))
    return {check["check"]: check["state"] for check in checks}


def test_workers_on_all_nodes_are_seen(cluster: RayCluster, view):
    addresses = [node.address for node in cluster.nodes]
    seen = json.loads(output(cluster.raymon("top", "--once", "--json", "--dashboard-url", cluster.dashboard_url)))
    assert sorted(node["address"] for node in seen["nodes"]) == addresses, "pages that are no node's are left out"
    assert all(node["workers"] for node in seen["nodes"])
    assert [node["address"] for node in seen["nodes"] if node["driver"]] == addresses[:1]
    states = doctor(cluster, cluster.nodes[0])
    asked = ("ray", "token", "endpoints", "discovery-file", "families", "gauges")
    assert {states[name] for name in asked} == {"ok"}, states


def test_profile_reaches_workers_of_other_nodes(cluster: RayCluster, view, tmp_path):
    workers = [view.workers()[node.address][0] for node in cluster.nodes[1:]]
    chosen = [flag for worker in workers for flag in ("--worker", worker)]
    flags = ("--seconds", "2", *chosen, "--output", str(tmp_path / "profile"), "--address", cluster.address)
    text = output(cluster.raymon("profile", *flags, "--dashboard-url", cluster.dashboard_url, node=cluster.nodes[0]))
    stacks = {path.name for path in (tmp_path / "profile").rglob("*worker*")}
    assert all(any(f"worker-{worker}" in name for name in stacks) for worker in workers), text


def test_page_shows_the_workers_of_every_node(cluster: RayCluster, view):
    port = str(free_port())
    flags = ("--dashboard-url", cluster.dashboard_url, "--port", port)
    with cluster.raymon("status", *flags) as status, chromium_page() as page:
        poll(lambda: "http://127.0.0.1:" + port in status.text(), 60, "the page's address")
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector('.raymon .page[data-view="run"]', timeout=60_000)
        poll(lambda: page.locator("tr[data-worker]").count() == WORKERS, 60, "a row for every worker")
        table = page.locator('[data-section="nodes"]')
        poll(lambda: all(node.address in table.inner_text() for node in cluster.nodes), 30, "a row for every node")


def test_prometheus_of_up_scrapes_every_node(cluster: RayCluster, view, tmp_path):
    port, token = free_port(), tmp_path / "token"
    token.touch(0o600)
    token.write_text(cluster.environment["RAY_AUTH_TOKEN"])
    flags = ("--dashboard-url", cluster.dashboard_url, "--token-file", str(token), "--no-grafana", "--no-export")
    try:
        output(cluster.raymon("up", *flags, "--directory", str(tmp_path / "up"), "--prometheus-port", str(port)))
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        query = f"count by (NodeAddress) ({catalog.HEARTBEAT.name})"
        addresses = {node.address for node in cluster.nodes}
        poll(lambda: {row["metric"]["NodeAddress"] for row in prometheus.query(query)} >= addresses, 60, "every node")
    finally:
        output(cluster.raymon("down", "--directory", str(tmp_path / "up")))


@pytest.fixture(scope="module")
def watch(cluster: RayCluster, view, tmp_path_factory):
    root = tmp_path_factory.mktemp("watched")
    with cluster.raymon("watch", "--dashboard-url", cluster.dashboard_url, "--root", str(root)) as command:
        poll(lambda: "apart [" in command.text(), 60, "the first verdict")
        yield command, root


def test_cut_link_is_a_node_that_does_not_answer(cluster: RayCluster, view, watch):
    node = cluster.nodes[2]
    workers = view.workers()[node.address]
    node.cut()
    try:
        sentence = view.await_sentence("node_silent", SILENT_SECONDS)
        assert view.first() == "node_silent", view.sentences()
        assert re.match(rf"Node {re.escape(node.address)} has not answered for [\d.]+ s: workers? ", sentence)
        assert all(re.search(rf"\b{worker}\b", sentence.partition(": ")[2]) for worker in workers)
        command, root = watch
        poll(lambda: list(root.glob("apart/incidents/*-node_silent/report.html")), 30, "an incident")
        assert f"[incident] Node silent: Node {node.address} has not answered" in command.text()
    finally:
        node.restore()
    view.await_end("node_silent", SILENT_SECONDS)


def test_lost_node_leaves_a_worker_without_a_place(cluster: RayCluster, view):
    node = cluster.nodes[2]
    node.kill()
    sentence = view.await_sentence("node_lost", 60.0)
    assert re.match(rf"Node {re.escape(node.address)} is lost \(.*health check.*\), silent for ", sentence)
    sentence = view.await_sentence("workers_unplaced", 60.0)
    assert re.search(r"waits? for resources: Ray has found no place for .* \(free: 0 of 6 CPU\)", sentence)


def test_workers_start_on_a_node_that_joins(cluster: RayCluster, view):
    node = cluster.add_node()
    node.ready()
    poll(lambda: view.workers().get(node.address), 120, f"a worker runs on the new node, not {view.sentences()}")
    view.await_end("workers_unplaced", 20.0)
    view.await_end("node_lost", 75.0)  # it is named for a minute


def test_drained_node_is_not_called_lost(cluster: RayCluster, view):
    node = cluster.nodes[-1]
    (node_id,) = (raylet.node_id for raylet in discovery.raylets() if raylet.node_address == node.address)
    reason = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the spot instance ends")
    drain = ("drain-node", "--address", cluster.address, "--node-id", node_id, *reason)
    cluster.ray(*drain, node=cluster.nodes[0])
    (raylet,) = (pid for pid in node.pids() if b"raylet/raylet\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(raylet, signal.SIGTERM)
    sentence = view.await_sentence("node_drained", 60.0)
    assert re.match(rf"Node {re.escape(node.address)} was drained or stopped \(.+\), silent for ", sentence)

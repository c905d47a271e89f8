"""What is read of the nodes: from their pages, and from what the Ray Dashboard says of those that left."""

import json

import pytest
from http_replies import ReplyHandler, ReplyServer
from metrics_pages import NOW, line

from raymon.cluster import discovery
from raymon.live.memory import Memory
from raymon.live.node_views import free_resources, node_views, unplaced_seconds
from raymon.live.parse import Parser
from raymon.live.targets import DashboardTargets
from raymon.queries.ray_families import NODE_CPU, RESOURCES, UNPLACED

LISTED = [["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.1:44217"], ["10.0.0.1:8080"]]
DEAD = {"state": "DEAD", "stateMessage": "Unexpected termination: health check failed", "endTimeMs": 2000}
EARLIER = {"state": "DEAD", "stateMessage": "Terminated due to preemption: sold", "endTimeMs": 1000}


def memory_of(pages, now=NOW):
    memory, parser = Memory(), Parser()
    memory.absorb({url: list(parser.samples(text.encode())) for url, text in pages.items()}, now)
    return memory


def page(address, free, waiting):
    rows = [
        line(NODE_CPU, 40.0, ip=address),
        line(RESOURCES, free, Name="CPU", State="AVAILABLE"),
        line(RESOURCES, 2.0 - free, Name="CPU", State="USED"),
        line(RESOURCES, 1e9, Name="memory", State="AVAILABLE"),
        line(RESOURCES, 1.0, Name=f"node:{address}", State="AVAILABLE"),
        line(UNPLACED, waiting, Reason="WaitingForRemoteResources"),
        line(UNPLACED, 7.0, Reason="WaitingForWorkers"),
    ]
    return "\n" + "".join(rows)


def test_resources_are_summed_over_nodes_and_waiting_has_a_duration():
    urls = ("http://10.0.0.1:8080/metrics", "http://10.0.0.2:8080/metrics")
    memory = memory_of({urls[0]: page("10.0.0.1", 0.0, 1.0), urls[1]: page("10.0.0.2", 0.5, 0.0)})
    assert free_resources(memory, NOW) == {"CPU": (0.5, 4.0)}
    assert [unplaced_seconds(memory, NOW + later) for later in (0.0, 4.0)] == [0.0, 4.0]
    memory.absorb({urls[0]: list(Parser().samples(page("10.0.0.1", 0.0, 0.0).encode()))}, NOW + 5.0)
    assert unplaced_seconds(memory, NOW + 5.0) is None, "a worker that waits for its process to start has a place"


def test_pages_of_the_heads_other_processes_are_no_nodes():
    memory = memory_of(
        {"http://10.0.0.1:8080/metrics": page("10.0.0.1", 0.0, 0.0), "http://10.0.0.1:44217/metrics": ""}
    )
    memory.asked({"http://10.0.0.1:8080/metrics": "", "http://10.0.0.1:44217/metrics": "", "http://10.0.0.9:1/": "no"})
    assert {view.address for view in node_views(memory, NOW).values()} == {"10.0.0.1", "10.0.0.9"}
    assert len(node_views(memory, NOW)) == 2


@pytest.mark.parametrize(
    ("reason", "departure", "shown"),
    [
        ("", "unknown", ""),
        ("Terminated due to preemption: the spot instance ends", "planned", "the spot instance ends"),
        ("Expected termination: received SIGTERM", "planned", "received SIGTERM"),
        ("Unexpected termination: health check failed", "failure", "health check failed"),
        ("something new", "failure", "something new"),
    ],
)
def test_rays_reason_says_whether_a_departure_was_planned(reason, departure, shown):
    url = "http://10.0.0.2:8080/metrics"
    memory = memory_of({url: page("10.0.0.2", 0.0, 0.0)})
    memory.asked({}, {"10.0.0.2": reason})
    view = node_views(memory, NOW)[url]
    assert (view.listed, view.departure, view.departure_reason) == (False, departure, shown)


class DashboardServer(ReplyHandler):
    """Lists two nodes and then one; says why one left, and counts how often it is asked."""

    lists = 0
    summaries = 0

    def do_GET(self):
        server = type(self)
        if self.path.startswith("/nodes"):
            server.summaries += 1
            entries = [{"ip": "10.0.0.2", "raylet": DEAD}, {"ip": "10.0.0.2", "raylet": EARLIER}, {"ip": 7}, None]
            document = {"data": {"summary": entries}}
        else:
            document = [{"targets": LISTED[min(server.lists, 1)]}]
            server.lists += 1
        self.reply(json.dumps(document).encode())


def test_dashboard_is_asked_once_why_a_node_left():
    with ReplyServer(DashboardServer) as server:
        targets = DashboardTargets(server.url)
        assert targets.find().departures == {}
        for _ in range(3):
            assert targets.find().departures == {"10.0.0.2": DEAD["stateMessage"]}
    assert DashboardServer.summaries == 1


@pytest.mark.parametrize(
    "document", [None, [], {"data": 1}, {"data": {"summary": {"ip": 1}}}, {"data": {"summary": [3]}}]
)
def test_anything_else_than_a_summary_names_no_dead_node(document):
    assert discovery.dead_nodes(document) == {}

"""What Ray's files and control store say is checked before anything uses it."""

import json

import pytest

from raymon.cluster import cluster_state, control_store
from raymon.cluster.discovery import Raylet

NODE = {"id": "x", "address": "10.0.0.2", "alive": False, "cause": "lost"}
ENDED = {"pid": 7, "node": "10.0.0.2", "kind": "worker", "exit": "killed", "ended_at": 1.8e9}


@pytest.mark.parametrize("bad", [None, 7, "x", [], {}, {**NODE, "id": ["x"]}, {**NODE, "alive": "no"}])
def test_entries_of_another_shape_are_left_out(bad):
    reply = {"at": 1.8e9, "actors": [bad], "workers": [bad, ENDED], "nodes": [bad, NODE]}
    state = cluster_state._parsed(json.dumps(reply))
    assert (state.actors, state.workers, state.nodes, state.error) == ((), (ENDED,), (NODE,), "")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"nodes": [{"address": "a", "metrics_port": Infinity}]}', "7", ""])
def test_other_answers_of_the_control_store_are_one_sentence(text):
    assert control_store._parse(text).error == "what answers there is not a Ray cluster"
    assert cluster_state._parsed(text).error


@pytest.mark.parametrize("address", ["10.0.0.1\x01--x", "10.0.0.1 ", "a/b", "\x1b[31m", "[", ""])
def test_node_address_that_makes_no_url_has_no_endpoint(address, tmp_path):
    raylet = Raylet("10.0.0.1:6379", tmp_path, tmp_path, "ab", address, "8080")
    url = raylet.metrics_url()
    assert url == "" or url.isprintable()
    assert Raylet("10.0.0.1:6379", tmp_path, tmp_path, "ab", "10.0.0.1", "8080").metrics_url()

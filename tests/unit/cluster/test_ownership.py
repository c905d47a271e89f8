"""What other users of the machine plant: their files, processes and listeners are not trusted with anything."""

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from support import short_folder

from raymon.cluster import control_store, discovery
from raymon.cluster.auth import find_token, unencrypted, unencrypted_cluster
from raymon.cluster.http import Reply
from raymon.cluster.ownership import is_local, listener_is_trusted, read_file
from raymon.live.targets import LocalTargets
from raymon.stack.checks import CheckOptions, Inspection
from raymon.stack.checks import grafana as checks_of_grafana
from raymon.stack.checks import ray as checks_of_ray


@pytest.fixture
def foreign_listener(planted):
    """A listening port of the loopback that another user owns."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        planted(listener)
        yield listener.getsockname()[1]


def test_only_regular_files_of_this_user_are_read(tmp_path, planted):
    own, fifo = tmp_path / "own", tmp_path / "fifo"
    own.write_text("mine")
    os.mkfifo(fifo)
    assert read_file(own) == "mine"
    with pytest.raises(OSError, match="not a regular file"):
        read_file(fifo)
    planted(own)
    with pytest.raises(PermissionError, match="belongs to user"):
        read_file(own)
    assert read_file(own, any_owner=True) == "mine"


def test_cluster_address_planted_in_the_temp_dir_is_ignored(tmp_path, planted, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(discovery, "raylets", lambda: ())
    written = tmp_path / "ray_current_cluster"
    written.write_text("192.0.2.1:6379\n")
    assert discovery.cluster_address(tmp_path) == discovery.Address("192.0.2.1:6379")
    planted(written)
    assert discovery.cluster_address(tmp_path) == discovery.Address()


def test_raylet_of_another_user_is_no_session_of_ours(tmp_path, planted):
    session = tmp_path / "ray" / "session_2027-01-01_00-00-00_1_1"
    session.mkdir(parents=True)
    (session / "metrics_export_port_aa").write_text("1111")
    process = tmp_path / "proc" / "12"
    process.mkdir(parents=True)
    arguments = ["/x/raylet", f"--session_dir={session}", "--node_id=aa", "--gcs-address=127.0.0.1:1"]
    (process / "cmdline").write_text("\0".join(arguments))
    assert LocalTargets(tmp_path / "proc").find().urls == ("http://127.0.0.1:1111/metrics",)
    planted(process)
    assert "You run no Ray cluster" in LocalTargets(tmp_path / "proc").find().problem


def test_a_session_folder_cannot_send_escapes_to_the_terminal(tmp_path):
    process = tmp_path / "proc" / "12"
    process.mkdir(parents=True)
    (process / "cmdline").write_text(f"raylet\0--session_dir={tmp_path}/session_\x1b]0;x\x07\0--node_id=a")
    endpoints = LocalTargets(tmp_path / "proc").find()
    assert (endpoints.source + endpoints.problem).isprintable()


def test_listener_of_another_user_is_not_trusted(foreign_listener):
    assert not listener_is_trusted("127.0.0.1", foreign_listener)
    assert not listener_is_trusted("192.0.2.1", foreign_listener)
    assert is_local("localhost")
    assert not is_local("192.0.2.1")


def test_own_listener_is_trusted():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert listener_is_trusted("127.0.0.1", listener.getsockname()[1])


def test_token_is_sent_to_no_discovered_address(tmp_path, monkeypatch, foreign_listener):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(discovery, "raylets", lambda: ())
    address = f"127.0.0.1:{foreign_listener}"
    monkeypatch.setattr(discovery, "cluster_address", lambda _: discovery.Address(address))
    sent = []
    reply = control_store.ControlStoreReply(dashboard_url=f"http://{address}")
    ask = "raymon.stack.checks.inspection.ask_control_store"
    monkeypatch.setattr(ask, lambda *_, send_token, **__: sent.append(send_token) or reply)
    monkeypatch.setattr(Inspection, "get", lambda _self, _url, headers=None: sent.append(headers))
    inspection = Inspection(CheckOptions(temp_dir=tmp_path))
    inspection.ask_dashboard("/api/version")
    assert sent == [False, None]
    named = Inspection(CheckOptions(address=address, dashboard_url=f"http://{address}"))
    named.ask_dashboard("/api/version")
    assert named.cluster is reply
    assert sent[2:] == [{"Authorization": "Bearer secret"}, True]


def test_control_store_that_is_not_trusted_gets_no_token(monkeypatch):
    metadata = []

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            metadata.extend(details.invocation_metadata)

    server = grpc.server(ThreadPoolExecutor(2), (Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret-of-the-test")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    try:
        reply = control_store.ask_control_store(f"127.0.0.1:{port}", timeout=60.0, send_token=False)
        assert reply.error
        assert metadata, "it was asked"
        assert "secret-of-the-test" not in json.dumps([list(map(str, item)) for item in metadata])
    finally:
        server.stop(None)


def test_token_readable_by_others_is_noticed(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    with short_folder() as folder:
        path = folder / "auth_token"
        path.write_text("secret\n")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
        path.chmod(0o644)
        monkeypatch.setattr(Inspection, "get", lambda _, url, headers=None: Reply(url, 200, b"{}"))
        inspection = Inspection(CheckOptions(dashboard_url="http://127.0.0.1:1"))
        assert "is accepted." in checks_of_ray.token(inspection).evidence
        assert not find_token().readable_by_others, "nobody else enters its folder"
        folder.chmod(0o755)
        assert find_token().readable_by_others
        assert (
            checks_of_ray.token(Inspection(CheckOptions(dashboard_url="http://127.0.0.1:1"))).mend
            == f"chmod 600 {path}"
        )
        path.chmod(0o600)
        assert not find_token().readable_by_others


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://head:8265", "unencrypted"), ("http://127.0.0.1:8265", ""), ("http://localhost", ""), ("https://h", "")],
)
def test_token_over_plain_http_draws_a_warning(url, expected):
    assert expected in unencrypted(url)
    assert bool(unencrypted(url)) == bool(expected)


def test_token_over_plain_grpc_and_a_login_over_plain_http_draw_warnings(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    assert "goes to head:6379 unencrypted; set RAY_USE_TLS" in unencrypted_cluster("head:6379")
    assert unencrypted_cluster("127.0.0.1:6379") == unencrypted_cluster("auto") == ""
    monkeypatch.setenv("RAY_USE_TLS", "1")
    assert unencrypted_cluster("head:6379") == ""
    inspection = Inspection(CheckOptions(grafana_url="http://grafana:3000", grafana_auth="token"))
    inspection.grafana_health = {"database": "ok"}, ""
    assert "the login goes to grafana:3000 unencrypted" in checks_of_grafana.reachable(inspection).evidence

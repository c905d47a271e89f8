"""Ask a cluster's control store for its nodes, its dashboard and its version, without joining the cluster.

Ray's client ends the process it lives in when the cluster does not answer, so a child process asks.
"""

import json
import socket
import subprocess
import sys
from dataclasses import dataclass

from raymon import ray_internals
from raymon.cluster.auth import PLACES, find_token, ray_environment


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A living node, as the control store describes it.

    Attributes:
        address: IP address of the node.
        metrics_port: Port of its metrics endpoint, 0 without one.
    """

    address: str
    metrics_port: int


@dataclass(frozen=True, slots=True)
class ControlStoreReply:
    """What a cluster's control store answered.

    Attributes:
        nodes: Every living node.
        dashboard_url: Where its dashboard listens, empty when it has none.
        ray_version: The version of Ray it runs, empty when unknown.
        error: Why there is no answer; empty if there is one.
        refused: Whether it wants a token, or another one.
    """

    nodes: tuple[ClusterNode, ...] = ()
    dashboard_url: str = ""
    ray_version: str = ""
    error: str = ""
    refused: bool = False

    @property
    def metrics_urls(self) -> tuple[str, ...]:
        """The metrics endpoint of every living node."""
        return tuple(f"http://{node.address}:{node.metrics_port}/metrics" for node in self.nodes if node.metrics_port)


def ask_control_store(address: str, timeout: float = 15.0, *, send_token: bool) -> ControlStoreReply:
    """Ask the control store at `host:port`; never raises and takes at most about `timeout` seconds.

    Args:
        address: `host:port`.
        timeout: In seconds.
        send_token: Whether Ray's token may be sent there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return ControlStoreReply(error="expected an address HOST:PORT")
    try:  # Ray's client would wait until its timeout for a port without a listener
        socket.create_connection((host.strip("[]"), int(port)), timeout=min(3.0, timeout)).close()
    except (OSError, OverflowError, UnicodeError) as error:
        return ControlStoreReply(error=f"nothing answers there ({getattr(error, 'strerror', None) or error})")
    environment = ray_environment(send_token=send_token)
    child = [sys.executable, "-c", ray_internals.ASK_CLUSTER, address, str(max(1.0, timeout / 3))]
    try:
        done = subprocess.run(child, capture_output=True, text=True, timeout=timeout, check=False, env=environment)
    except subprocess.TimeoutExpired:
        problem = (
            "not a Ray cluster, or it does not accept the token"
            if send_token
            else "not a Ray cluster, or it wants a token"
        )
        return ControlStoreReply(error=f"no answer within {timeout:g} s: {problem}")
    if done.returncode:
        return _failure(done.stderr, done.returncode, send_token)
    return _parse(done.stdout)


def _parse(output: str) -> ControlStoreReply:
    try:
        known = json.loads(output.splitlines()[-1])
        nodes = tuple(ClusterNode(str(node["address"]), int(node["metrics_port"])) for node in known["nodes"])
        dashboard = str(known["dashboard"])
        return ControlStoreReply(nodes, f"http://{dashboard}" if dashboard else "", str(known["version"]))
    except (IndexError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return ControlStoreReply(error="what answers there is not a Ray cluster")


def _failure(output: str, code: int, send_token: bool) -> ControlStoreReply:
    lines = [line for line in output.splitlines() if line.strip()]
    message = lines[-1].rstrip(".") if lines else f"Ray's client ended with {code}"
    refused = any(word in output for word in ("InvalidAuthToken", "UNAUTHENTICATED", "Unauthenticated"))
    return ControlStoreReply(error=_refusal(send_token) if refused else message, refused=refused)


def _refusal(send_token: bool) -> str:
    token = find_token()
    if not send_token:
        return "it wants a token, which goes only to a cluster that is named: --address HOST:PORT"
    if token:
        return f"the token from {token.place} is not its own"
    return f"it wants a token and there is none in {PLACES}"

"""Start the Ray of a run, or join a cluster. Never stops a Ray that it did not start."""

import importlib.util
import os
import socket
import sys
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from raymon import ray_internals
from raymon.cluster.auth import dashboard_is_trusted, headers_for
from raymon.cluster.http import get
from raymon.cluster.join import JoinError, join
from raymon.cluster.ports import pick_port
from raymon.errors import UserError
from raymon.format import first_line

_CONNECT_SECONDS: Final = 5.0
_DASHBOARD_SECONDS: Final = 3.0
_DEFAULT_MODULES: Final = ("aiohttp", "aiohttp_cors", "colorful", "opencensus", "opentelemetry", "prometheus_client")
"""The modules that `ray[default]` adds to `ray`; without them nothing is exported."""


class ClusterError(UserError):
    """Ray is not installed, or a cluster cannot be started or joined."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The Ray cluster of a run.

    Attributes:
        dashboard_url: Of the Ray Dashboard; None when it does not run.
        metrics_urls: One endpoint per node.
        local: Whether the run started it.
        lists_nodes: Whether its dashboard lists its nodes to this process, so that those that join are seen, and may be
            sent Ray's token.
    """

    dashboard_url: str | None
    metrics_urls: tuple[str, ...]
    local: bool
    lists_nodes: bool = False


def check_ray() -> None:
    """Raise `ClusterError` if Ray lacks the packages that its metrics need; Ray itself only logs that."""
    if missing := missing_modules("ray", *_DEFAULT_MODULES):
        raise ClusterError(
            f"found no package {', '.join(missing)}; without ray[default] Ray exports no metrics: "
            "pip install 'ray[default]'"
        )


def missing_modules(*names: str) -> list[str]:
    """Return the modules that are not installed; with no names, of those that Ray's metrics need."""
    # A module that is loaded may have no spec (colorful replaces itself), on which find_spec raises.
    sought = names or _DEFAULT_MODULES
    return [name for name in sought if not sys.modules.get(name) and importlib.util.find_spec(name) is None]


def start_local(
    *, cpus: int, object_store_mb: int, dashboard: bool = True, dashboard_port: int = 0, temp_dir: Path | None = None
) -> Cluster:
    """Start a Ray on this machine.

    Args:
        cpus: CPUs that Ray schedules at least, even if the machine has fewer.
        object_store_mb: Size of the object store in megabytes.
        dashboard: Whether to start the Ray Dashboard.
        dashboard_port: Its port; 0 takes the next free one.
        temp_dir: Where Ray keeps its session.

    Raises:
        ClusterError: Ray does not start.
        PortError: The dashboard's port is in use.
    """
    import ray

    options: dict[str, Any] = {
        "num_cpus": max(os.cpu_count() or 1, cpus),
        "object_store_memory": object_store_mb * 1_000_000,
        "include_dashboard": dashboard,
        **ray_internals.FAST_REPORTS,
    }
    if dashboard:
        options["dashboard_host"] = "127.0.0.1"
        if dashboard_port:  # otherwise Ray takes the next free one when it begins to listen
            options["dashboard_port"] = pick_port(dashboard_port, 0, "the Ray Dashboard", "--dashboard-port")
    if temp_dir is not None:
        options["_temp_dir"] = str(temp_dir.absolute())
    try:
        context = ray.init(address="local", log_to_driver=False, logging_level="ERROR", **options)
    except Exception as error:
        ray.shutdown()
        hint = "; --no-dashboard starts it without its dashboard" if "dashboard" in str(error) else ""
        raise ClusterError(f"Ray did not start: {first_line(error)}{hint}") from error
    return Cluster(_http(context.dashboard_url), _metrics_urls(), local=True)


def join_running(address: str) -> Cluster:
    """Join the Ray cluster at `address`; raises `ClusterError` when none can be joined there."""
    _check_reachable(address)
    try:
        context = join(address)
    except JoinError as error:
        raise ClusterError(str(error)) from error
    dashboard = _http(context.dashboard_url)
    return Cluster(dashboard, _metrics_urls(), local=False, lists_nodes=_lists_nodes(dashboard))


def _check_reachable(address: str) -> None:
    if address in ("auto", "local"):
        return
    parts = urllib.parse.urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise ClusterError(f"found --address {address!r}, expected host:port of a Ray head, or auto")
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"nothing answers at --address {address} ({error}); start a head there with `ray start --head`, or leave "
            "--address out for a local Ray"
        ) from error


def _lists_nodes(dashboard: str | None) -> bool:
    """Return whether the dashboard of a joined cluster can be named to other processes, which send it the token."""
    if dashboard is None or not dashboard_is_trusted(dashboard, cluster_trusted=True):
        return False
    headers = headers_for(dashboard, cluster_trusted=True)
    return get(f"{dashboard}/api/prometheus/sd", _DASHBOARD_SECONDS, headers).ok


def _http(url: str | None) -> str | None:
    return None if not url else f"http://{url}"


def _metrics_urls() -> tuple[str, ...]:
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    return tuple(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in nodes)

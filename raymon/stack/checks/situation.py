"""What the checks look at: everything outside is asked once, when the first check wants it, each within its time."""

import importlib.util
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from raymon.cluster import discovery
from raymon.live.parse import Parser, SeriesKey
from raymon.stack import fetch, grafana_server, prometheus_server, state
from raymon.stack.bounded import bounded
from raymon.stack.command_line import is_url
from raymon.stack.grafana import Auth, Grafana, GrafanaError

MOST_PAGES: Final = 256
"""Endpoints looked at; a larger cluster is judged by these."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user named; empty means: find it.

    Attributes:
        address: `host:port` of the cluster's control store.
        metrics_urls: Metrics endpoints to look at instead of the cluster's own list.
        dashboard_url: The Ray Dashboard.
        prometheus_url: Prometheus.
        grafana_url: Grafana.
        grafana_auth: How to log in there.
        temp_dir: Ray's temp dir.
        directory: Where `raymon up` keeps its state.
        timeout: Seconds for one question.
    """

    address: str = ""
    metrics_urls: tuple[str, ...] = ()
    dashboard_url: str = ""
    prometheus_url: str = ""
    grafana_url: str = ""
    grafana_auth: Auth = None
    temp_dir: Path | None = None
    directory: Path | None = None
    timeout: float = 3.0


@dataclass(frozen=True, slots=True)
class Place:
    """An address and who named it; `named` is False for a default that nobody asked for."""

    url: str
    named: bool
    by: str


class Situation:
    """The cluster, Prometheus and Grafana as they are now."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.timeout = asked.timeout

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> fetch.Reply:
        """GET within the time for one question."""
        return fetch.get(url, self.timeout, headers)

    # --- Ray --------------------------------------------------------------------------------------------------------

    @cached_property
    def address(self) -> str:
        """The cluster's address, empty when none was named or found."""
        if self.asked.address:
            return self.asked.address.removeprefix("ray://")
        if self.asked.metrics_urls or self.asked.dashboard_url:
            return ""  # somebody else's cluster: what runs here is beside the point
        return discovery.cluster_address(self.asked.temp_dir)

    @cached_property
    def cluster(self) -> discovery.Cluster:
        """What the cluster's control store told."""
        if not self.address:
            return discovery.Cluster("", error="no address")
        return discovery.ask_cluster(self.address, timeout=5 * self.timeout)

    @cached_property
    def raylet(self) -> discovery.Raylet | None:
        """The node of this cluster that runs on this machine, if any."""
        return next((raylet for raylet in discovery.raylets() if raylet.address == self.address), None)

    @cached_property
    def temp_dir(self) -> Path | None:
        """The cluster's temp dir when its files are on this machine."""
        if self.asked.temp_dir:
            return self.asked.temp_dir
        return self.raylet.temp_dir if self.raylet else None

    @cached_property
    def discovery(self) -> discovery.DiscoveryFile | None:
        """The discovery file of the newest session on this machine, None for a cluster elsewhere."""
        return discovery.read_discovery(self.temp_dir) if self.temp_dir else None

    @cached_property
    def dashboard_url(self) -> str:
        """Where the Ray Dashboard listens, empty when the cluster has none or it is not known."""
        return (self.asked.dashboard_url or self.cluster.dashboard_url).rstrip("/")

    def ask_dashboard(self, path: str) -> fetch.Reply:
        """GET a route of the Ray Dashboard with the token, if there is one."""
        return self.get(self.dashboard_url + path, discovery.auth_headers())

    @cached_property
    def metrics_urls(self) -> tuple[str, ...]:
        """The metrics endpoints of the cluster's nodes."""
        if self.asked.metrics_urls:
            return self.asked.metrics_urls
        found = list(self.cluster.metrics_urls)
        if not found and self.dashboard_url:
            reply = self.ask_dashboard("/api/prometheus/sd")
            found = [f"http://{target}/metrics" for target in _targets(reply)]
        if not found and self.discovery and self.discovery.fresh:
            found = [f"http://{target}/metrics" for target in self.discovery.targets]
        return tuple(dict.fromkeys(found))[:MOST_PAGES]

    @cached_property
    def pages(self) -> dict[str, fetch.Reply]:
        """The metrics page of every endpoint."""
        with ThreadPoolExecutor(max_workers=64) as pool:
            return dict(zip(self.metrics_urls, pool.map(self.get, self.metrics_urls), strict=True))

    @cached_property
    def samples(self) -> list[tuple[SeriesKey, float]]:
        """The samples of raymon's and some of Ray's families on all pages."""
        parser = Parser()
        return [sample for reply in self.pages.values() if reply.ok for sample in parser.samples(reply.body)]

    # --- Prometheus and Grafana -------------------------------------------------------------------------------------

    @cached_property
    def stack_directory(self) -> Path:
        """Where `raymon up` keeps its state."""
        return self.asked.directory or state.default_directory()

    @cached_property
    def stack(self) -> state.State:
        """What `raymon up` started here."""
        return state.read(self.stack_directory)

    def _place(self, asked: str, variable: str, part: str, port: int) -> Place:
        if asked:
            return Place(asked.rstrip("/"), True, "given")
        named = os.environ.get(variable, "")
        if named and named != "DISABLED":
            return Place(named.rstrip("/"), True, variable)
        if part in self.stack.parts:
            return Place(self.stack.parts[part].url, True, "raymon up")
        return Place(f"http://127.0.0.1:{port}", False, "default")

    @cached_property
    def prometheus(self) -> Place:
        """Where Prometheus should be."""
        return self._place(
            self.asked.prometheus_url, "RAY_PROMETHEUS_HOST", "prometheus", prometheus_server.DEFAULT_PORT
        )

    @cached_property
    def prometheus_reply(self) -> fetch.Reply:
        """Prometheus's answer to the question the Ray Dashboard asks."""
        return self.get(f"{self.prometheus.url}/api/v1/query?{urlencode({'query': 'vector(1)'})}")

    @property
    def has_prometheus(self) -> bool:
        """Whether a Prometheus answers."""
        return self.prometheus_reply.ok and self.prometheus_reply.json().get("status") == "success"

    def ask_prometheus(self, path: str, **parameters: str) -> dict[str, Any]:
        """Return the `data` of one call of Prometheus's API, empty when it failed."""
        reply = self.get(f"{self.prometheus.url}/api/v1/{path}?{urlencode(parameters)}")
        data = reply.json().get("data")
        return data if reply.ok and isinstance(data, dict) else {}

    @cached_property
    def grafana_place(self) -> Place:
        """Where Grafana should be."""
        return self._place(self.asked.grafana_url, "RAY_GRAFANA_HOST", "grafana", grafana_server.DEFAULT_PORT)

    @property
    def can_ask_grafana(self) -> bool:
        """Whether the package that talks to Grafana is installed: the core comes without it."""
        return importlib.util.find_spec("grafana_api") is not None

    @cached_property
    def grafana_auth(self) -> Auth:
        """How to log in there: as told, or with the password `raymon up` made."""
        if self.asked.grafana_auth:
            return self.asked.grafana_auth
        ours = self.stack.parts.get("grafana")
        kept = grafana_server.password_file(self.stack_directory)
        if ours and ours.url == self.grafana_place.url and kept.exists():
            return (grafana_server.ADMIN, kept.read_text().strip())
        return None

    @cached_property
    def grafana(self) -> Grafana:
        """The adapter for that Grafana.

        Raises:
            GrafanaError: When the package for it is not installed.
        """
        if not self.can_ask_grafana:
            raise GrafanaError("raymon's extra `stack` is not installed")
        return Grafana(self.grafana_place.url, self.grafana_auth, timeout=self.timeout)

    @cached_property
    def grafana_health(self) -> tuple[dict[str, Any], str]:
        """Grafana's health and an empty string, or nothing and why not."""
        try:
            return bounded(self.grafana.health, 1.5 * self.timeout), ""
        except GrafanaError as error:
            return {}, str(error)
        except TimeoutError:
            return {}, f"no complete answer within {1.5 * self.timeout:g} s"

    @property
    def has_grafana(self) -> bool:
        """Whether a healthy Grafana answers."""
        return self.grafana_health[0].get("database") == "ok"


def _targets(reply: fetch.Reply) -> list[str]:
    told = reply.anything()
    entries = [entry for entry in told if isinstance(entry, dict)] if isinstance(told, list) else []
    return [str(target) for entry in entries for target in entry.get("targets", [])]


def host_and_port(url: str) -> str:
    """Return `host:port` of a URL, the same for every name of this machine's loopback; empty for what is no URL."""
    if not is_url(url):
        return ""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        host = "127.0.0.1"
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"

"""The context of the checks: each server is asked once, when the first check needs it, within a time limit."""

import importlib.util
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from raymon.cluster import auth, discovery, http
from raymon.cluster.auth import Token, find_token
from raymon.cluster.control_store import ControlStoreReply, ask_control_store
from raymon.cluster.http import is_url
from raymon.cluster.ownership import is_local
from raymon.live.parse import Parser, SeriesKey
from raymon.stack import grafana_server, prometheus_server, state
from raymon.stack.grafana import Auth, Grafana, GrafanaError

MOST_PAGES: Final = 256
"""Endpoints looked at; a larger cluster is judged by these."""


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What the user named; what is empty is searched for.

    Attributes:
        address: `host:port` of the cluster's control store.
        metrics_urls: Metrics endpoints to look at instead of the cluster's own list.
        dashboard_url: The Ray Dashboard.
        prometheus_url: Prometheus.
        grafana_url: Grafana.
        grafana_auth: How to log in there.
        temp_dir: Ray's temp dir.
        directory: Where `raymon up` keeps its state.
        timeout: Seconds for one request.
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
class ServiceAddress:
    """The address of a server and what named it; `named` is False for the default address."""

    url: str
    named: bool
    by: str


class Inspection:
    """The cluster, Prometheus and Grafana as they are now."""

    def __init__(self, options: CheckOptions) -> None:
        self.options = options
        self.timeout = options.timeout

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> http.Reply:
        """GET within the time limit for one request."""
        return http.get(url, self.timeout, headers)

    # --- Ray --------------------------------------------------------------------------------------------------------

    @cached_property
    def cluster_address(self) -> discovery.Address:
        """The cluster's address and whether the user named it."""
        if self.options.address:
            return discovery.Address(self.options.address.removeprefix("ray://"), named=True)
        if self.options.metrics_urls or self.options.dashboard_url:
            return discovery.Address()  # the user looks at another cluster than this machine's
        return discovery.cluster_address(self.options.temp_dir)

    @property
    def address(self) -> str:
        """The cluster's address, empty when none was named or found."""
        return self.cluster_address.text

    @cached_property
    def cluster(self) -> ControlStoreReply:
        """The answer of the cluster's control store."""
        if not self.address:
            return ControlStoreReply(error="no address")
        return ask_control_store(self.address, timeout=5 * self.timeout, send_token=self.cluster_is_trusted)

    @cached_property
    def cluster_is_trusted(self) -> bool:
        """Whether the control store may be sent Ray's token: it was named, or found and is this user's or root's."""
        return auth.cluster_is_trusted(self.address, named=self.cluster_address.named)

    @cached_property
    def raylet(self) -> discovery.Raylet | None:
        """The node of this cluster that runs on this machine, if any; the head if it does."""
        nodes = [raylet for raylet in discovery.raylets() if raylet.gcs_address == self.address]
        return min(nodes, key=lambda raylet: raylet.node_address != self._head, default=None)

    @property
    def _head(self) -> str:
        return self.address.rpartition(":")[0]

    @cached_property
    def temp_dir(self) -> Path | None:
        """The temp dir of the cluster's head if it is on this machine: other nodes write no discovery file."""
        if self.options.temp_dir:
            return self.options.temp_dir
        raylet = self.raylet
        return raylet.temp_dir if raylet and (raylet.node_address == self._head or is_local(self._head)) else None

    @cached_property
    def discovery(self) -> discovery.DiscoveryFile | None:
        """The discovery file of the newest session on this machine, None for a cluster elsewhere."""
        return discovery.read_discovery(self.temp_dir / discovery.DISCOVERY_FILE) if self.temp_dir else None

    @cached_property
    def dashboard_url(self) -> str:
        """Where the Ray Dashboard listens, empty when the cluster has none or it is not known."""
        return (self.options.dashboard_url or self.cluster.dashboard_url).rstrip("/")

    @cached_property
    def token(self) -> Token:
        """Ray's token."""
        return find_token()

    @cached_property
    def dashboard_is_trusted(self) -> bool:
        """Whether the Ray Dashboard may be sent the token: it was named, or is this user's or root's."""
        return bool(self.options.dashboard_url) or auth.dashboard_is_trusted(
            self.dashboard_url, cluster_trusted=self.cluster_is_trusted
        )

    def ask_dashboard(self, path: str) -> http.Reply:
        """GET a route of the Ray Dashboard, with the token if there is one and it may be sent there."""
        headers = auth.headers_for(self.dashboard_url, named=self.dashboard_is_trusted)
        return self.get(self.dashboard_url + path, headers or None)

    @cached_property
    def metrics_urls(self) -> tuple[str, ...]:
        """The metrics endpoints of the cluster's nodes."""
        if self.options.metrics_urls:
            return self.options.metrics_urls
        urls = list(self.cluster.metrics_urls)
        if not urls and self.dashboard_url:
            reply = self.ask_dashboard("/api/prometheus/sd")
            urls = [f"http://{target}/metrics" for target in discovery.targets_of(reply.document())]
        if not urls and self.discovery and self.discovery.fresh:
            urls = [f"http://{target}/metrics" for target in self.discovery.targets]
        return tuple(dict.fromkeys(urls))[:MOST_PAGES]

    @cached_property
    def pages(self) -> dict[str, http.Reply]:
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
        return self.options.directory or state.default_directory()

    @cached_property
    def stack(self) -> state.StackState:
        """What `raymon up` started here."""
        return state.read(self.stack_directory)

    def _service(self, url: str, variable: str, part: str, port: int) -> ServiceAddress:
        if url:
            return ServiceAddress(url.rstrip("/"), True, "given")
        named = os.environ.get(variable, "")
        if named and named != "DISABLED":
            return ServiceAddress(named.rstrip("/"), True, variable)
        if part in self.stack.parts:
            return ServiceAddress(self.stack.parts[part].url, True, "raymon up")
        return ServiceAddress(f"http://127.0.0.1:{port}", False, "default")

    @cached_property
    def prometheus(self) -> ServiceAddress:
        """Where Prometheus should be."""
        return self._service(
            self.options.prometheus_url, "RAY_PROMETHEUS_HOST", "prometheus", prometheus_server.DEFAULT_PORT
        )

    @cached_property
    def prometheus_reply(self) -> http.Reply:
        """Prometheus's answer to the query that the Ray Dashboard sends."""
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
    def grafana_service(self) -> ServiceAddress:
        """Where Grafana should be."""
        return self._service(self.options.grafana_url, "RAY_GRAFANA_HOST", "grafana", grafana_server.DEFAULT_PORT)

    @property
    def has_grafana_client(self) -> bool:
        """Whether grafana-api is installed, which comes with the extra `stack`."""
        return importlib.util.find_spec("grafana_api") is not None

    @cached_property
    def grafana_auth(self) -> Auth:
        """How to log in there: as given, or with the password of the running Grafana that `raymon up` started.

        Nothing goes to a server that only happens to listen where Grafana usually does, or did before it ended.
        """
        service = self.grafana_service
        started = self.stack.running("grafana")
        ours = started is not None and started.url == service.url
        if self.options.grafana_auth and (ours or service.by in ("given", "RAY_GRAFANA_HOST")):
            return self.options.grafana_auth
        password = grafana_server.password_file(self.stack_directory)
        return (grafana_server.ADMIN, password.read_text().strip()) if ours and password.exists() else None

    @cached_property
    def grafana(self) -> Grafana:
        """The client of that Grafana; raises GrafanaError if grafana-api is not installed."""
        if not self.has_grafana_client:
            raise GrafanaError("raymon's extra `stack` is not installed")
        return Grafana(self.grafana_service.url, self.grafana_auth, timeout=self.timeout)

    @cached_property
    def grafana_health(self) -> tuple[dict[str, Any], str]:
        """Grafana's health and an empty string, or nothing and why not; asked without a login."""
        if not self.has_grafana_client:
            return {}, "raymon's extra `stack` is not installed"
        try:
            return Grafana(self.grafana_service.url, timeout=self.timeout).health(), ""
        except GrafanaError as error:
            return {}, str(error)

    @property
    def has_grafana(self) -> bool:
        """Whether a healthy Grafana answers."""
        return self.grafana_health[0].get("database") == "ok"


def host_and_port(url: str) -> str:
    """Return `host:port` of a URL, the same for every name of this machine's loopback; empty if it is not a URL."""
    if not is_url(url):
        return ""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        host = "127.0.0.1"
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"

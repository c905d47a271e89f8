"""Where to scrape: named endpoints, Ray's discovery file, its dashboard, or a session on this machine.

Asked again every few seconds, since nodes come and go and a new session moves everything. Only reads files and asks the
dashboard; never joins the cluster.
"""

import argparse
import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from raymon.cluster import discovery
from raymon.cluster.auth import headers_for, unencrypted, use_token_file
from raymon.cluster.http import get
from raymon.format import printable

HINT: Final = "Start a run with `raymon train`, or name an endpoint: `--metrics-url http://HOST:PORT/metrics`."
MOST_NAMED: Final = 3
"""So many of the other sessions on this machine are named."""
_DASHBOARD_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints to scrape.

    Attributes:
        urls: The endpoints.
        source: Where they come from, in words.
        problem: Why there are none; empty if there are some.
        departures: Host of a node that has left the cluster to why it did, in Ray's words; empty if unknown.
    """

    urls: tuple[str, ...] = ()
    source: str = ""
    problem: str = ""
    departures: Mapping[str, str] = field(default_factory=dict)


class Targets(Protocol):
    """A source of endpoints, asked again and again."""

    def find(self) -> Endpoints:
        """Return the endpoints as of now; may take a second, never raises."""
        ...


def metrics_url(text: str) -> str:
    """Return the URL of a metrics endpoint from `host:port`, a bare URL or a full one."""
    text = text.strip()
    url = text if "://" in text else f"http://{text}"
    parts = urlsplit(url)
    _ = parts.port  # raises ValueError where it is not a number
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text!r} is not a metrics endpoint; expected http://HOST:PORT/metrics")
    return url if parts.path not in ("", "/") else f"{parts.scheme}://{parts.netloc}/metrics"


@dataclass(frozen=True, slots=True)
class NamedTargets:
    """Endpoints named by the user; a wrong one is a ValueError at once."""

    urls: tuple[str, ...]

    @classmethod
    def of(cls, urls: Iterable[str]) -> "NamedTargets":
        """Return the targets, each URL completed."""
        return cls(tuple(dict.fromkeys(metrics_url(url) for url in urls)))

    def find(self) -> Endpoints:
        """Return them."""
        return Endpoints(self.urls, "given metrics endpoint" + ("s" if len(self.urls) > 1 else ""))


@dataclass(frozen=True, slots=True)
class DiscoveryFileTargets:
    """The endpoints listed in a file in Prometheus's format for file discovery, as Ray's head node writes it."""

    path: Path

    def find(self) -> Endpoints:
        """Read the file."""
        listed = discovery.read_discovery(self.path, named=True)
        source = printable(f"discovery file {self.path}")
        if listed.error:
            return Endpoints((), source, printable(f"The {source}: {listed.error}. ", 500) + HINT)
        urls = endpoints(listed.targets)
        return Endpoints(urls, source, "" if urls else f"The {source} lists no node. {HINT}")


@dataclass(slots=True)
class DashboardTargets:
    """The endpoints that a Ray Dashboard lists; it is sent Ray's token, if there is one."""

    address: str
    _hosts: set[str] = field(default_factory=set)
    _departures: dict[str, str] = field(default_factory=dict)

    def find(self) -> Endpoints:
        """Ask the dashboard."""
        base = (self.address if "://" in self.address else f"http://{self.address}").rstrip("/")
        headers = headers_for(base, named=True)
        warning = unencrypted(base) if headers else ""
        source = f"Ray Dashboard {base}" + (f" ({warning})" if warning else "")
        reply = get(f"{base}/api/prometheus/sd", _DASHBOARD_SECONDS, headers)
        if reply.error:
            hint = " Put Ray's token into RAY_AUTH_TOKEN or ~/.ray/auth_token." if "token" in reply.error else ""
            return Endpoints((), source, f"The Ray Dashboard {base} does not list its nodes: {reply.error}.{hint}")
        document = reply.document()
        if document is None:
            return Endpoints((), source, f"What answers at {base} is not a Ray Dashboard.")
        urls = endpoints(discovery.targets_of(document))
        problem = "" if urls else f"The Ray Dashboard {base} lists no node."
        return Endpoints(urls, source, problem, self._why_left(base, headers, urls))

    def _why_left(self, base: str, headers: Mapping[str, str], urls: Iterable[str]) -> Mapping[str, str]:
        """Return the hosts that were listed before and are not now, with the reason; ask for each only once."""
        hosts = {urlsplit(url).hostname or "" for url in urls}
        self._departures = {host: why for host, why in self._departures.items() if host not in hosts}
        missing = self._hosts - hosts - self._departures.keys()
        if missing:
            reply = get(f"{base}/nodes?view=summary", _DASHBOARD_SECONDS, headers)
            dead = discovery.dead_nodes(reply.document()) if reply.ok else {}
            self._departures.update({host: dead[host] for host in missing if host in dead})
        self._hosts = hosts | (missing - self._departures.keys())
        while len(self._departures) > discovery.MOST_TARGETS:
            del self._departures[next(iter(self._departures))]
        return dict(self._departures)


@dataclass(frozen=True, slots=True)
class PrometheusTargets:
    """The endpoints that a Prometheus scrapes as job `ray`, however it finds them."""

    address: str

    def find(self) -> Endpoints:
        """Ask Prometheus."""
        base = (self.address if "://" in self.address else f"http://{self.address}").rstrip("/")
        source = f"targets of Prometheus {base}"
        reply = get(f"{base}/api/v1/targets?state=active", _DASHBOARD_SECONDS)
        if reply.error:
            return Endpoints((), source, f"Prometheus {base} does not list its targets: {reply.error}.")
        data = reply.json().get("data")
        active = data.get("activeTargets") if isinstance(data, dict) else None
        urls = endpoints(_scraped_as_ray(active if isinstance(active, list) else []))
        return Endpoints(urls, source, "" if urls else f"Prometheus {base} scrapes nothing as job `ray`.")


def _scraped_as_ray(active: Iterable[object]) -> Iterator[str]:
    for target in active:
        labels = target.get("labels") if isinstance(target, dict) else None
        url = target.get("scrapeUrl") if isinstance(target, dict) else None
        if isinstance(url, str) and isinstance(labels, dict) and labels.get("job") == "ray" and url.isprintable():
            yield url


@dataclass(slots=True)
class LocalTargets:
    """A Ray session on this machine: by its discovery file, or without one by its nodes' port files.

    It is the newest one, unless `stay` is set: then the one that was returned last, as long as it runs.
    """

    processes: Path = Path("/proc")
    stay: bool = False
    _session: Path | None = None

    def find(self) -> Endpoints:
        """Look at the raylets that run here, the newest session first."""
        nodes = discovery.raylets(self.processes)
        if not nodes:
            return Endpoints((), "this machine", f"You run no Ray cluster on this machine. {HINT}")
        sessions = list(dict.fromkeys(node.session_dir for node in nodes))
        chosen = self._session if self.stay and self._session in sessions else sessions[0]
        self._session = chosen
        which = _other_sessions(nodes, chosen, newest=chosen == sessions[0])
        for folder in (chosen, chosen.parent):  # Ray writes into the first and links to it, or into the second
            listed = discovery.read_discovery(folder / discovery.DISCOVERY_FILE)
            with contextlib.suppress(OSError):
                if listed.fresh and (folder == chosen or (folder / "session_latest").resolve() == chosen.resolve()):
                    by_file = DiscoveryFileTargets(listed.path).find()
                    if by_file.urls:
                        return replace(by_file, source=f"{by_file.source}{which}")
        urls = tuple(url for node in nodes if node.session_dir == chosen and (url := node.metrics_url()))
        problem = "" if urls else f"The Ray session {chosen} has no metrics endpoint yet."
        return Endpoints(urls, f"Ray session {chosen.name} on this machine{which}", problem)


def _other_sessions(nodes: Sequence[discovery.Raylet], chosen: Path, *, newest: bool) -> str:
    """Return in words that other sessions run here, with an endpoint of each; empty if none does."""
    sessions = len({node.session_dir for node in nodes})
    if sessions == 1:
        return ""
    others: dict[Path, str] = {}
    for node in nodes:
        if node.session_dir != chosen and (url := node.metrics_url()):
            others.setdefault(node.session_dir, url)
    options = " or ".join(f"`--metrics-url {url}`" for url in [*others.values()][:MOST_NAMED])
    which = "the newest" if newest else "the one with a live run"
    return f", {which} of {sessions} sessions" + (f"; for another one: {options}" if options else "")


def endpoints(targets: Iterable[str]) -> tuple[str, ...]:
    """Return the metrics endpoints of `host:port` targets; others are left out."""
    urls: dict[str, None] = {}
    for target in targets:
        with contextlib.suppress(ValueError):
            urls[metrics_url(target)] = None
    return tuple(urls)


def add_options(parser: argparse.ArgumentParser, dashboard: str = "Ray Dashboard: to find the nodes") -> None:
    """Add the options that name the source of the metrics; `dashboard` is the help of `--dashboard-url`."""
    parser.add_argument(
        "--metrics-url",
        action="append",
        default=[],
        metavar="URL",
        help="metrics endpoint of a node, http://HOST:PORT/metrics; repeat for several",
    )
    parser.add_argument(
        "--discovery-file", default="", metavar="FILE", help="Ray's prom_metrics_service_discovery.json"
    )
    parser.add_argument("--dashboard-url", default="", metavar="URL", help=dashboard)
    parser.add_argument("--token-file", default="", metavar="FILE", help="file with Ray's token")


def of_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Targets:
    """Return the targets that the options of `add_options` name; end the process with exit code 2 if they are wrong."""
    use_token_file(args.token_file, os.environ)
    try:
        return choose(args.metrics_url, args.discovery_file, args.dashboard_url, vars(args).get("targets_of", ""))
    except ValueError as error:
        parser.error(str(error))


def choose(
    metrics_urls: Sequence[str] = (), discovery_file: str = "", dashboard: str = "", prometheus: str = ""
) -> Targets:
    """Return the targets that the options of `add_options` name, or those of a Prometheus.

    Raises:
        ValueError: One is wrong, or several are given.
    """
    if sum(map(bool, (metrics_urls, discovery_file, dashboard, prometheus))) > 1:
        raise ValueError("give one of --metrics-url, --discovery-file and --dashboard-url, not several")
    if prometheus:
        metrics_url(prometheus)
        return PrometheusTargets(prometheus)
    if metrics_urls:
        return NamedTargets.of(metrics_urls)
    if discovery_file:
        return DiscoveryFileTargets(Path(discovery_file))
    if dashboard:
        metrics_url(dashboard)
        return DashboardTargets(dashboard)
    return LocalTargets()

"""Find the metrics endpoints of a cluster's nodes: given, from Ray's discovery file, from its dashboard, or found here.

Asked again every few seconds, since nodes come and go and a new session moves everything. Only reads files and asks the
dashboard; never joins the cluster.
"""

import argparse
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from raymon.live.parse import clean
from raymon.live.scrape import MOST_TARGETS, Scraper

DISCOVERY_FILE: Final = "prom_metrics_service_discovery.json"
FRESH_SECONDS: Final = 30.0
"""The head node writes its discovery file every 5 s; an older one belongs to a session that has ended."""
HINT: Final = "Start a run with `raymon train`, or name an endpoint: --metrics-url http://HOST:PORT/metrics."


@dataclass(frozen=True, slots=True)
class Found:
    """The endpoints to scrape; `source` says in words where they are from, `problem` why there are none."""

    urls: tuple[str, ...] = ()
    source: str = ""
    problem: str = ""


class Targets(Protocol):
    """Anything that can say, again and again, which endpoints to scrape."""

    def find(self) -> Found:
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
class Given:
    """Endpoints named by the user; a wrong one is a ValueError at once."""

    urls: tuple[str, ...]

    @classmethod
    def of(cls, urls: Iterable[str]) -> "Given":
        """Return the targets, each URL completed."""
        return cls(tuple(dict.fromkeys(metrics_url(url) for url in urls)))

    def find(self) -> Found:
        """Return them."""
        return Found(self.urls, "given metrics endpoint" + ("s" if len(self.urls) > 1 else ""))


@dataclass(frozen=True, slots=True)
class DiscoveryFile:
    """The endpoints listed in a file in Prometheus's format for file discovery, as Ray's head node writes it."""

    path: Path

    def find(self) -> Found:
        """Read the file."""
        source = f"discovery file {self.path}"
        try:
            entries = json.loads(self.path.read_bytes()[: 4 * 1024 * 1024])
        except OSError as error:
            return Found((), source, f"The discovery file {self.path} cannot be read: {error.strerror}. {HINT}")
        except ValueError:
            return Found((), source, f"The discovery file {self.path} is not JSON. {HINT}")
        urls = endpoints(entries)
        return Found(urls, source, "" if urls else f"The discovery file {self.path} lists no node. {HINT}")


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The endpoints that a Ray Dashboard tells, with Ray's token where one is found."""

    address: str
    scraper: Scraper

    def find(self) -> Found:
        """Ask the dashboard."""
        base = (self.address if "://" in self.address else f"http://{self.address}").rstrip("/")
        source = f"Ray Dashboard {base}"
        (page,) = self.scraper.fetch([f"{base}/api/prometheus/sd"], auth_headers())
        if page.error:
            hint = " Put Ray's token into RAY_AUTH_TOKEN or ~/.ray/auth_token." if "token" in page.error else ""
            return Found((), source, f"The Ray Dashboard {base} does not tell its nodes: {page.error}.{hint}")
        try:
            urls = endpoints(json.loads(page.body))
        except ValueError:
            return Found((), source, f"What answers at {base} is not a Ray Dashboard.")
        return Found(urls, source, "" if urls else f"The Ray Dashboard {base} lists no node.")


@dataclass(slots=True)
class Local:
    """The newest Ray session on this machine: by its discovery file, or without one by its nodes' port files."""

    processes: Path = Path("/proc")
    clock: Callable[[], float] = time.time

    def find(self) -> Found:
        """Look at the raylets that run here, newest session first."""
        nodes = sorted(local_nodes(self.processes), key=lambda node: node.session.name, reverse=True)
        if not nodes:
            return Found((), "this machine", f"No Ray cluster runs on this machine. {HINT}")
        session = nodes[0].session
        listed = session.parent / DISCOVERY_FILE
        with contextlib.suppress(OSError):
            fresh = self.clock() - listed.stat().st_mtime < FRESH_SECONDS
            if fresh and (session.parent / "session_latest").resolve() == session.resolve():
                found = DiscoveryFile(listed).find()
                if found.urls:
                    return found
        urls = tuple(url for node in nodes if node.session == session and (url := node.url()))
        problem = "" if urls else f"The Ray session {session} has no metrics endpoint yet."
        return Found(urls, f"Ray session {session.name} on this machine", problem)


@dataclass(frozen=True, slots=True)
class LocalNode:
    """A Ray node that runs on this machine, as its raylet's command line tells."""

    session: Path
    node_id: str
    address: str
    gcs_address: str = ""

    def url(self) -> str:
        """Return its metrics endpoint; empty while it has none."""
        try:
            port = int((self.session / f"metrics_export_port_{self.node_id}").read_text())
        except (OSError, ValueError):
            return ""
        if not 0 < port < 65536:  # Ray writes -1 until the node's agent has one
            return ""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{port}/metrics"


def local_nodes(processes: Path) -> Iterable[LocalNode]:
    """Yield the Ray nodes among the processes of this machine."""
    for path in processes.glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            arguments = path.read_bytes().decode(errors="replace").split("\0")
            if Path(arguments[0]).name == "raylet":
                told = dict(part.removeprefix("--").split("=", 1) for part in arguments[1:] if "=" in part)
                if told.get("session_dir") and told.get("node_id"):
                    yield LocalNode(
                        Path(told["session_dir"]),
                        told["node_id"],
                        told.get("node_ip_address", "127.0.0.1"),
                        told.get("gcs-address", ""),
                    )


def endpoints(entries: object) -> tuple[str, ...]:
    """Return the metrics endpoints in a parsed discovery document; whatever is not one is left out."""
    found: dict[str, None] = {}
    for entry in entries if isinstance(entries, list) else []:
        targets = entry.get("targets") if isinstance(entry, dict) else None
        for target in targets if isinstance(targets, list) else []:
            with contextlib.suppress(ValueError):
                if isinstance(target, str) and target == clean(target) and len(found) < MOST_TARGETS:
                    found[metrics_url(target)] = None
    return tuple(found)


def auth_headers() -> dict[str, str]:
    """Return the header the Ray Dashboard wants, from where Ray itself looks for its token; empty without one."""
    token = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    if not token:
        named = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
        with contextlib.suppress(OSError):
            token = (Path(named) if named else Path.home() / ".ray" / "auth_token").read_text().strip()
    return {"Authorization": f"Bearer {token}"} if token.isprintable() and token else {}


def add_options(made: argparse.ArgumentParser, dashboard: str = "Ray Dashboard: to find the nodes") -> None:
    """Add the options that say where the numbers come from; `dashboard` is the help of the Ray Dashboard's."""
    made.add_argument(
        "--metrics-url",
        action="append",
        default=[],
        metavar="URL",
        help="metrics endpoint of a node, http://HOST:PORT/metrics; repeat for several",
    )
    made.add_argument("--discovery-file", default="", metavar="FILE", help="Ray's prom_metrics_service_discovery.json")
    made.add_argument("--dashboard-url", default="", metavar="URL", help=dashboard)
    made.add_argument("--token-file", default="", metavar="FILE", help="file with Ray's token")


def use_token(path: str, environment: MutableMapping[str, str]) -> None:
    """Have Ray's token taken from a file, if one is named, whatever the environment says otherwise."""
    if path:
        environment["RAY_AUTH_TOKEN_PATH"] = str(Path(path).resolve())
        environment.pop("RAY_AUTH_TOKEN", None)


def choose(metrics_urls: Sequence[str] = (), discovery_file: str = "", dashboard: str = "") -> Targets:
    """Return the targets that the options of `raymon status` and `raymon top` name; ValueError when one is wrong."""
    if sum((bool(metrics_urls), bool(discovery_file), bool(dashboard))) > 1:
        raise ValueError("give one of --metrics-url, --discovery-file and --dashboard-url, not several")
    if metrics_urls:
        return Given.of(metrics_urls)
    if discovery_file:
        return DiscoveryFile(Path(discovery_file))
    if dashboard:
        metrics_url(dashboard)
        return Dashboard(dashboard, Scraper())
    return Local()

"""The programs next to raymon that the page can link to: Grafana, Prometheus, the Ray Dashboard.

They are asked now and then in a thread; the page never waits for them.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from raymon.live.scrape import Scraper
from raymon.page.footer import Service

PERIOD_SECONDS: Final = 10.0
GRAFANA: Final = "http://127.0.0.1:3000"
PROMETHEUS: Final = "http://127.0.0.1:9090"
DASHBOARD: Final = "http://127.0.0.1:8265"


@dataclass(frozen=True, slots=True)
class Probe:
    """How to tell that a service answers: a GET of `path` returns a body that contains `marker`."""

    name: str
    url: str
    path: str
    marker: bytes
    command: str
    benefit: str


def probes(grafana: str = "", prometheus: str = "", dashboard: str = "") -> tuple[Probe, ...]:
    """Return a probe for each service, at the given URL or at its usual one on this machine."""
    return (
        Probe(
            "Grafana",
            (grafana or GRAFANA).rstrip("/"),
            "/api/health",
            b'"database"',
            "raymon up",
            "history as dashboards (raymon dashboards push installs them).",
        ),
        Probe(
            "Prometheus",
            (prometheus or PROMETHEUS).rstrip("/"),
            "/-/ready",
            b"eady",
            "raymon up",
            "alerts, and history from before this page was opened.",
        ),
        Probe(
            "Ray Dashboard",
            (dashboard or DASHBOARD).rstrip("/"),
            "/api/version",
            b'"ray_version"',
            "ray start --head --include-dashboard=true",
            "actors, logs and stack traces.",
        ),
    )


class Services:
    """Ask every service every ten seconds in a daemon thread."""

    def __init__(self, services: Sequence[Probe]) -> None:
        self._probes = services
        self._scraper = Scraper()
        self._latest: tuple[Service, ...] = ()

    def start(self) -> None:
        """Begin asking."""
        threading.Thread(target=self._run, name="raymon-services", daemon=True).start()

    def latest(self) -> tuple[Service, ...]:
        """Return what was seen last, without waiting; empty before the first round has ended."""
        return self._latest

    def ask(self) -> tuple[Service, ...]:
        """Ask every service now, in the calling thread."""
        pages = self._scraper.fetch([probe.url + probe.path for probe in self._probes])
        return tuple(
            Service(probe.name, probe.url, not page.error and probe.marker in page.body, probe.command, probe.benefit)
            for probe, page in zip(self._probes, pages, strict=True)
        )

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._latest = self.ask()
            pause.wait(PERIOD_SECONDS)

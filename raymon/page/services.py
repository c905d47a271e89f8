"""The programs next to raymon that the page can link to: Grafana, Prometheus, the Ray Dashboard."""

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


def ask(probes: Sequence[Probe], scraper: Scraper) -> tuple[Service, ...]:
    """Ask every service whether it answers."""
    pages = scraper.fetch([probe.url + probe.path for probe in probes])
    return tuple(
        Service(probe.name, probe.url, not page.error and probe.marker in page.body, probe.command, probe.benefit)
        for probe, page in zip(probes, pages, strict=True)
    )

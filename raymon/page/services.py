"""What runs beside raymon and can be linked to: Grafana, Prometheus, the Ray Dashboard.

Asked now and then in a thread of its own; the page never waits for them.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from raymon.live.scrape import Scraper
from raymon.page.layout import Service

PERIOD_SECONDS: Final = 10.0
GRAFANA: Final = "http://127.0.0.1:3000"
PROMETHEUS: Final = "http://127.0.0.1:9090"
DASHBOARD: Final = "http://127.0.0.1:8265"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service would be and how to tell that it is the one meant: a path, and a word in its answer."""

    name: str
    url: str
    path: str
    sign: bytes
    command: str
    gives: str


def places(grafana: str = "", prometheus: str = "", dashboard: str = "") -> tuple[Place, ...]:
    """Return where to look: as given, else where each listens by default on this machine."""
    return (
        Place(
            "Grafana",
            (grafana or GRAFANA).rstrip("/"),
            "/api/health",
            b'"database"',
            "raymon up",
            "history as dashboards (raymon dashboards push puts them there).",
        ),
        Place(
            "Prometheus",
            (prometheus or PROMETHEUS).rstrip("/"),
            "/-/ready",
            b"eady",
            "raymon up",
            "alerts, and history from before this page was opened.",
        ),
        Place(
            "Ray Dashboard",
            (dashboard or DASHBOARD).rstrip("/"),
            "/api/version",
            b'"ray_version"',
            "ray start --head --include-dashboard=true",
            "actors, logs and stack traces.",
        ),
    )


@dataclass(slots=True)
class Services:
    """Asks every place every ten seconds in a thread of its own; `now` never waits."""

    looked_for: Sequence[Place]
    _scraper: Scraper = field(default_factory=Scraper)
    _seen: tuple[Service, ...] = ()
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin asking."""
        threading.Thread(target=self._run, name="raymon-services", daemon=True).start()

    def stop(self) -> None:
        """End the thread at its next turn."""
        self._stop.set()

    def now(self) -> tuple[Service, ...]:
        """Return what answered last; empty before the first round has ended."""
        return self._seen

    def look(self) -> tuple[Service, ...]:
        """Ask every place now, in the calling thread."""
        pages = self._scraper.fetch([place.url + place.path for place in self.looked_for])
        return tuple(
            Service(place.name, place.url, not page.error and place.sign in page.body, place.command, place.gives)
            for place, page in zip(self.looked_for, pages, strict=True)
        )

    def _run(self) -> None:
        while not self._stop.is_set():
            self._seen = self.look()
            self._stop.wait(PERIOD_SECONDS)

"""Collect incidents next to a viewer: the page, `raymon top` and the recorder of a run follow their own collector.

A thread of its own looks at the newest snapshot once a second, so that drawing never waits for evidence.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from raymon.incident.evidence import Evidence
from raymon.incident.journal import Journal
from raymon.incident.store import IncidentStore
from raymon.incident.watcher import Watcher
from raymon.live.snapshot import Snapshot

LOOK_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


class BackgroundWatch:
    """Opens and closes the incidents of the runs that a viewer sees.

    Args:
        latest: Returns the newest snapshot without waiting.
        root: Directory of the runs; incidents go to `root/RUN/incidents`.
        run: Only this run; every run if it is empty.
        journal: Takes the deaths of processes; without it, the control store is asked once per incident.
        dashboard_url: The Ray Dashboard, if the user named one.
    """

    def __init__(
        self,
        latest: Callable[[], Snapshot],
        root: Path,
        run: str = "",
        journal: Journal | None = None,
        dashboard_url: str = "",
    ) -> None:
        self._latest, self._run = latest, run
        on_state, on_death = (None, None) if journal is None else (journal.deaths, journal.death)
        self._evidence = Evidence(on_state, on_death, follow=journal is not None, dashboard_url=dashboard_url)
        self._watcher = Watcher(IncidentStore(root), self._evidence.collect)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="raymon-watch", daemon=True)

    def start(self) -> None:
        """Begin looking."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; wait for evidence that is being collected."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(LOOK_SECONDS + 1.0)
        self._watcher.wait()
        self._evidence.close()

    def _follow(self) -> None:
        rounds = -1
        while not self._stop.wait(LOOK_SECONDS):
            snapshot = self._latest()
            if snapshot.rounds == rounds:
                continue
            rounds = snapshot.rounds
            try:
                self._evidence.follow(snapshot)
                self._watcher.look(snapshot.only(self._run) if self._run else snapshot)
            except Exception:  # noqa: BLE001  # a viewer goes on whatever one snapshot does
                _log.exception("incidents could not be looked for")

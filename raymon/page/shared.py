"""What all viewers of a status page share: one collector, one list of services, one drawing per second and choice.

The server starts the collector before the first viewer comes: a viewer who opens the page after a fault sees what was
before it.
"""

import atexit
import logging
import threading
import time
from collections.abc import Callable, Hashable
from functools import cache, partial, wraps
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from raymon.html.markup import Html
from raymon.incident.incident_thread import BackgroundWatch
from raymon.incident.recording_format import RecordingError
from raymon.incident.recording_writer import RecordingWriter
from raymon.incident.replay import Replay
from raymon.live.collector import Collector
from raymon.live.scrape import Scraper
from raymon.live.snapshot import Snapshot
from raymon.page import layout
from raymon.page.choice import Choice
from raymon.page.command import options, targets_of
from raymon.page.footer import Service
from raymon.page.hurry import courtesy
from raymon.page.incident_list import READ_SECONDS, Summary, read
from raymon.page.polled import Polled
from raymon.page.services import PERIOD_SECONDS, PROMETHEUS, ask, probes

Key: TypeAlias = tuple[Choice, tuple[Service, ...], tuple[Summary, ...]]
"""What a drawing of a snapshot depends on."""
REUSE_SECONDS: Final = 0.5
WATCHED_SECONDS: Final = 3.0
"""Somebody looks if a page was asked for within this time; each viewer asks once a second."""
LONG_SECONDS: Final = 1.0
"""Of a collection."""
STORE_SECONDS: Final = 0.1
"""So long a drawing made in advance waits to be stored; it must not hold up the collection that it is of."""
_log = logging.getLogger(__name__)


class Drawings:
    """The pages drawn last, each for all viewers who chose the same; viewers draw one at a time.

    Two hundred viewers who open the page together cost one drawing a second, and their threads wait for a lock instead
    of competing with the server for the interpreter. A drawing that is too old for another viewer is forgotten: its
    snapshot holds the history of all runs.

    Args:
        most: How many choices are remembered.
        draw: Draws a page; tests count the calls.
    """

    def __init__(self, most: int = 64, draw: Callable[..., Html] = layout.page) -> None:
        self._most = most
        self._draw = draw
        self._lock = threading.Lock()
        self._viewed: Key | None = None
        self._viewed_at = float("-inf")
        self._latest: dict[Key, tuple[Snapshot, float, Html]] = {}

    def page(
        self,
        snapshot: Snapshot,
        choice: Choice,
        services: tuple[Service, ...] = (),
        incidents: tuple[Summary, ...] = (),
    ) -> Html:
        """Return the page as of now, at most half a second old."""
        key = (choice, services, incidents)
        with self._lock:
            self._viewed_at, self._viewed = time.monotonic(), key
            drawn = self._latest.get(key)
            if drawn is not None and drawn[0] is snapshot and time.monotonic() - drawn[1] < REUSE_SECONDS:
                return drawn[2]
            html = self._draw(snapshot, *key)
            now = time.monotonic()
            self._latest.pop(key, None)
            self._latest[key] = (snapshot, now, html)
            for old, (_, drawn_at, _) in list(self._latest.items()):
                if now - drawn_at < REUSE_SECONDS and len(self._latest) <= self._most:
                    break
                del self._latest[old]
            return html

    def prepare(self, snapshot: Snapshot) -> None:
        """Draw what was asked for last with a new snapshot, so that its viewer does not wait for a first drawing of it.

        Only where a collection takes long: of a small fleet, a first drawing is no slower than those that follow.
        """
        key, drawn_at = self._viewed, time.monotonic()
        if key is None or drawn_at - self._viewed_at > WATCHED_SECONDS or snapshot.round_seconds < LONG_SECONDS:
            return
        try:
            html = self._draw(snapshot, *key)
        except Exception:  # noqa: BLE001  # a viewer will see it
            _log.warning("a page cannot be drawn in advance", exc_info=True)
            return
        if self._lock.acquire(timeout=STORE_SECONDS):
            self._latest.pop(key, None)
            self._latest[key] = (snapshot, drawn_at, html)
            self._lock.release()

    def __len__(self) -> int:
        """Return how many drawings, each with its snapshot, are in memory."""
        return len(self._latest)


drawings: Final = Drawings()


K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def once(build: Callable[[K], T]) -> Callable[[K], T]:
    """Build each object once for all viewers, however many of their threads ask for it at the same time."""
    cached, lock = cache(build), threading.Lock()

    @wraps(build)
    def shared(key: K) -> T:
        with lock:
            return cached(key)

    return shared


def snapshot_for(arguments: tuple[str, ...], choice: Choice) -> Snapshot:
    """Return what a viewer sees: the last collection, or the chosen moment of the recording."""
    args = options(arguments)
    if not args.recording:
        return collector(arguments).snapshot()
    recorded = replay(args.recording)
    return recorded.at(recorded.last() if choice.moment is None else choice.moment)


@once
def replay(directory: str) -> Replay:
    """Return the server's one reader of a recording."""
    return Replay(Path(directory))


@once
def services(arguments: tuple[str, ...]) -> Polled[tuple[Service, ...]]:
    """Return the server's one list of services; `arguments` are those of `raymon status`."""
    args = options(arguments)
    asked = probes(args.grafana_url, args.prometheus_url, args.dashboard_url)
    return Polled(partial(ask, asked, Scraper()), (), PERIOD_SECONDS)


@once
def incidents(arguments: tuple[str, ...]) -> Polled[tuple[Summary, ...]]:
    """Return the server's one list of incidents."""
    return Polled(partial(read, options(arguments).runs), (), READ_SECONDS)


@once
def collector(arguments: tuple[str, ...]) -> Collector:
    """Return the server's one collector, running."""
    args = options(arguments)
    url = args.prometheus_url
    recorder = _recorder(args.record)
    running = Collector(
        targets_of(args),
        prometheus_url=url or PROMETHEUS,
        prometheus_expected=bool(url),
        on_round=recorder.add if recorder else None,
        courtesy=courtesy,
        before_shown=drawings.prepare,
    )
    running.start()
    if recorder is not None:
        atexit.register(_end_recording, running, recorder)
    watch = BackgroundWatch(running.latest, args.runs, dashboard_url=args.dashboard_url)
    watch.start()
    atexit.register(watch.close)
    return running


def _end_recording(running: Collector, recorder: RecordingWriter) -> None:
    """Record the last numbers, which say how a run ended."""
    running.stop()
    running.collect()
    recorder.close()


def _recorder(directory: str) -> RecordingWriter | None:
    if not directory:
        return None
    try:
        return RecordingWriter(Path(directory))
    except RecordingError as error:  # the command has checked it before; the page is worth more than its recording
        _log.warning("%s", error)
        return None

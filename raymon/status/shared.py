"""What all viewers of a status page share: one collector and one list of neighbours per server.

The server starts the collector before the first viewer comes: who opens the page after a fault sees what was before.
"""

import threading
from functools import cache
from typing import Final

from raymon.live.collector import Collector
from raymon.status.command import options, targets_of
from raymon.status.neighbours import PROMETHEUS, Neighbours, places

_lock: Final = threading.Lock()


def collector(arguments: tuple[str, ...]) -> Collector:
    """Return the server's one collector, running; `arguments` are those of `raymon status`."""
    with _lock:
        return _collector(arguments)


def neighbours(arguments: tuple[str, ...]) -> Neighbours:
    """Return the server's one list of neighbours, kept current."""
    with _lock:
        return _neighbours(arguments)


@cache
def _collector(arguments: tuple[str, ...]) -> Collector:
    given = options(arguments)
    url = given.prometheus_url
    running = Collector(targets_of(given), prometheus_url=url or PROMETHEUS, prometheus_expected=bool(url))
    running.start()
    return running


@cache
def _neighbours(arguments: tuple[str, ...]) -> Neighbours:
    given = options(arguments)
    running = Neighbours(places(given.grafana_url, given.prometheus_url, given.dashboard_url))
    running.start()
    return running

"""What all viewers of a status page share: one collector and one list of services per server.

The server starts the collector before the first viewer comes: who opens the page after a fault sees what was before.
"""

import threading
from functools import cache
from typing import Final

from raymon.live.collector import Collector
from raymon.page.command import options, targets_of
from raymon.page.services import PROMETHEUS, Services, places

_lock: Final = threading.Lock()


def collector(arguments: tuple[str, ...]) -> Collector:
    """Return the server's one collector, running; `arguments` are those of `raymon status`."""
    with _lock:
        return _collector(arguments)


def services(arguments: tuple[str, ...]) -> Services:
    """Return the server's one list of services, kept current."""
    with _lock:
        return _services(arguments)


@cache
def _collector(arguments: tuple[str, ...]) -> Collector:
    given = options(arguments)
    url = given.prometheus_url
    running = Collector(targets_of(given), prometheus_url=url or PROMETHEUS, prometheus_expected=bool(url))
    running.start()
    return running


@cache
def _services(arguments: tuple[str, ...]) -> Services:
    given = options(arguments)
    running = Services(places(given.grafana_url, given.prometheus_url, given.dashboard_url))
    running.start()
    return running

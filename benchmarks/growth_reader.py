"""A reader of metrics at many times its rate, for `benchmarks.growth`: each collection is one second later.

    python -m benchmarks.growth_reader watch URL FOLDER BEGIN
    python -m benchmarks.growth_reader page URL FOLDER BEGIN PORT

`watch` is the loop of `raymon watch`, which records and collects incidents; `page` is the server of `raymon status`,
whose viewers ask for a drawing as often as it collects. BEGIN is the Unix time of the collection before the first one.
"""

import argparse
import itertools
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from raymon.incident import watch
from raymon.incident.evidence import Evidence
from raymon.incident.journal import Journal
from raymon.incident.store import IncidentStore
from raymon.incident.watcher import Watcher
from raymon.live import targets
from raymon.live.allocator import limit_arenas
from raymon.live.collector import Collector
from raymon.live.snapshot import Snapshot

RUN: Final = "growth"
PAGE_SECONDS: Final = 0.1
"""Between two drawings of the page."""


class FastCollector(Collector):
    """A collector whose clock goes on by a second with each collection."""

    def __init__(self, chosen: Any, begin: float, **options: Any) -> None:  # noqa: ANN401  # those of a collector
        self._seconds = itertools.count(begin)
        self._moment = next(self._seconds)
        super().__init__(chosen, clock=lambda: self._moment, watched=True, **options)

    def collect(self) -> Snapshot:
        """Make one collection, a second after the one before; the next one follows at once."""
        self._moment = next(self._seconds)
        self._wake.set()
        return super().collect()


class EndOfParent(threading.Event):
    """A request to stop that comes once the parent process has ended; nobody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self._parent = os.getppid()

    def is_set(self) -> bool:
        """Return whether the parent has ended."""
        return os.getppid() != self._parent

    def wait(self, timeout: float | None = None) -> bool:
        """Return at once."""
        del timeout
        return self.is_set()


def follow(url: str, folder: Path, begin: float) -> None:
    """Watch, record and collect incidents until the process is ended."""
    limit_arenas()
    journal = Journal(None, folder, RUN)
    collector = FastCollector(targets.choose([url], "", ""), begin, on_round=journal.add)
    evidence = Evidence(journal.deaths, journal.death)
    watcher = Watcher(IncidentStore(folder), evidence.collect)
    args = argparse.Namespace(run=RUN, until_end=False)
    watch._follow(collector, evidence, journal, watcher, args, EndOfParent())  # the loop without its pauses


def serve_page(url: str, folder: Path, begin: float, port: int) -> None:
    """Serve the status page until the process is ended."""
    import streamlit as st

    from raymon.page import serve, shared

    fragment: Callable[..., Any] = st.fragment
    setattr(st, "fragment", lambda run_every: fragment(run_every=run_every * PAGE_SECONDS))  # noqa: B010  # not declared
    setattr(shared, "Collector", partial(FastCollector, begin=begin))  # noqa: B010  # it is a class elsewhere
    serve.main(os.getppid(), "127.0.0.1", port, ("--metrics-url", url, "--runs", str(folder)))


if __name__ == "__main__":
    kind, url, folder, begin, *port = sys.argv[1:]
    if kind == "page":
        serve_page(url, Path(folder), float(begin), int(port[0]))
    else:
        follow(url, Path(folder), float(begin))

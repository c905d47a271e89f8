"""An optional Prometheus: the alerts that fire there, and the history from before the viewer was opened.

Queried in its own thread, so that a Prometheus that hangs delays no collection. Every answer is checked: what is not of
the expected shape counts as no answer, and then no alert is shown.
"""

import json
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import numpy as np

from raymon import catalog
from raymon.format import printable
from raymon.health import ALERTS
from raymon.live.parse import number
from raymon.live.scrape import Scraper
from raymon.live.series import HISTORY
from raymon.live.snapshot import FiringAlert, Floats, RunHistory
from raymon.queries import BOOK

REFRESH_SECONDS: Final = 5.0
HISTORY_SECONDS: Final = 3600.0
MOST_ALERTS: Final = 200
MOST_SERIES: Final = 1000
SILENT_SECONDS: Final = 30.0
"""After this long without an answer nothing that it said is shown any more."""

History = Mapping[str, Mapping[str, tuple[Floats, Floats]]]
"""Run to series name to moments and values."""
_log = logging.getLogger(__name__)


class Prometheus:
    """The HTTP API of one Prometheus, queried every few seconds.

    Args:
        url: Its base address.
        scraper: Fetches its answers; bounded in time and size.
    """

    def __init__(self, url: str, scraper: Scraper | None = None) -> None:
        self.url = (url if "://" in url else f"http://{url}").rstrip("/")
        self._scraper = scraper or Scraper()
        self._stop = threading.Event()
        self._answers = False
        self._answered_at = float("-inf")
        self._alerts: tuple[FiringAlert, ...] | None = None
        self._runs: frozenset[str] = frozenset()
        self._history: History = {}
        self.error = "it has not been queried yet"

    def start(self) -> None:
        """Begin asking in a daemon thread."""
        threading.Thread(target=self._run, name="raymon-prometheus", daemon=True).start()

    def stop(self) -> None:
        """End the thread after its present query."""
        self._stop.set()

    def answers(self) -> bool:
        """Return whether it answered the last query, and not too long ago."""
        return self._answers and time.monotonic() - self._answered_at < SILENT_SECONDS

    def has_rules(self) -> bool:
        """Return whether it evaluates raymon's rules."""
        return self.answers() and self._alerts is not None

    def knows(self, runs: Iterable[str]) -> bool:
        """Return whether it has lately scraped one of these runs, rather than only those of others."""
        return not self._runs.isdisjoint(runs)

    def alerts(self) -> tuple[FiringAlert, ...]:
        """Return raymon's alerts that fire there; none while it does not answer."""
        return (self._alerts or ()) if self.answers() else ()

    def extended(self, run: str, history: RunHistory) -> RunHistory:
        """Return the history with what this Prometheus knows from before its first sample."""
        older = self._history.get(run, {})
        first = history.times[0] if len(history.times) else time.time()
        times = np.unique(np.concatenate([moments[moments < first] for moments, _ in older.values()] or [np.empty(0)]))
        if not len(times):
            return history
        values = {}
        for name, known in history.values.items():
            before = np.full(len(times), np.nan)
            if name in older:
                moments, numbers = older[name]
                kept = moments < first
                before[np.searchsorted(times, moments[kept])] = numbers[kept]
            values[name] = np.concatenate([before, known])
        return replace(history, times=np.concatenate([times, history.times]), values=values)

    def refresh(self) -> None:
        """Query it now, in the calling thread; never raises."""
        try:
            self._refresh()
        except Exception:  # noqa: BLE001  # its answers come from outside; the thread must survive all of them
            _log.warning("an answer of Prometheus at %s cannot be read", self.url, exc_info=True)
            self._answers, self._alerts, self.error = False, None, "its answer cannot be read"

    def _refresh(self) -> None:
        reply = self._query("rules", type="alert")
        self._alerts = _alerts(reply)
        self._answers, self._answered_at = reply is not None, time.monotonic()
        if reply is not None:
            self._runs = self._known_runs()
            if not self._history:
                self._history = self._older()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.refresh()
            self._stop.wait(REFRESH_SECONDS)

    def _known_runs(self) -> frozenset[str]:
        now = time.time()
        span = {"start": f"{now - HISTORY_SECONDS:.0f}", "end": f"{now + 60:.0f}"}
        names = self._query("label/run/values", **{"match[]": catalog.RUN_INFO.name}, **span)
        return (
            frozenset(_shown(name) for name in names if isinstance(name, str))
            if isinstance(names, list)
            else frozenset()
        )

    def _older(self) -> dict[str, dict[str, tuple[Floats, Floats]]]:
        now = time.time()
        history: dict[str, dict[str, tuple[Floats, Floats]]] = {}
        for declared in HISTORY:
            if not declared.query:
                continue
            span = {"start": f"{now - HISTORY_SECONDS:.0f}", "end": f"{now:.0f}", "step": "15"}
            reply = self._query("query_range", query=BOOK[declared.query].fill(), **span)
            for series in _listed(reply, "result")[:MOST_SERIES]:
                run, points = _points(series)
                if len(points):
                    history.setdefault(run, {})[declared.name] = (points[:, 0], points[:, 1])
        return history

    def _query(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - JSON from outside, checked where it is read
        query = f"?{urlencode(parameters)}" if parameters else ""
        (page,) = self._scraper.fetch([f"{self.url}/api/v1/{path}{query}"])
        if page.error:
            self.error = page.error
            return None
        try:
            reply = json.loads(page.body)
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict) or reply.get("status") != "success":
            self.error = "what answers there is not a Prometheus"
            return None
        self.error = ""
        return reply.get("data")


def _alerts(data: object) -> tuple[FiringAlert, ...] | None:
    """Return the alerts of raymon's rules that fire; None if none of the rules is loaded."""
    rules = [rule for group in _listed(data, "groups") for rule in _listed(group, "rules")][:10_000]
    ours = [rule for rule in rules if isinstance(rule, dict) and str(rule.get("name", "")) in ALERTS]
    if not ours:
        return None
    firing = [item for rule in ours for item in _listed(rule, "alerts") if _is_firing(item)]
    return tuple(_alert(item) for item in firing[:MOST_ALERTS])


def _listed(data: object, key: str) -> list[Any]:
    items = data.get(key) if isinstance(data, dict) else None
    return items if isinstance(items, list) else []


def _is_firing(item: object) -> bool:
    return isinstance(item, dict) and item.get("state") == "firing" and isinstance(item.get("labels"), dict)


def _alert(item: Mapping[str, Any]) -> FiringAlert:
    labels, notes = item["labels"], item.get("annotations")
    notes = notes if isinstance(notes, dict) else {}
    name, severity, run, worker = (_shown(labels.get(key, "")) for key in ("alertname", "severity", "run", "worker"))
    summary = printable(str(notes.get("description") or notes.get("summary") or name))
    return FiringAlert(name, severity, summary, run, worker, _age(item.get("activeAt")), "Prometheus")


def _shown(label: object) -> str:
    return printable(catalog.label_text(str(label)))


def _age(moment: object) -> float:
    try:
        return max(0.0, time.time() - datetime.fromisoformat(str(moment)).timestamp())
    except (ValueError, OverflowError, OSError):
        return 0.0


def _points(series: object) -> tuple[str, Floats]:
    """Return the run and `[K, 2]` moments and values of one series of a range query; empty if it is malformed."""
    empty = np.empty((0, 2))
    if not isinstance(series, dict) or not isinstance(series.get("values"), list):
        return "", empty
    labels = series.get("metric")
    run = labels.get("run") if isinstance(labels, dict) else None
    rows = []
    for point in series["values"][:20_000]:
        if isinstance(point, list) and len(point) == 2:
            moment, value = (number(str(part).encode(errors="replace")) for part in point)
            if moment is not None and value is not None:
                rows.append((moment, value))
    return (_shown(run), np.array(rows)) if run is not None and rows else ("", empty)

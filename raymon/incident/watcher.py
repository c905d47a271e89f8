"""Watch verdicts: open an incident once per cause, collect its evidence in the background, close it when it is over."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from raymon.health import Finding
from raymon.incident.cause_lock import CauseLock
from raymon.incident.report import report
from raymon.incident.store import IncidentError, IncidentStore
from raymon.live.snapshot import Snapshot
from raymon.views import RunView

ALSO: Final = ("worker_stalled", "workers_lost", "rollouts_failing", "node_silent", "no_progress")
"""Codes that open an incident although they are warnings: a hang or a loss needs its evidence early."""
OVER_SECONDS: Final = 10.0
"""A finding must be gone for this long before its incident is closed."""
_log = logging.getLogger(__name__)

Collect = Callable[[Snapshot, RunView, Finding], dict[str, Any]]
Cause = tuple[str, str, str]
"""Run, code, worker."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """Something to tell: an incident that opened or closed, or a verdict that changed.

    Attributes:
        kind: `opened`, `closed` or `verdict`.
        folder: Folder of the incident; empty for a verdict or if it was not written.
        hang: Which process hangs, and where, in words; empty if unknown.
    """

    kind: str
    run: str
    code: str
    severity: str
    sentence: str
    at: float
    advice: str = ""
    worker: str = ""
    folder: str = ""
    hang: str = ""


@dataclass(slots=True)
class _Open:
    event: WatchEvent
    last_seen: float
    lock: CauseLock
    data: dict[str, Any] = field(default_factory=dict)
    silent: bool = False


class Watcher:
    """Follow the verdicts of all runs.

    Args:
        store: Where incidents are written.
        collect: Collects the evidence of a finding; runs in a thread of its own, one incident at a time.
        tell: Called with every event, from the thread that calls `look` or from the collecting thread.
    """

    def __init__(
        self, store: IncidentStore, collect: Collect, tell: Callable[[WatchEvent], None] = lambda _: None
    ) -> None:
        self._store, self._collect, self._tell = store, collect, tell
        self._open: dict[Cause, _Open] = {}
        self._verdicts: dict[str, str] = {}
        self._collecting = threading.Lock()
        self._threads: list[threading.Thread] = []

    def look(self, snapshot: Snapshot) -> None:
        """Take in one snapshot; returns at once and never raises."""
        now = snapshot.taken_at
        for run in snapshot.runs:
            verdict = snapshot.verdicts.get(run.run)
            if verdict is None:
                continue
            first = verdict.findings[0]
            if self._verdicts.get(run.run) != first.code:
                self._verdicts[run.run] = first.code
                self._tell(_event("verdict", run.run, first, now))
            for finding in verdict.findings:
                if finding.severity == "critical" or finding.code in ALSO:
                    self._seen(snapshot, run, finding, now)
        self._close_over(now)

    def wait(self, seconds: float = 10.0) -> None:
        """Wait until running collections have ended, at most `seconds` altogether."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _seen(self, snapshot: Snapshot, run: RunView, finding: Finding, now: float) -> None:
        cause = (run.run, finding.code, finding.worker)
        if cause in self._open:
            self._open[cause].last_seen = now
            return
        lock = CauseLock(run, finding.code, finding.worker)
        opened = _Open(_event("opened", run.run, finding, now), now, lock)
        self._open[cause] = opened
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(
            target=self._gather, args=(snapshot, run, finding, opened), name="raymon-incident", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _gather(self, snapshot: Snapshot, run: RunView, finding: Finding, opened: _Open) -> None:
        event = opened.event
        try:
            with self._collecting:
                folder = None
                if opened.lock.take():
                    folder = self._store.create(run.run, finding.code, finding.worker, event.at)
                if folder is not None:
                    data = {**_header(event), **self._collect(snapshot, run, finding)}
                    if self._is_known(run.run, data.get("hang")):
                        folder.rmdir()
                        opened.silent = True
                        return
                    opened.data = data
                    hang = (opened.data.get("hang") or {}).get("sentence", "")
                    opened.event = event = replace(event, folder=str(folder), hang=hang)
                    self._store.write(folder, opened.data, report(opened.data))
        except IncidentError as error:
            _log.warning("%s", error)
        except Exception:  # noqa: BLE001  # the watch goes on whatever one incident does
            _log.exception("the evidence of an incident was not collected")
        self._tell(event)

    def _is_known(self, run: str, hang: dict[str, Any] | None) -> bool:
        """Return whether an open incident is about the same processes that hang: another sign of the same cause."""
        if not hang:
            return False
        known = [each.data.get("hang") for each in list(self._open.values()) if each.event.run == run]
        return any(other and other["processes"] == hang["processes"] for other in known)

    def _close_over(self, now: float) -> None:
        for cause, opened in list(self._open.items()):
            if now - opened.last_seen < OVER_SECONDS:
                continue
            del self._open[cause]
            opened.lock.release()
            event = replace(opened.event, kind="closed", at=now)
            if opened.silent:
                continue
            if opened.data and opened.event.folder:
                opened.data["closed_at"] = now
                try:
                    self._store.write(Path(opened.event.folder), opened.data, report(opened.data))
                except IncidentError as error:
                    _log.warning("%s", error)
            self._tell(event)


def _event(kind: str, run: str, finding: Finding, at: float) -> WatchEvent:
    return WatchEvent(kind, run, finding.code, finding.severity, finding.sentence, at, finding.advice, finding.worker)


def _header(event: WatchEvent) -> dict[str, Any]:
    return {
        "format": 1,
        "run": event.run,
        "code": event.code,
        "severity": event.severity,
        "worker": event.worker,
        "sentence": event.sentence,
        "advice": event.advice,
        "opened_at": event.at,
        "closed_at": None,
    }

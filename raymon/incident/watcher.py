"""Watch verdicts: open an incident once per trouble, collect its evidence in the background, close it when it is over.

One trouble shows in several findings: a lost node is silent, its workers stall, the run makes no progress. Findings
that follow an incident of the same run join it instead of opening another one.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from raymon.health import Finding
from raymon.incident.events import WatchEvent, event_of, header_of
from raymon.incident.evidence import SERIES_SECONDS
from raymon.incident.report import bounded_report
from raymon.incident.run_lock import RunLock
from raymon.incident.store import IncidentError, IncidentStore
from raymon.live.snapshot import Snapshot
from raymon.views import RunView

ALSO: Final = ("worker_stalled", "workers_lost", "rollouts_failing", "rollouts_empty", "node_silent", "no_progress")
"""Codes that open an incident although they are warnings: a hang or a loss needs its evidence early."""
OVER_SECONDS: Final = 10.0
"""A finding must be gone for this long before its incident is closed."""
JOIN_SECONDS: Final = 60.0
"""What else goes wrong within this time of an incident's beginning has most likely the same cause."""
APART: Final = ("failed", "killed", "driver_gone")
"""The end of a run is an incident of its own, whatever came before: users want to be notified of it."""
REASON_SECONDS: Final = 3.0
"""A failed run is reported at most so much later, so that the exception, which arrives after the state, is in it."""
MOST_FOLLOWED: Final = 20
MOST_COLLECTIONS: Final = 3
"""Evidence is collected again while it shows no line that hangs, up to this often."""
_log = logging.getLogger(__name__)

Collect = Callable[[Snapshot, RunView, Finding], dict[str, Any]]
Cause = tuple[str, str]
"""Code and worker of a finding."""


@dataclass(slots=True)
class _Open:
    """An incident that is not over: the findings that belong to it, each with the moment it was last seen."""

    event: WatchEvent
    causes: dict[Cause, float]
    data: dict[str, Any] = field(default_factory=dict)
    collections: int = 0
    closed_at: float | None = None

    def takes(self, finding: Finding, now: float) -> bool:
        """Return whether a new finding belongs to this incident."""
        if finding.code in APART:
            return False
        same_worker = bool(finding.worker) and finding.worker in [worker for _, worker in self.causes]
        return same_worker or now - self.event.at <= JOIN_SECONDS


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
        self._open: dict[str, list[_Open]] = {}
        self._locks: dict[str, RunLock] = {}
        self._verdicts: dict[str, str] = {}
        self._failed_at: dict[str, float] = {}
        self._unreported: Snapshot | None = None
        self._collecting = threading.Lock()
        self._changing = threading.Lock()
        self._threads: list[threading.Thread] = []

    def look(self, snapshot: Snapshot) -> None:
        """Take in one snapshot; returns at once and never raises."""
        self._look(snapshot, REASON_SECONDS)

    @property
    def awaits_reason(self) -> bool:
        """Whether a failed run is not reported yet, as its exception may still come."""
        return self._unreported is not None

    def _look(self, snapshot: Snapshot, patience_seconds: float) -> None:
        now, self._unreported = snapshot.taken_at, None
        for run in snapshot.runs:
            verdict = snapshot.verdicts.get(run.run)
            if verdict is None:
                continue
            if self._may_be_explained(run, now, patience_seconds):
                self._unreported = snapshot
                continue
            first = verdict.findings[0]
            if self._verdicts.get(run.run) != first.code:
                self._verdicts[run.run] = first.code
                self._tell(event_of("verdict", run.run, first, now))
            with self._changing:
                for finding in verdict.findings:
                    if finding.severity == "critical" or finding.code in ALSO:
                        self._seen(snapshot, run, finding, now)
                self._still_stalled(
                    run.run, [judged.worker for judged in verdict.workers if judged.state == "stalled"], now
                )
        self._close_over(now)

    def wait(self, seconds: float = 10.0) -> None:
        """Report what waits for a reason; wait until running collections have ended, at most `seconds` altogether."""
        if self._unreported is not None:
            self._look(self._unreported, 0.0)
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _may_be_explained(self, run: RunView, now: float, patience_seconds: float) -> bool:
        """Return whether a failed run lacks its exception, and has not done so for long."""
        if run.state != "failed" or run.driver_exit or run.driver_pid is None:
            self._failed_at.pop(run.run, None)
            return False
        return now - self._failed_at.setdefault(run.run, now) < patience_seconds

    def _seen(self, snapshot: Snapshot, run: RunView, finding: Finding, now: float) -> None:
        cause = (finding.code, finding.worker)
        incidents = self._open.setdefault(run.run, [])
        for incident in incidents:
            if cause in incident.causes:
                incident.causes[cause] = now
                return
        joined = next((incident for incident in incidents if incident.takes(finding, now)), None)
        if joined is not None:
            joined.causes[cause] = now
            self._start(self._follow_up, snapshot, run, finding, joined)
            return
        opened = _Open(event_of("opened", run.run, finding, now), {cause: now})
        incidents.append(opened)
        self._start(self._gather, snapshot, run, finding, opened)

    def _still_stalled(self, run: str, stalled: Sequence[str], now: float) -> None:
        """Keep the incident of one stalled worker open when the finding is about several of them now."""
        for incident in self._open.get(run, ()):
            for cause in incident.causes:
                if cause[0] == "worker_stalled" and cause[1] in stalled:
                    incident.causes[cause] = now

    def _start(
        self, work: Callable[..., None], snapshot: Snapshot, run: RunView, finding: Finding, incident: _Open
    ) -> None:
        """Collect in a thread, which may wait for others: it keeps no more of the snapshot than evidence is made of."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        about = (snapshot.excerpt(run.run, SERIES_SECONDS), run, finding, incident)
        thread = threading.Thread(target=self._run, args=(work, *about), name="raymon-incident", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, work: Callable[..., None], *about: object) -> None:
        try:
            with self._collecting:
                work(*about)
        except IncidentError as error:
            _log.warning("%s", error)
        except Exception:  # noqa: BLE001  # the watch goes on whatever one incident does
            _log.exception("the evidence of an incident was not collected")

    def _gather(self, snapshot: Snapshot, run: RunView, finding: Finding, opened: _Open) -> None:
        """Collect the evidence of a new incident and write it, unless it is another sign of an open one."""
        event, same = opened.event, None
        try:
            if self._locks.setdefault(run.run, RunLock(run)).take():
                data = {**header_of(event), **self._collect(snapshot, run, finding)}
                opened.collections += 1
                same = self._with_hang(run.run, data.get("hang"))
                if same is not None:
                    self._merge(same, opened, finding)
                elif folder := self._store.create(run.run, finding.code, finding.worker, event.at):
                    hang = (data.get("hang") or {}).get("sentence", "")
                    opened.event = event = replace(event, folder=str(folder), hang=hang)
                    opened.data = data
                    self._write(opened)
        finally:
            if same is None:
                self._tell(event)

    def _follow_up(self, snapshot: Snapshot, run: RunView, finding: Finding, incident: _Open) -> None:
        """Add a finding to the incident it joined; collect again for a worker that was lost, or a line that hangs."""
        if not incident.data:
            return
        unknown = not (incident.data.get("hang") or {}).get("where")
        if (unknown or finding.code == "workers_lost") and incident.collections < MOST_COLLECTIONS:
            incident.collections += 1
            data = self._collect(snapshot, run, finding)
            if unknown and (data.get("hang") or {}).get("where"):
                incident.data.update(hang=data["hang"], stacks=data.get("stacks"))
            incident.data.update({part: data[part] for part in ("cluster", "deaths") if part in data})
        self._add(incident, finding, snapshot.taken_at)

    def _with_hang(self, run: str, hang: dict[str, Any] | None) -> _Open | None:
        """Return the open incident in which the same processes hang."""
        known = [incident for incident in self._open.get(run, ()) if hang and incident.data.get("hang")]
        return next((each for each in known if hang and each.data["hang"]["processes"] == hang["processes"]), None)

    def _merge(self, incident: _Open, other: _Open, finding: Finding) -> None:
        """Make an incident that was about to be opened a part of another one."""
        with self._changing:
            incident.causes.update(other.causes)
            if other.closed_at is None:
                self._open[incident.event.run].remove(other)
        self._add(incident, finding, other.event.at)

    def _add(self, incident: _Open, finding: Finding, at: float) -> None:
        followed = incident.data.setdefault("followed_by", [])
        if len(followed) < MOST_FOLLOWED:
            entry = {"at": at, "code": finding.code, "worker": finding.worker, "sentence": finding.sentence}
            followed.append(entry)
        self._write(incident)

    def _write(self, incident: _Open) -> None:
        incident.data["closed_at"] = incident.closed_at
        self._store.write(Path(incident.event.folder), incident.data, bounded_report(incident.data))

    def _close_over(self, now: float) -> None:
        with self._changing:
            over = self._remove_over(now)
        for closed in over:
            if closed.data:
                try:
                    self._write(closed)
                except IncidentError as error:
                    _log.warning("%s", error)
            self._tell(replace(closed.event, kind="closed", at=now))

    def _remove_over(self, now: float) -> list[_Open]:
        over = []
        for run, incidents in list(self._open.items()):
            for incident in [each for each in incidents if now - max(each.causes.values()) >= OVER_SECONDS]:
                incident.closed_at = now
                incidents.remove(incident)
                over.append(incident)
            if not incidents:
                del self._open[run]
                if lock := self._locks.pop(run, None):
                    lock.release()
        return over

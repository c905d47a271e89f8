"""The frames in which silent processes of a run are: read in the background, and only while a verdict needs them.

The collector never waits for it: what is read during one round is used from the next one on.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from raymon.catalog import DRIVER
from raymon.cluster import cluster_state, discovery
from raymon.format import printable
from raymon.health import RunVerdict
from raymon.live import process_state
from raymon.live.stack_files import Process, StackFiles
from raymon.monitor import process_evidence
from raymon.monitor.frames import Frame, where
from raymon.monitor.native import dump_name
from raymon.monitor.private_files import private_folder
from raymon.monitor.process_evidence import ProcessEvidence
from raymon.monitor.standstill import LOGS, file_name
from raymon.views import RunView

PERIOD_SECONDS: Final = 1.0
KEPT_SECONDS: Final = 8.0
"""What was read longer ago does not hold any more."""
MOST_PROCESSES: Final = 16
SILENT_SECONDS: Final = 4.0
_WORKER_STATES: Final = ("suspect", "stalled")
_RUN_STATES: Final = ("no_progress", "driver_gone", "stale", "worker_stalled", "killed")
_ENDED: Final = ("finished", "stopped", "failed")
_LOOKS_AT_END: Final = 5
"""A driver that failed left its exception before its last state: what is not found then is not there."""
_LONGEST_EXIT: Final = 200
ReadStacks = Callable[[Iterable[Process]], dict[Process, ProcessEvidence]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """The frame in which one process is.

    Attributes:
        run: The run.
        worker: The worker; `driver` for the driver.
        where: Innermost frame of the user's own code, as `Env.step → recv (my_env.py:88)`; empty if not known.
        process: `native` (holds the GIL), `native_busy` (and uses CPU), or what the kernel says: `gone`, `stopped`,
            `swapping`, `starved`, `busy`, `idle`; empty if not known.
        since: Wall-clock second since when it makes no progress; 0 if not known.
        waits_for: Workers whose results it waits for.
        exit: Why the process ended: its exception and the line that raised it, else Ray's words; empty if not known.
    """

    run: str
    worker: str
    where: str = ""
    process: str = ""
    since: float = 0.0
    waits_for: tuple[str, ...] = ()
    exit: str = ""


class Wanted(NamedTuple):
    """A process to look at.

    Attributes:
        first: Only to note that it runs on this machine.
        ended: It has ended with an exception.
    """

    run: str
    worker: str
    process: Process
    first: bool = False
    ended: bool = False


class Places:
    """Reads the frames of processes in a thread that starts with the first request.

    Args:
        read_stacks: Returns what processes left behind; tests replace it.
    """

    def __init__(self, read_stacks: ReadStacks | None = None) -> None:
        self._read_stacks = read_stacks or StackFiles().read
        self._wanted: tuple[Wanted, ...] = ()
        self._places: dict[tuple[str, str], tuple[float, Place]] = {}
        self._readings: dict[Process, process_state.Reading] = {}
        self._exits: dict[Process, str] = {}
        self._noted: set[Process] = set()
        self._ends: dict[Process, tuple[int, str]] = {}
        self._sessions: dict[str, set[Path]] = {}
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def known(self, wanted: Sequence[Wanted]) -> tuple[Place, ...]:
        """Return what is known of processes, and have them looked at; never waits."""
        ended = tuple(self._end(one) for one in wanted if one.ended and one.process in self._ends)
        self._wanted = tuple(one for one in wanted if self._is_open(one))[:MOST_PROCESSES]
        if not self._wanted:
            return ended
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="raymon-places", daemon=True)
            self._thread.start()
        self._wake.set()
        oldest = time.monotonic() - KEPT_SECONDS
        held = [self._places.get((one.run, one.worker)) for one in self._wanted if not (one.first or one.ended)]
        return (*ended, *(entry[1] for entry in held if entry is not None and entry[0] > oldest))

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._wake.set()

    def _is_open(self, one: Wanted) -> bool:
        """Return whether there is something to find out about a process."""
        if one.ended:
            looks, text = self._ends.get(one.process, (0, ""))
            return not text and looks < _LOOKS_AT_END
        return not one.first or one.process not in self._noted

    def _end(self, one: Wanted) -> Place:
        return Place(one.run, one.worker, exit=self._ends[one.process][1])

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait()
            self._wake.clear()
            try:
                self._look(self._wanted)
            except Exception:  # noqa: BLE001  # what is missing must not end the thread
                _log.warning("the frames of processes cannot be read", exc_info=True)
            time.sleep(PERIOD_SECONDS)

    def _look(self, wanted: Sequence[Wanted]) -> None:
        raylets = discovery.raylets()
        for raylet in raylets:
            self._sessions.setdefault(raylet.node_address, set()).add(raylet.session_dir)
        silent = [one.process for one in wanted if not one.first]
        evidence = self._read_stacks(silent) if silent else {}
        for one in wanted:
            if one.ended:
                looks, _ = self._ends.get(one.process, (0, ""))
                self._ends[one.process] = (looks + 1, self._exception(one.process, evidence.get(one.process)))
                continue
            self._noted.add(one.process)
            state = self._state(one.process, raylets)
            if one.first:
                continue
            left = evidence.get(one.process)
            place = Place(one.run, one.worker, process=state)
            if left is not None and left.state != "none" and state != "gone":
                native = {"busy": "native_busy"}.get(state, "native") if state not in ("stopped", "swapping") else state
                process = native if left.state == "native" else state
                place = replace(
                    place,
                    where=left.where,
                    process=process,
                    since=left.silent_since or 0.0,
                    waits_for=left.waits_for,
                )
            if state == "gone":
                place = replace(place, exit=self._exit(one.process, raylets))
            self._places[one.run, one.worker] = (time.monotonic(), place)

    def _state(self, process: Process, raylets: Iterable[discovery.Raylet]) -> str:
        """Return the state of a process that is known to run, or to have run, on this machine; else empty."""
        before, now = self._readings.get(process), process_state.read(process[1])
        if before is None and not _left_files(process, raylets):
            return ""
        state = process_state.state_between(before, now)
        if now is not None and state != "gone" and (state or before is None):
            self._readings[process] = now
        return state

    def _exception(self, process: Process, left: ProcessEvidence | None) -> str:
        """Return the exception that ended a process; its session's files outlive a cluster that ends with it."""
        node, pid = process
        for session in self._sessions.get(node, ()) if left is None else ():
            left = left or process_evidence.read(session, pid)
        if left is None or not left.end or not left.end.get("exception"):
            return ""
        message = str(left.end.get("message") or "")
        place = _place_of(left.end.get("remote_frames") or left.end.get("frames"))
        text = f"{left.end['exception']}{f': {message}' if message else ''}"
        return f"{printable(text, _LONGEST_EXIT)}{f', in `{printable(place, _LONGEST_EXIT)}`' if place else ''}"

    def _exit(self, process: Process, raylets: Sequence[discovery.Raylet]) -> str:
        """Return why a process ended as its cluster's control store says; ask it once."""
        node, pid = process
        address = next((raylet.gcs_address for raylet in raylets if raylet.node_address == node), "")
        if process not in self._exits and address:
            entry = cluster_state.ask(address, 5.0).ended(pid, node)
            self._exits[process] = str(entry["exit"]) if entry else ""
        return self._exits.get(process, "")


def _place_of(frames: object) -> str:
    """Return the line of the user's own code in the frames of an exception, which come from a file."""
    try:
        known = [Frame(str(each[0]), str(each[1]), int(each[2])) for each in frames]  # type: ignore[attr-defined]
    except (TypeError, ValueError, IndexError, KeyError):
        return ""
    return where(known)


def _left_files(process: Process, raylets: Iterable[discovery.Raylet]) -> bool:
    """Return whether a process of this id has recorded in a session of this machine."""
    node, pid = process
    for session in {raylet.session_dir for raylet in raylets if raylet.node_address == node}:
        for name in (dump_name(pid), file_name(pid)):
            with contextlib.suppress(OSError), private_folder(session / LOGS) as folder:
                os.stat(name, dir_fd=folder, follow_symlinks=False)
                return True
    return False


def wanted(runs: Iterable[tuple[RunView, RunVerdict]]) -> list[Wanted]:
    """Return the processes the verdicts want to know of: silent workers, a driver that waits or that failed."""
    processes = []
    for view, verdict in runs:
        if view.state == "failed" and view.driver_node and view.driver_pid and not view.problem:
            processes.append(Wanted(view.run, DRIVER, (view.driver_node, view.driver_pid), ended=True))
        if view.state in _ENDED or view.problem:
            continue
        states = {worker.worker: worker.state for worker in verdict.workers}
        silent = [worker for worker in view.workers if states.get(worker.worker) in _WORKER_STATES]
        processes += [Wanted(view.run, w.worker, (w.node, w.pid)) for w in silent if w.node and w.pid]
        if view.driver_node and view.driver_pid:
            waits = (view.driver_heartbeat_age_seconds or 0.0) > SILENT_SECONDS + (view.report_seconds or 1.0)
            trouble = bool(silent) or waits or verdict.state in _RUN_STATES
            driver = Wanted(view.run, DRIVER, (view.driver_node, view.driver_pid), first=not trouble)
            processes.insert(0, driver)
    return processes


def placed(view: RunView, places: Iterable[Place], now: float) -> RunView:
    """Return a view with the known frames of its processes."""
    known = {place.worker: place for place in places if place.run == view.run}
    if not known:
        return view
    workers = tuple(
        replace(worker, where=known[worker.worker].where, process=known[worker.worker].process)
        if worker.worker in known
        else worker
        for worker in view.workers
    )
    view = replace(view, workers=workers)
    if (driver := known.get(DRIVER)) is None:
        return view
    names = {worker.worker for worker in view.workers}
    return replace(
        view,
        driver_where=driver.where,
        driver_process=driver.process,
        driver_waits_for=tuple(name for name in driver.waits_for if name in names),
        driver_silent_seconds=_silent_seconds(driver.since, view.last_update_age_seconds, now),
        driver_exit=driver.exit,
    )


def _silent_seconds(since: float, last_update_age: float | None, now: float) -> float | None:
    """Return for how long the driver has made no progress; an update since then counts as one."""
    if not since:
        return None
    silent = max(0.0, now - since)
    return silent if last_update_age is None else min(silent, last_update_age)

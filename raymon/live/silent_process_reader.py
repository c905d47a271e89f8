"""Read what silent processes of a run are doing, their stacks and kernel state, in the background on request.

The collector never waits: what is read during one round is used from the next one on.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from raymon.catalog import DRIVER
from raymon.cluster import cluster_state, discovery
from raymon.format import printable
from raymon.live import process_state
from raymon.live.evidence_files import EvidenceFiles, Process
from raymon.live.silent_processes import MOST_PROCESSES, MOST_RUNS, ProcessRequest, SilentProcess
from raymon.live.worker_losses import worker_losses
from raymon.monitor import process_evidence
from raymon.monitor.frames import Frame, where
from raymon.monitor.native_stacks import dump_name
from raymon.monitor.private_files import private_folder
from raymon.monitor.process_evidence import ProcessEvidence
from raymon.monitor.standstill import LOGS, file_name
from raymon.views import EXITED, WorkerLoss

PERIOD_SECONDS: Final = 1.0
KEPT_SECONDS: Final = 8.0
"""Older readings are not used."""
MOST_KEPT: Final = 1_000
"""Processes of which anything is kept, the newest: each restart of a worker is another process."""
MOST_SESSIONS: Final = 64
"""Sessions of a node whose files are looked at, the newest."""
_READINGS_AT_END: Final = 5
"""A failed driver writes its exception before its last state: what is missing after so many readings stays missing."""
_LONGEST_EXIT: Final = 200
ReadStacks = Callable[[Iterable[Process]], dict[Process, ProcessEvidence]]
_log = logging.getLogger(__name__)


class _End(NamedTuple):
    """The exception that ended a driver, or `EXITED`; when it was written, and how often it was looked for.

    The exception is empty if it is not known.
    """

    exception: str = ""
    at: float = 0.0
    readings: int = 0
    lost_pid: int = 0
    state: str = ""


class SilentProcessReader:
    """Read stacks and states of processes in a thread that starts with the first request.

    Args:
        read_stacks: Returns what processes left behind; tests replace it.
    """

    def __init__(self, read_stacks: ReadStacks | None = None) -> None:
        self._read_stacks = read_stacks or EvidenceFiles().read
        self._requests: tuple[ProcessRequest, ...] = ()
        self._processes: dict[tuple[str, str], tuple[float, Process, SilentProcess]] = {}
        self._readings: dict[tuple[str, str, Process], process_state.Reading] = {}
        self._exits: dict[Process, str] = {}
        self._noted: dict[Process, None] = {}
        self._ends: dict[tuple[str, Process], _End] = {}
        self._sessions: dict[str, dict[Path, None]] = {}
        self._losses: dict[str, tuple[Process, tuple[WorkerLoss, ...]]] = {}
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def known(self, requests: Sequence[ProcessRequest]) -> tuple[SilentProcess, ...]:
        """Return what is known of processes, and have them read again; never waits."""
        for remembered in (self._processes, self._readings, self._exits, self._noted, self._ends):
            _keep_newest(remembered, MOST_KEPT)
        for request in requests:
            kept = self._losses.get(request.run)
            if request.worker == DRIVER and kept is not None and kept[0] != request.process:
                self._losses.pop(request.run, None)  # they are of an earlier run of that name
            key = request.run, request.process
            if (end := self._ends.get(key)) is not None and end.exception and end.at < request.since:
                self._ends.pop(key, None)  # likewise, or the driver goes on
        ended = tuple(self._end(request) for request in requests if self._has_end(request))
        self._requests = tuple(request for request in requests if self._is_open(request))[:MOST_PROCESSES]
        if not self._requests:
            return ended
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="raymon-silent-processes", daemon=True)
            self._thread.start()
        self._wake.set()
        oldest = time.monotonic() - KEPT_SECONDS
        silent = [request for request in self._requests if not (request.first or request.ended)]
        silent = [request for request in silent if (request.run, request.process) not in self._ends]
        readings = [(request.process, self._processes.get((request.run, request.worker))) for request in silent]
        recent = [
            (process, reading)
            for process, reading in readings
            if reading is not None and (reading[0] > oldest or reading[2].process == "gone")
        ]
        return (*ended, *(reading[2] for process, reading in recent if reading[1] == process))

    def losses(self) -> Mapping[str, tuple[WorkerLoss, ...]]:
        """Return by run the workers that its driver lost, as far as they have been read; never waits."""
        return {run: losses for run, (_, losses) in self._losses.copy().items()}

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._wake.set()

    def _is_open(self, request: ProcessRequest) -> bool:
        """Return whether another reading can add something."""
        if request.ended:
            end = self._ends.get((request.run, request.process), _End())
            return not end.exception and end.readings < _READINGS_AT_END
        if self._has_end(request):
            return False
        return request.lost or not request.first or request.process not in self._noted

    def _has_end(self, request: ProcessRequest) -> bool:
        """Return whether it is known that a process ended, with which exception if it is not requested as ended."""
        end = self._ends.get((request.run, request.process))
        return end is not None and (request.ended or bool(end.exception))

    def _end(self, request: ProcessRequest) -> SilentProcess:
        end = self._ends[request.run, request.process]
        return SilentProcess(request.run, request.worker, exit=end.exception, lost_pid=end.lost_pid, state=end.state)

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait()
            self._wake.clear()
            try:
                self._read(self._requests)
            except Exception:  # noqa: BLE001  # a failed reading must not end the thread
                _log.warning("cannot read the stacks of silent processes", exc_info=True)
            time.sleep(PERIOD_SECONDS)

    def _read(self, requests: Sequence[ProcessRequest]) -> None:
        raylets = discovery.raylets()
        for raylet in raylets:
            sessions = self._sessions.setdefault(raylet.node_address, {})
            sessions.pop(raylet.session_dir, None)
            sessions[raylet.session_dir] = None
            _keep_newest(sessions, MOST_SESSIONS)
        silent = [request.process for request in requests if request.lost or not request.first]
        evidence = self._read_stacks(silent) if silent else {}
        gone = []
        for run, worker, process, first, ended, _, since in requests:
            self._take_losses(run, worker, process, evidence.get(process))
            if ended:
                readings = self._ends.get((run, process), _End()).readings
                end = self._exception(process, evidence.get(process), since)
                self._ends[run, process] = end._replace(readings=readings + 1)
                continue
            self._noted[process] = None
            state = self._state((run, worker, process), raylets)
            if first:
                continue
            stacks = evidence.get(process)
            may_be_gone = worker == DRIVER and self._may_be_gone(process, state)
            if may_be_gone and (end := self._exception(process, stacks, since, EXITED)).exception:
                self._ends[run, process] = end  # its last state may never be exported
                continue
            if state == "gone":
                gone.append((run, worker, process))
                continue
            if stacks is None or stacks.state == "none":
                reading = SilentProcess(run, worker, process=state)
            else:
                if stacks.state == "native" and state not in ("stopped", "swapping"):
                    state = "native_busy" if state == "busy" else "native"
                silent_since = stacks.silent_since or 0.0
                reading = SilentProcess(run, worker, stacks.where, state, silent_since, stacks.waits_for)
            failure = stacks.failure if stacks is not None else None
            reading = replace(reading, failed=_users_line(failure.get("frames"))) if failure is not None else reading
            self._processes[run, worker] = (time.monotonic(), process, reading)
        self._ask_exits((process for _, _, process in gone), raylets)  # takes seconds, so those that live come first
        for run, worker, process in gone:
            reading = SilentProcess(run, worker, process="gone", exit=self._exits.get(process, ""))
            self._processes[run, worker] = (time.monotonic(), process, reading)

    def _take_losses(self, run: str, worker: str, process: Process, evidence: ProcessEvidence | None) -> None:
        """Keep the losses of a driver, those of the newest `MOST_RUNS` runs that had any."""
        if worker != DRIVER or evidence is None or not (losses := worker_losses(evidence.losses)):
            return
        self._losses.pop(run, None)
        self._losses[run] = (process, losses)
        _keep_newest(self._losses, MOST_RUNS)

    def _state(self, key: tuple[str, str, Process], raylets: Iterable[discovery.Raylet]) -> str:
        """Return the state of a process that is known to run, or to have run, on this machine; else empty.

        The key has run and worker: another one may have had the same process id before.
        """
        process = key[2]
        before, now = self._readings.get(key), process_state.read(process[1])
        if before is None and not _left_files(process, raylets):
            return ""
        state = process_state.state_between(before, now)
        if now is not None and state != "gone" and (state or before is None):
            self._readings[key] = now
        return state

    def _may_be_gone(self, process: Process, state: str) -> bool:
        """Return whether a process is gone; one on another node may be, as its state is not known."""
        node, pid = process
        return state == "gone" or (not state and (node not in self._sessions or process_state.read(pid) is None))

    def _exception(self, process: Process, evidence: ProcessEvidence | None, since: float, without: str = "") -> _End:
        """Return the exception that ended a process, `without` if it ended itself without one.

        Its session's files outlive a cluster that ends with it; in containers, process ids return with each session.
        """
        node, pid = process
        for session in reversed(self._sessions.get(node, {})) if evidence is None else ():
            evidence = evidence or process_evidence.read(session, pid)
        if evidence is None or not evidence.end:
            return _End()
        end = evidence.end
        try:
            at, lost = float(end["at"]), int(end.get("lost_pid") or 0)
        except (KeyError, TypeError, ValueError):
            return _End()
        if not at >= since:
            return _End()
        if not evidence.end.get("exception"):
            return _End(without, at, state=str(end.get("state") or ""))
        message = str(end.get("message") or "")
        line = _users_line(end.get("remote_frames") or end.get("frames"))
        text = f"{end['exception']}{f': {message}' if message else ''}"
        place = f", in `{printable(line, _LONGEST_EXIT)}`" if line else ""
        return _End(f"{printable(text, _LONGEST_EXIT)}{place}", at, lost_pid=lost)

    def _ask_exits(self, processes: Iterable[Process], raylets: Sequence[discovery.Raylet]) -> None:
        """Read why processes ended as their clusters' control stores say; ask once about each, and for all together."""
        states: dict[str, cluster_state.ClusterState] = {}
        for process in processes:
            node, pid = process
            near = [raylet for raylet in raylets if raylet.node_address == node]
            recorded_in = [raylet for raylet in near if len(near) == 1 or _left_files(process, [raylet])]
            if process in self._exits or not recorded_in:
                continue
            address = recorded_in[0].gcs_address
            if address not in states:
                states[address] = cluster_state.ask(address, 5.0)
            entry = states[address].ended(pid, node)
            self._exits[process] = str(entry["exit"]) if entry else ""


def _keep_newest(kept: dict[Any, Any], most: int) -> None:
    """Remove all but the entries that were added last; another thread may be adding some."""
    if len(kept) > most:
        for oldest in list(kept)[:-most]:
            kept.pop(oldest, None)


def _users_line(frames: object) -> str:
    """Return the line of the user's own code in the frames of an exception, which come from a file."""
    try:
        return where([Frame(str(each[0]), str(each[1]), int(each[2])) for each in frames])  # type: ignore[attr-defined]
    except (TypeError, ValueError, IndexError, KeyError):
        return ""


def _left_files(process: Process, raylets: Iterable[discovery.Raylet]) -> bool:
    """Return whether a process of this id has recorded in a session of this machine."""
    node, pid = process
    for session in {raylet.session_dir for raylet in raylets if raylet.node_address == node}:
        for name in (dump_name(pid), file_name(pid)):
            with contextlib.suppress(OSError), private_folder(session / LOGS) as folder:
                os.stat(name, dir_fd=folder, follow_symlinks=False)
                return True
    return False

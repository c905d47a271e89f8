"""The ends of processes on this machine, noticed at once: those of the runs, and Ray's own.

The kernel reports the end of a process through a descriptor of it (Linux, Python 3.9), within milliseconds, while Ray's
control store needs a moment and knows nothing once it is gone itself. How a process ended is read from what it left
behind: an uncaught exception, files that an orderly end removes, a crash in its log.
"""

import contextlib
import os
import re
import select
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from raymon.catalog import DRIVER
from raymon.cluster.ownership import is_trusted, open_trusted
from raymon.incident.deaths import Death
from raymon.live import process_state
from raymon.live.snapshot import Snapshot
from raymon.live.worker_losses import text_of
from raymon.monitor.frames import Frame, Stack, first_place
from raymon.monitor.native_stacks import dump_name
from raymon.monitor.private_files import FOLDER
from raymon.monitor.process_evidence import read
from raymon.monitor.standstill import LOGS

PROCESSES: Final = Path("/proc")
MOST_PROCESSES: Final = 256
POLL_SECONDS: Final = 0.2
_MOST_CAUSES: Final = 4
_LOG_BYTES: Final = 32_768
_CRASH: Final = re.compile(r"Fatal Python error: ([^\n]+)\n(.*)", re.DOTALL)
_SIGNAL: Final = re.compile(r"\*{3} (SIG[A-Z]+)")
_RAY_PROCESSES: Final = {"raylet": "raylet", "gcs_server": "gcs"}
_ADDRESS: Final = re.compile(r"--node[-_]ip[-_]address=([^\0 ]+)")
_LOG_ID: Final = re.compile(r"[0-9a-f]{1,64}")
_FRAME: Final = re.compile(r'^\s+File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>.+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class WatchedProcess:
    """A process to follow.

    Attributes:
        kind: `driver`, `worker`, `raylet` or `gcs`.
        log_id: Ray's worker id, which is in the name of its log; empty if unknown.
        started_at: Wall-clock second of its start; an end written before is that of an earlier process with its id.
    """

    kind: str
    node: str
    pid: int
    session: Path
    log_id: str = ""
    started_at: float = 0.0


def processes_to_watch(snapshot: Snapshot, session: Path, here: Collection[str]) -> list[WatchedProcess]:
    """Return the processes of the runs in a snapshot that are on this machine, and Ray's own."""
    processes = [
        WatchedProcess("worker", worker.node or "", worker.pid, session, worker.log_id or "")
        for run in snapshot.runs
        for worker in run.workers
        if worker.pid is not None and worker.node in here
    ]
    processes += [
        WatchedProcess(DRIVER, run.driver_node or "", run.driver_pid, session)
        for run in snapshot.runs
        if run.driver_pid is not None and run.driver_node in here
    ]
    return [*processes, *_ray_processes(session)]


def _ray_processes(session: Path) -> list[WatchedProcess]:
    """Return this user's and root's raylets and control store of a session."""
    processes = []
    for folder in PROCESSES.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            kind = _RAY_PROCESSES.get((folder / "comm").read_text().strip())
            if kind is None or not is_trusted(folder.stat().st_uid):
                continue
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            if str(session) in command:
                address = _ADDRESS.search(command)
                processes.append(WatchedProcess(kind, address[1] if address else "", int(folder.name), session))
    return processes


class ProcessWatch:
    """Follows processes in a thread of its own.

    Args:
        on_death: Called with each end, from that thread; must not raise.
    """

    def __init__(self, on_death: Callable[[Death], None]) -> None:
        self._on_death = on_death
        self._known: dict[int, WatchedProcess] = {}
        self._by_descriptor: dict[int, WatchedProcess] = {}
        self._poll = select.poll() if hasattr(select, "poll") and hasattr(os, "pidfd_open") else None
        self._wrote_dumps: set[int] = set()
        self._announced: set[int] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def follow(self, processes: Iterable[WatchedProcess]) -> None:
        """Follow these processes too; one that has ended already is not known to have lived."""
        if self._poll is None:
            return
        self._wrote_dumps.update(pid for pid, known in list(self._known.items()) if _dump(known).exists())
        for process in processes:
            if process.pid in self._known or len(self._by_descriptor) >= MOST_PROCESSES:
                continue
            with contextlib.suppress(OSError), self._lock:
                descriptor = os.pidfd_open(process.pid)
                followed = replace(process, started_at=process_state.started_at(process.pid))
                self._known[process.pid] = self._by_descriptor[descriptor] = followed
                self._poll.register(descriptor, select.POLLIN)
        if self._thread is None and self._by_descriptor:
            self._thread = threading.Thread(target=self._run, name="raymon-process-watch", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            for descriptor in self._by_descriptor:
                os.close(descriptor)
            self._by_descriptor.clear()

    def _run(self) -> None:
        poll = self._poll
        while poll is not None and not self._stop.is_set():
            ended = poll.poll(POLL_SECONDS * 1000)
            now = time.time()
            with self._lock:
                processes = [(descriptor, self._by_descriptor.pop(descriptor, None)) for descriptor, _ in ended]
                for descriptor, process in processes:
                    poll.unregister(descriptor)
                    os.close(descriptor)
                    if process is not None:
                        self._known.pop(process.pid, None)
                drivers = [each for each in self._known.values() if each.kind == DRIVER]
            ended_processes = [process for _, process in processes if process is not None]
            for death in filter(None, map(_announced, drivers)):
                if death.pid not in self._announced:
                    self._announced.add(death.pid)
                    self._on_death(death)
            for process in sorted(ended_processes, key=lambda each: _ORDER.index(each.kind)):
                self._on_death(autopsy(process, now, process.pid in self._wrote_dumps))
                self._wrote_dumps.discard(process.pid)  # the next process with this id is another one
                self._announced.discard(process.pid)


_ORDER: Final = ("gcs", "raylet", "driver", "worker")
"""Whose end comes first where several are noticed at the same moment: the later ones follow from it."""


def autopsy(process: WatchedProcess, now: float, wrote_dumps: bool) -> Death:
    """Return how a process of this machine that has just ended did so.

    Args:
        process: The process.
        now: Wall-clock second of its end.
        wrote_dumps: Whether it had a file for dumps of native code, which an orderly end removes.
    """
    if process.kind in ("gcs", "raylet"):
        return Death(process.kind, now, process.pid, process.node, "", "vanished")
    if end := _end(process):
        return _ended(process, end, now)
    if wrote_dumps and not _dump(process).exists():
        return Death(process.kind, now, process.pid, process.node, "", "exited")
    if crash := _crash(process):
        return Death(process.kind, now, process.pid, process.node, crash, "crashed")
    return Death(process.kind, now, process.pid, process.node, "", "vanished")


def _announced(driver: WatchedProcess) -> Death | None:
    """Return the end of a driver that has written down how it ends: Ray ends its workers before it is gone."""
    end = _end(driver)
    return _ended(driver, end, time.time()) if end else None


def _end(process: WatchedProcess) -> Mapping[str, Any] | None:
    """Return the end that a process has written down itself."""
    evidence = read(process.session, process.pid)
    if evidence is None or not evidence.end or float(evidence.end["at"]) < process.started_at:
        return None
    return evidence.end


def _dump(process: WatchedProcess) -> Path:
    return process.session / LOGS / FOLDER / dump_name(process.pid)


def _ended(process: WatchedProcess, end: Mapping[str, Any], now: float) -> Death:
    """Return the death of a process that has written down how it ends."""
    at = min(now, float(end["at"]))
    if not end["exception"]:
        return Death(process.kind, at, process.pid, process.node, "", "exited")
    if lost := int(end.get("lost_pid") or 0):
        return Death(process.kind, at, process.pid, process.node, str(end["message"]), "lost", lost)
    frames = [Frame(*frame) for frame in end.get("remote_frames") or end.get("frames") or ()]
    place = first_place([Stack("", tuple(frames))])
    text = f"{end['exception']}: {end['message']}" if end.get("message") else str(end["exception"])
    causes = end.get("causes")
    if isinstance(causes, list):
        text += "".join(f" (from {name})" for name in map(text_of, causes[:_MOST_CAUSES]) if name)
    if end["exception"] == "TaskCancelledError" and end.get("pid"):
        text = "KeyboardInterrupt, or its task was cancelled"  # Ray does not tell them apart
    how = "interrupted" if end["exception"] == "KeyboardInterrupt" and not end.get("pid") else "raised"
    detail = text + (f", in {place}" if place else "")
    return Death(process.kind, at, process.pid, process.node, detail, how, int(end.get("pid") or 0))


def worker_logs(folder: Path, log_id: str, suffix: str = "") -> list[Path]:
    """Return the logs of a worker in Ray's folder of logs, which is world-writable: only this user's and root's.

    Args:
        folder: Ray's folder of logs.
        log_id: Ray's worker id, as a process has exported it; there are no logs of one that is not hexadecimal.
        suffix: How their names end.
    """
    if not _LOG_ID.fullmatch(log_id):
        return []
    paths = []
    for path in sorted(folder.glob(f"worker-{log_id}*{suffix}")):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and is_trusted(status.st_uid):
                paths.append(path)
    return paths


def _crash(process: WatchedProcess) -> str:
    """Return which signal crashed a process, and where, from its log; empty if its log says nothing of a crash."""
    for path in worker_logs(process.session / LOGS, process.log_id, ".err")[:1]:
        with contextlib.suppress(OSError), open_trusted(path) as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _LOG_BYTES))
            text = log.read(_LOG_BYTES).decode(errors="replace")
            signal = _SIGNAL.search(text)
            fatal = _CRASH.search(text)
            if fatal is None:
                return signal[1] if signal else ""
            frames = [Frame(f["function"], f["file"], int(f["line"])) for f in _FRAME.finditer(fatal[2])]
            place = first_place([Stack("", tuple(reversed(frames)))])
            return (f"{signal[1]}, " if signal else "") + fatal[1].strip() + (f", in {place}" if place else "")
    return ""

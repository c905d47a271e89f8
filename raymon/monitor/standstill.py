"""Writes the evidence of a process that makes no progress to one small file: stacks, what it waits for, errors.

The flush thread compares each monitor's progress once a second. After `SILENT_SECONDS` without progress, a separate
thread takes the stacks (reading source lines from a hanging disk must not stop the heartbeat) and replaces
`<session>/logs/raymon/process-<pid>.json`, which `raymon.monitor.process_evidence` reads. It is in Ray's log folder, so
the Ray Dashboard serves it to other machines. A process that is well does so when a viewer requests it.
"""

import contextlib
import json
import os
import threading
import time
import weakref
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from raymon import ray_internals
from raymon.catalog import DRIVER
from raymon.monitor import identity
from raymon.monitor.frames import current_stacks, first_place, where
from raymon.monitor.native_stacks import NativeWatch
from raymon.monitor.private_files import private_folder, write_file
from raymon.monitor.stack_request import StackRequests

LOGS: Final = "logs"
"""Ray's log folder in a session's folder."""
SILENT_SECONDS: Final = 3.0
ANSWERED_SECONDS: Final = 8.0
"""How long the answer to a request stays."""
_RETAKE_SECONDS: Final = 5.0
_LATER_RETAKE_SECONDS: Final = 30.0
_MOST_BYTES: Final = 12_000
_MOST_AWAITED: Final = 16


class Observable(Protocol):
    """What a standstill needs from a monitor."""

    @property
    def run(self) -> str | None:
        """The run's name."""

    @property
    def worker(self) -> str | None:
        """The label `worker`."""

    def progress_mark(self) -> object:
        """Return a value that changes with every progress; None if no progress is expected."""

    def troubles(self) -> dict[str, Any]:
        """Return the last failed rollout and lost workers, ready for JSON."""


class _Silence(NamedTuple):
    mark: object
    since: float
    since_time: float


def file_name(pid: int) -> str:
    """Return the name of a process's file."""
    return f"process-{pid}.json"


class Standstills:
    """The standstills of this process's monitors."""

    def __init__(self) -> None:
        self._silences: weakref.WeakKeyDictionary[Observable, _Silence] = weakref.WeakKeyDictionary()
        self._native = NativeWatch()
        self._requests = StackRequests()
        self._requested = False
        self._answered_at = float("-inf")
        self._taking: threading.Thread | None = None
        self._due = 0.0
        self._troubles: list[dict[str, Any]] = []
        self._folder: Path | None = None
        self._stuck = False
        self._ends = False
        self._logs: Path | None = None
        self._drives = False
        self._state = ""

    def look(self, monitors: Collection[Observable], session: Path | None) -> None:
        """Write the evidence that is due; never raise, never block."""
        if session is None:
            self._native.disarm()
            return
        self._logs = session / LOGS
        self._drives = self._drives or any(each.worker == DRIVER for each in monitors)
        with contextlib.suppress(Exception):  # if evidence cannot be written, the flush thread goes on
            self._native.rearm(session / LOGS)
        with contextlib.suppress(Exception):
            self._look(list(monitors), session / LOGS)

    def note_state(self, state: str) -> None:
        """Keep the last state of the driver's run: Ray may not export it before the process ends."""
        self._state = state

    def stop(self, monitors: Collection[Observable]) -> None:
        """Remove the files: the process ends normally. A driver, also if closed, leaves its end and state."""
        self._drives = self._drives or any(each.worker == DRIVER for each in monitors)
        if self._logs is not None and not self._ends and self._drives:
            with contextlib.suppress(Exception):
                end = {"at": time.time(), "exception": "", "message": "", "state": self._state}
                self.end_with(monitors, self._logs.parent, end)
        with contextlib.suppress(Exception):
            self._native.stop()
        if self._folder is not None and not self._ends:
            with contextlib.suppress(OSError), private_folder(self._folder) as folder:
                os.unlink(file_name(os.getpid()), dir_fd=folder)

    def end_with(self, monitors: Iterable[Observable], session: Path, end: dict[str, Any]) -> None:
        """Write down the exception that ends the process; the file stays.

        Raises:
            OSError: If it cannot be written.
        """
        self._ends = True
        names = [{"run": each.run, "worker": each.worker, "silent_since": None, **each.troubles()} for each in monitors]
        content = {
            "pid": os.getpid(),
            "written": time.time(),
            "monitors": names,
            "where": "",
            "waits_for": [],
            "stacks": [],
            "end": end,
        }
        with private_folder(session / LOGS, create=True) as folder:
            write_file(folder, file_name(os.getpid()), json.dumps(content).encode())

    def _look(self, monitors: list[Observable], logs: Path) -> None:
        now = time.monotonic()
        silent: dict[int, _Silence] = {}
        for number, monitor in enumerate(monitors):
            mark = monitor.progress_mark()
            silence = self._silences.get(monitor)
            if silence is None or silence.mark != mark:
                self._silences[monitor] = _Silence(mark, now, time.time())
            elif mark is not None and now - silence.since >= SILENT_SECONDS:
                silent[number] = silence
        troubles = [monitor.troubles() for monitor in monitors]
        if not silent:
            self._due = 0.0
        with contextlib.suppress(OSError):  # without the file, there are no requests
            self._requested = self._requests.is_new(logs) or self._requested
        news = troubles != self._troubles and any(troubles)
        over = self._stuck and not silent and now - self._answered_at >= ANSWERED_SECONDS
        busy = self._taking is not None and self._taking.is_alive()
        if busy or not (self._requested or news or over or (silent and now >= self._due)):
            return
        if self._requested:  # no pause since the last answer: a viewer reads only once after its request
            self._requested, self._answered_at = False, now
        answered = now - self._answered_at < ANSWERED_SECONDS
        self._troubles = troubles
        longest = max((now - silence.since for silence in silent.values()), default=0.0)
        self._due = now + (_RETAKE_SECONDS if longest < 60 else _LATER_RETAKE_SECONDS)
        self._stuck = bool(silent) or answered
        entries = [
            {
                "run": monitor.run,
                "worker": monitor.worker,
                "silent_since": silent[number].since_time if number in silent else None,
                **troubles[number],
            }
            for number, monitor in enumerate(monitors)
        ]
        self._taking = threading.Thread(
            target=self._take, args=(logs, entries, bool(silent), answered), name="raymon-stacks", daemon=True
        )
        self._taking.start()

    def _take(self, logs: Path, entries: list[dict[str, Any]], silent: bool, answered: bool) -> None:
        if self._ends:
            return
        with contextlib.suppress(Exception):  # see `look`
            stacks = [stack for stack in current_stacks() if where(stack.frames)] if silent or answered else []
            if self._folder is None and not (stacks or answered) and not any(len(entry) > 3 for entry in entries):
                return  # an idle process that waits for its next call
            content: dict[str, Any] = {
                "pid": os.getpid(),
                "written": time.time(),
                "monitors": entries,
                "where": first_place(stacks),
                "waits_for": _awaited() if stacks else [],
                "stacks": [],
                "requested": answered,
            }
            room = _MOST_BYTES - len(json.dumps(content))
            for stack in stacks:
                room -= len(json.dumps(stack))
                if room < 0:
                    break
                content["stacks"].append(stack)
            with private_folder(logs, create=True) as folder:
                write_file(folder, file_name(os.getpid()), json.dumps(content).encode())
            self._folder = logs


def _awaited() -> list[dict[str, str | None]]:
    """Return the actors whose results this process waits for, with their worker numbers if they have one."""
    actors = ray_internals.awaited_actors()[:_MOST_AWAITED]
    return [{"actor": actor, "worker": identity.worker_of(actor)} for actor in actors]

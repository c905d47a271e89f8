"""Captures: on request, record each phase of this process for some seconds and let the profiler attach.

`raymon profile` writes the request as a small file in raymon's folder of the Ray session. The flush thread looks for it
once a second; nothing is recorded in advance.
"""

import contextlib
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from raymon.monitor.private_files import private_folder, read_file, write_file

REQUEST: Final = "capture.json"
LONGEST_SECONDS: Final = 600.0
MOST_SPANS: Final = 50_000
"""Most spans of one monitor: 5 MB, or three hours of one-second rollouts with some phases each."""
_MOST_REQUEST_BYTES: Final = 4096
_ID: Final = re.compile(r"[0-9a-z]{1,40}")
_PR_SET_PTRACER: Final = 0x59616D61
_ANY: Final = 2**64 - 1


class PhaseNotes(NamedTuple):
    """The phases one monitor recorded, in nanoseconds of the monotonic clock.

    Attributes:
        spans: (phase, began, ended) of each phase, the innermost first.
        parts: (phase, at, duration) of time that was measured elsewhere and added at one moment.
        lost: Spans and parts beyond `MOST_SPANS`.
    """

    spans: list[tuple[str, int, int]]
    parts: list[tuple[str, int, int]]
    lost: int


class Notes:
    """What a `WallTime` records while a capture runs; its owner holds the accumulator's lock."""

    def __init__(self) -> None:
        self.notes = PhaseNotes([], [], 0)

    def span(self, phase: str, began: int, ended: int) -> None:
        """Record a phase that ended."""
        if self._has_room():
            self.notes.spans.append((phase, began, ended))

    def part(self, phase: str, at: int, duration: int) -> None:
        """Record time that was measured elsewhere."""
        if self._has_room():
            self.notes.parts.append((phase, at, duration))

    def _has_room(self) -> bool:
        if len(self.notes.spans) + len(self.notes.parts) < MOST_SPANS:
            return True
        self.notes = self.notes._replace(lost=self.notes.lost + 1)
        return False


class Capturable(Protocol):
    """What a capture needs from a monitor."""

    @property
    def run(self) -> str | None:
        """The run's name."""

    @property
    def worker(self) -> str | None:
        """The label `worker`."""

    def start_notes(self) -> None:
        """Record each phase from now on."""

    def end_notes(self) -> PhaseNotes | None:
        """Stop recording phases; return them, or None if no capture runs."""


class _Request(NamedTuple):
    """A request: its id, which names the folder for the results, and its end by the monotonic clock."""

    id: str
    session: Path
    until: float


class Captures:
    """The captures of this process, one at a time."""

    def __init__(self) -> None:
        self._running: _Request | None = None
        self._answered = ""
        self._began = (0, 0)

    def look(self, monitors: Iterable[Capturable], session: Path | None) -> None:
        """Start a requested capture and end one whose time is over; never raise."""
        with contextlib.suppress(Exception):  # whatever the file holds, the flush thread goes on
            if self._running is not None:
                if time.monotonic() >= self._running.until:
                    self.end(monitors)
            elif session is not None:
                request = _read(session)
                if request is not None and request.id != self._answered:
                    self._start(request, monitors)

    def end(self, monitors: Iterable[Capturable]) -> None:
        """End the running capture, if any, and write its phases to files; never raise."""
        request, self._running = self._running, None
        if request is not None:
            _let_attach(False)
            for number, monitor in enumerate(monitors):
                notes = monitor.end_notes()
                if notes is not None:
                    with contextlib.suppress(OSError):  # the profiler has ended and removed its folder
                        self._hand_in(request, number, monitor, notes)

    def _start(self, request: _Request, monitors: Iterable[Capturable]) -> None:
        self._running, self._answered = request, request.id
        self._began = (time.time_ns(), time.perf_counter_ns())
        _let_attach(True)
        for monitor in monitors:
            monitor.start_notes()

    def _hand_in(self, request: _Request, number: int, monitor: Capturable, notes: PhaseNotes) -> None:
        wall, began = self._began

        def at(moment: int) -> float:
            return round((moment - began) * 1e-9, 9)

        answer: dict[str, Any] = {
            "run": monitor.run,
            "worker": monitor.worker,
            "pid": os.getpid(),
            "began": wall * 1e-9,
            "seconds": at(time.perf_counter_ns()),
            "spans": [(phase, at(start), at(end)) for phase, start, end in notes.spans],
            "parts": [(phase, at(moment), round(duration * 1e-9, 9)) for phase, moment, duration in notes.parts],
            "lost": notes.lost,
        }
        with private_folder(request.session, request.id) as folder:
            write_file(folder, f"{os.getpid()}-{number}.json", json.dumps(answer).encode())


def _read(session: Path) -> _Request | None:
    """Return the request in the session's folder; None without a valid one."""
    try:
        with private_folder(session) as folder:
            request = json.loads(read_file(folder, REQUEST, _MOST_REQUEST_BYTES))
    except FileNotFoundError:
        return None
    name, seconds = str(request["id"]), float(request["until"]) - time.time()
    if not _ID.fullmatch(name) or not (math.isfinite(seconds) and 0 < seconds <= LONGEST_SECONDS):
        return None
    with private_folder(session, name):
        return _Request(name, session, time.monotonic() + seconds)


def _let_attach(allowed: bool) -> None:
    """Allow or forbid other processes of this user to read this one's memory.

    Where Yama restricts tracing to a process's own children (Ubuntu's default), py-spy could not attach without root.
    """
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(_ANY if allowed else 0), 0, 0, 0)

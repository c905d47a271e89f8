"""Captures: on a profiler's request, note each phase of this process for some seconds, and let the profiler attach.

The flush thread looks once a second for a request: one small file in the folder of the Ray session, which
`raymon profile` writes. Until there is one, this costs a look at a file that is not there; nothing is noted in advance.
"""

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

FOLDER: Final = "raymon"
REQUEST: Final = "capture.json"
LONGEST_SECONDS: Final = 600.0
MOST_SPANS: Final = 50_000
"""Spans one monitor notes at most: 5 MB, three hours of rollouts of a second with some phases each."""
_ID: Final = re.compile(r"[0-9a-z]{1,40}")
_PR_SET_PTRACER: Final = 0x59616D61
_ANY: Final = 2**64 - 1


class Noted(NamedTuple):
    """What one monitor noted, in nanoseconds of the monotonic clock.

    Attributes:
        spans: (phase, began, ended) of each phase, the innermost first.
        parts: (phase, at, duration) of time that was measured elsewhere and told at a moment.
        lost: Spans and parts beyond `MOST_SPANS`.
    """

    spans: list[tuple[str, int, int]]
    parts: list[tuple[str, int, int]]
    lost: int


class Notes:
    """What a timeline writes down while a capture runs; its owner holds the ledger's lock."""

    def __init__(self) -> None:
        self.noted = Noted([], [], 0)

    def span(self, phase: str, began: int, ended: int) -> None:
        """Note a phase that ended."""
        if self._has_room():
            self.noted.spans.append((phase, began, ended))

    def part(self, phase: str, at: int, duration: int) -> None:
        """Note time that was measured elsewhere."""
        if self._has_room():
            self.noted.parts.append((phase, at, duration))

    def _has_room(self) -> bool:
        if len(self.noted.spans) + len(self.noted.parts) < MOST_SPANS:
            return True
        self.noted = self.noted._replace(lost=self.noted.lost + 1)
        return False


class Capturable(Protocol):
    """What a capture needs of a monitor."""

    @property
    def run(self) -> str | None:
        """The run's name."""

    @property
    def worker(self) -> str | None:
        """The label `worker`."""

    def start_notes(self) -> None:
        """Note each phase from now on."""

    def end_notes(self) -> Noted | None:
        """Note no more; return what was noted, None when nothing was asked for."""


class _Request(NamedTuple):
    id: str
    until: float
    folder: Path


class Captures:
    """The captures of this process, one at a time."""

    def __init__(self) -> None:
        self._running: _Request | None = None
        self._answered = ""
        self._began = (0, 0)

    def look(self, monitors: Iterable[Capturable], session: Path | None) -> None:
        """Start what is asked for and end what is due; never raises."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # whatever stands in the file
            if self._running is not None:
                if time.time() >= self._running.until:
                    self.end(monitors)
            elif session is not None:
                asked = _read(session / FOLDER)
                if asked is not None and asked.id != self._answered:
                    self._start(asked, monitors)

    def end(self, monitors: Iterable[Capturable]) -> None:
        """End the running capture, if one runs, and hand in what was noted; never raises."""
        asked, self._running = self._running, None
        if asked is not None:
            _let_attach(False)
            for number, monitor in enumerate(monitors):
                noted = monitor.end_notes()
                if noted is not None:
                    with contextlib.suppress(OSError):  # the profiler has gone, and its folder with it
                        self._hand_in(asked, number, monitor, noted)

    def _start(self, asked: _Request, monitors: Iterable[Capturable]) -> None:
        self._running, self._answered = asked, asked.id
        self._began = (time.time_ns(), time.perf_counter_ns())
        _let_attach(True)
        for monitor in monitors:
            monitor.start_notes()

    def _hand_in(self, asked: _Request, number: int, monitor: Capturable, noted: Noted) -> None:
        wall, began = self._began

        def at(moment: int) -> float:
            return round((moment - began) * 1e-9, 9)

        told: dict[str, Any] = {
            "run": monitor.run,
            "worker": monitor.worker,
            "pid": os.getpid(),
            "began": wall * 1e-9,
            "seconds": at(time.perf_counter_ns()),
            "spans": [(phase, at(start), at(end)) for phase, start, end in noted.spans],
            "parts": [(phase, at(moment), round(duration * 1e-9, 9)) for phase, moment, duration in noted.parts],
            "lost": noted.lost,
        }
        target = asked.folder / f"{os.getpid()}-{number}.json"
        partly = target.with_suffix(".part")
        partly.write_text(json.dumps(told))
        partly.replace(target)


def _read(folder: Path) -> _Request | None:
    """Return the request that stands in the folder; None when there is none that counts."""
    try:
        text = (folder / REQUEST).read_text()
    except FileNotFoundError:
        return None
    told = json.loads(text)
    name, until = str(told["id"]), float(told["until"])
    if not _ID.fullmatch(name) or not 0 < until - time.time() <= LONGEST_SECONDS or not (folder / name).is_dir():
        return None
    return _Request(name, until, folder / name)


def _let_attach(allowed: bool) -> None:
    """Let other processes of this user read this one's memory, or no longer.

    Where Yama restricts tracing to a process's own children (Ubuntu's default), py-spy could not attach without root.
    """
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(_ANY if allowed else 0), 0, 0, 0)

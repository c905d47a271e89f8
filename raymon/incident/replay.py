"""Show a recording as a viewer saw it: its rounds go through the same code as those of a live collection."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, time, timedelta
from pathlib import Path
from time import monotonic
from typing import Final

from raymon.incident.recording_format import RecordingError
from raymon.incident.recording_reader import Recording
from raymon.live.collector import Collector
from raymon.live.round import Round
from raymon.live.snapshot import Snapshot

WARM_UP_SECONDS: Final = 1200.0
"""A replay begins this long before the moment, so that rates, history and usual values are those of the live page."""
KEPT_SNAPSHOTS: Final = 16
LAST_SECONDS: Final = 5.0


class Replay:
    """The snapshots of a recording.

    Example:
        >>> Replay(Path("runs/mine")).at(1_764_338_531.0).verdicts  # doctest: +SKIP

    Raises:
        RecordingError: The directory holds no recording that can be read.
    """

    def __init__(self, directory: Path) -> None:
        self._recording = Recording(directory)
        self._lock = threading.Lock()
        self._kept: OrderedDict[float, Snapshot] = OrderedDict()
        self._rounds: Iterator[Round] = iter(())
        self._next: Round | None = None
        self._collector = _collector()
        self._position = float("-inf")
        self._last, self._last_at = 0.0, float("-inf")

    @property
    def first(self) -> float:
        """Wall-clock seconds of the first round."""
        return self._recording.first

    def last(self) -> float:
        """Return the wall-clock seconds of the last round; a growing recording is read again every few seconds."""
        now = monotonic()
        if now - self._last_at > LAST_SECONDS:
            self._last, self._last_at = self._recording.last(), now
        return self._last

    def at(self, moment: float) -> Snapshot:
        """Return the snapshot of the last round up to a moment; of the first round for an earlier moment."""
        moment = max(moment, self.first)
        with self._lock:
            if moment not in self._kept:
                self._kept[moment] = self._replay(moment)
                while len(self._kept) > KEPT_SNAPSHOTS:
                    self._kept.popitem(last=False)
            return self._kept[moment]

    def _replay(self, moment: float) -> Snapshot:
        if not self._position <= moment < self._position + WARM_UP_SECONDS:
            self._collector = _collector()
            self._rounds = self._recording.rounds(moment - WARM_UP_SECONDS)
            self._next = next(self._rounds, None)
        while self._next is not None and self._next.taken_at <= moment:
            self._collector.take(self._next)
            self._position = self._next.taken_at
            self._next = next(self._rounds, None)
        if self._next is None:  # the recording may grow: start again for what comes later
            self._position = float("-inf")
        snapshot = self._collector.snapshot()
        source = f"recording {self._recording.directory}"
        return replace(snapshot, taken_monotonic=None, source=source, recorded=(self.first, self.last()))


def _collector() -> Collector:
    return Collector(["recording:1"])


def moment_of(text: str, first: float, last: float) -> float:
    """Return the moment that an option names, in wall-clock seconds; `last` if it is empty.

    Accepts ISO 8601 (local time unless it names a zone), a time of day, `+SECONDS` after the first round and `-SECONDS`
    before the last one.

    Raises:
        RecordingError: It is none of these, or not within the recording.
    """
    text = text.strip()
    try:
        if not text:
            return last
        if text[0] in "+-":
            moment = float(text) + (first if text[0] == "+" else last)
        elif "-" in text:
            moment = datetime.fromisoformat(text).astimezone().timestamp()
        else:
            moment = _time_of_day(text, first)
    except (ValueError, OverflowError, OSError):
        raise RecordingError(
            f"found the time {text!r}, expected one like 2026-11-28T14:02:11, 14:02:11, +90 (seconds after the begin) "
            "or -90 (before the end)"
        ) from None
    if not first - 1.0 <= moment <= last + 1.0:
        spans = " to ".join(datetime.fromtimestamp(end).astimezone().isoformat(" ", "seconds") for end in (first, last))
        raise RecordingError(f"the time {text} is not in the recording, which goes from {spans}")
    return moment


def _time_of_day(text: str, first: float) -> float:
    """Return the first moment not before `first` at which the local clock shows a time of day."""
    begin = datetime.fromtimestamp(first).astimezone()
    wanted = time.fromisoformat(text)
    moment = begin.replace(hour=wanted.hour, minute=wanted.minute, second=wanted.second, microsecond=0)
    if moment < begin.replace(microsecond=0):
        moment += timedelta(days=1)
    return moment.timestamp()


def snapshots(recording: Recording, since: float) -> Iterator[Snapshot]:
    """Yield the snapshot of every round from the moment `since` on; rounds before it only warm up the rates."""
    collector = _collector()
    for taken in recording.rounds(since - WARM_UP_SECONDS):
        collector.take(taken)
        if taken.taken_at >= since:
            yield replace(collector.snapshot(), taken_monotonic=None)

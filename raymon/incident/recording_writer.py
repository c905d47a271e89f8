"""Append rounds to a recording: bounded, and readable up to the last whole line whatever ends the writer.

A segment is one gzip stream. After each line the compressor is flushed and the bytes are handed to the operating
system, so that a killed writer loses nothing that it had written.
"""

import contextlib
import fcntl
import logging
import os
import threading
import time
import zlib
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from raymon.catalog import DRIVER, HEARTBEAT
from raymon.incident.recording_format import Encoder, RecordingError, header
from raymon.incident.recording_reader import SUFFIX, read_segment, segments
from raymon.live.round import Round

SEGMENT_SECONDS: Final = 600.0
LEAST_SEGMENT_BYTES: Final = 64 * 1024
"""A segment below this is not thinned: a short one consists of its names mostly."""
SEGMENT_BYTES: Final = 64 * 1024 * 1024
BYTES_PER_WORKER_HOUR: Final = 1_000_000
MOST_BYTES: Final = 1_000_000_000
"""Of a whole recording; beyond it the oldest segments are deleted."""
RETRY_SECONDS: Final = 30.0
"""After a failed write, for example on a full disk."""
_GZIP: Final = 31  # zlib's window bits for a gzip stream
_log = logging.getLogger(__name__)


class RecordingWriter:
    """Write the rounds that a collector takes to a directory.

    Example:
        >>> recorder = RecordingWriter(Path("runs/mine/recording"))  # doctest: +SKIP
        >>> Collector(["10.0.0.5:8080"], on_round=recorder.add).start()  # doctest: +SKIP

    Args:
        directory: Where the segments are; created if it is missing.
        most_bytes: Of the whole recording.

    Raises:
        RecordingError: The directory cannot be written, or another process records into it.
    """

    def __init__(self, directory: Path, most_bytes: int = MOST_BYTES) -> None:
        self.directory, self._most_bytes = directory, most_bytes
        self._segment: _Segment | None = None
        self._retry_at = float("-inf")
        self._thinning: threading.Thread | None = None
        self.problem = ""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RecordingError(f"cannot record into {directory}: {error.strerror}; choose another place") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise RecordingError(f"another process records into {directory}; choose another place") from error

    def add(self, taken: Round) -> None:
        """Append a round; never raises. A failed write ends the segment, and a new one is tried later."""
        if time.monotonic() < self._retry_at:
            return
        try:
            if self._segment is not None and self._segment.is_full(taken.taken_at):
                self._end_segment()
            if self._segment is None:
                self._segment = _Segment(self.directory, taken.taken_at)
            self._segment.add(taken)
            self.problem = ""
        except OSError as error:
            self.problem = f"Recording into {self.directory} failed: {error.strerror or error}."
            _log.warning("%s It is tried again in %d s.", self.problem, RETRY_SECONDS)
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._segment = None
        except Exception:  # noqa: BLE001  # a recording must never disturb the viewer
            _log.exception("a round could not be recorded")
            self._retry_at, self._segment = time.monotonic() + RETRY_SECONDS, None

    def close(self) -> None:
        """End the last segment and release the directory."""
        with contextlib.suppress(OSError):
            self._end_segment()
        if self._thinning is not None:
            self._thinning.join()
        os.close(self._lock)

    def _end_segment(self) -> None:
        segment, self._segment = self._segment, None
        if segment is None:
            return
        segment.end()
        if self._thinning is None or not self._thinning.is_alive():
            self._thinning = threading.Thread(target=self._bound, args=(segment,), name="raymon-thin", daemon=True)
            self._thinning.start()

    def _bound(self, segment: "_Segment") -> None:
        """Thin a segment that ended to its budget, and delete the oldest ones beyond the limit."""
        try:
            thin(segment.path, segment.budget())
            sizes = [(path, path.stat().st_size) for path in segments(self.directory)]
            total = sum(size for _, size in sizes)
            for path, size in sizes[:-1]:
                if total <= self._most_bytes:
                    break
                path.unlink()
                total -= size
        except OSError as error:
            _log.warning("the recording in %s could not be bounded: %s", self.directory, error)


class _Segment:
    """One file that is being written."""

    def __init__(self, directory: Path, now: float) -> None:
        name = datetime.fromtimestamp(now, timezone.utc).strftime("%Y%m%dT%H%M%S.%f")
        self.path = directory / f"{name}{SUFFIX}"
        self._began = self._last = now
        self._workers: set[tuple[str, str]] = set()
        self._encoder, self._gzip = Encoder(), zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._size = 0
        self._append(header(now))

    def add(self, taken: Round) -> None:
        """Append the line of a round; raises OSError after having ended the file at the last whole line."""
        self._append(self._encoder.encode(taken))
        self._last = taken.taken_at
        self._workers.update(
            (key.labels.get("run", ""), key.labels["worker"])
            for page in taken.pages
            for key, _ in page.samples
            if key.name == HEARTBEAT.name and key.labels.get("worker", DRIVER) != DRIVER
        )

    def is_full(self, now: float) -> bool:
        """Return whether the next round belongs into a new segment."""
        return self._size > SEGMENT_BYTES or not 0.0 <= now - self._began < SEGMENT_SECONDS

    def budget(self) -> float:
        """Return how many bytes the segment may keep."""
        hours = max(self._last - self._began, 1.0) / 3600.0
        return max(LEAST_SEGMENT_BYTES, BYTES_PER_WORKER_HOUR * max(1, len(self._workers)) * hours)

    def end(self) -> None:
        """Finish the gzip stream and close the file."""
        try:
            self._write(self._gzip.flush(zlib.Z_FINISH))
        finally:
            os.close(self._file)

    def _append(self, line: str) -> None:
        data = self._gzip.compress(line.encode() + b"\n") + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        try:
            self._write(data)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            os.close(self._file)
            raise

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._size += len(data)


def thin(path: Path, budget: float) -> None:
    """Rewrite a finished segment with every second, third, … round until it has at most `budget` bytes."""
    size = path.stat().st_size
    stride = 1
    while size > budget and stride < 64:
        stride = min(64, max(stride + 1, int(stride * size / budget)))
        draft = path.with_suffix(".draft")
        with draft.open("wb") as file:
            compressor = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
            for line in _thinned(path, stride):
                file.write(compressor.compress(line.encode() + b"\n"))
            file.write(compressor.flush())
        thinned = draft.stat().st_size
        draft.replace(path)
        if thinned >= size:
            return
        size = thinned


def _thinned(path: Path, stride: int) -> Iterator[str]:
    """Yield the lines of every `stride`th round, and of the last one: what is known in the end stays known."""
    encoder, left_out = Encoder(), None
    for number, taken in enumerate(read_segment(path, {})):
        if number == 0:
            yield header(taken.taken_at)
        left_out = taken if number % stride else None
        if left_out is None:
            yield encoder.encode(taken)
    if left_out is not None:
        yield encoder.encode(left_out)

"""Read a recording, up to the last whole line of each segment."""

import zlib
from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from raymon.incident import FOLDER
from raymon.incident.recording_format import Decoder, RecordingError, check_header
from raymon.live.parse import SeriesKey
from raymon.live.round import Round

SUFFIX: Final = ".jsonl.gz"
LONGEST_LINE: Final = 128 * 1024 * 1024
_CHUNK: Final = 64 * 1024

Known = dict[tuple[str, tuple[tuple[str, str], ...]], SeriesKey]


def segments(directory: Path) -> list[Path]:
    """Return the files of a recording, oldest first."""
    return sorted(path for path in directory.glob(f"*{SUFFIX}") if _began(path) is not None)


def _began(path: Path) -> float | None:
    """Return when a segment begins, from its name."""
    try:
        return datetime.strptime(path.name.removesuffix(SUFFIX) + "+0000", "%Y%m%dT%H%M%S.%f%z").timestamp()
    except ValueError:
        return None


def lines(path: Path) -> Iterator[str]:
    """Yield the whole lines of a segment; a stream that was cut off or damaged ends early."""
    stream = zlib.decompressobj(31)
    pending = b""
    with path.open("rb") as file:
        data = b""
        while not stream.eof and (data or (data := file.read(_CHUNK))):
            try:
                pending += stream.decompress(data, _CHUNK * 16)
            except zlib.error:
                return
            data = stream.unconsumed_tail
            *whole, pending = pending.split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace")
            if len(pending) > LONGEST_LINE:
                return


def read_segment(path: Path, known: Known) -> Iterator[Round]:
    """Yield the rounds of a segment; `known` is shared by all segments of a recording.

    Raises:
        RecordingError: It is not a segment of a recording that this version can read.
    """
    decoder = Decoder(known)
    for number, line in enumerate(lines(path)):
        if number == 0:
            try:
                check_header(line)
            except RecordingError as error:
                raise RecordingError(f"{path}: {error}") from None
            continue
        try:
            taken = decoder.decode(line)
        except ValueError:
            return
        yield taken


class Recording:
    """A recording on disk; it may still be growing.

    Args:
        directory: The recording, or the directory of the run that it belongs to.

    Raises:
        RecordingError: There is none, or none that this version can read.
    """

    def __init__(self, directory: Path) -> None:
        inner = directory / FOLDER
        self.directory = inner if segments(inner) else directory
        self._known: Known = {}
        paths = segments(self.directory)
        if not paths:
            raise RecordingError(
                f"found no recording in {directory}, expected files *{SUFFIX} there or in {inner}; "
                "give the directory of a run, or what --record named"
            )
        first = next((taken for path in paths for taken in read_segment(path, self._known)), None)
        if first is None:
            raise RecordingError(f"the recording in {self.directory} holds no whole record: its writer ended too soon")
        self.first = first.taken_at
        """Wall-clock seconds of the first round."""

    def last(self) -> float:
        """Return the wall-clock seconds of the last round that is there by now."""
        for path in reversed(segments(self.directory)):
            moments = [taken.taken_at for taken in read_segment(path, self._known)]
            if moments:
                return moments[-1]
        return self.first

    def rounds(self, since: float = 0.0) -> Iterator[Round]:
        """Yield the rounds from the segment on that holds the moment `since`."""
        paths = segments(self.directory)
        begun = [_began(path) or 0.0 for path in paths]
        for path in paths[max(0, bisect_right(begun, since) - 1) :]:
            yield from read_segment(path, self._known)

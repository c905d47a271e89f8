"""Rounds of scrapes as lines of JSON, each line holding what changed since the one before; see `docs/recordings.md`.

Lines may come from a file that somebody else wrote: the decoder checks every part, and its samples pass the same checks
as those of a metrics page.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeGuard

from raymon import __version__
from raymon.errors import UserError
from raymon.format import printable
from raymon.live.parse import LARGEST, LONGEST_LINE, SeriesKey, checked_series
from raymon.live.round import ParsedPage, Round, Sample
from raymon.live.scrape import MOST_TARGETS
from raymon.live.silent_processes import MOST_PROCESSES, MOST_RUNS, SilentProcess
from raymon.live.targets import Endpoints
from raymon.live.worker_losses import MOST_LOSSES
from raymon.views import WorkerLoss

FORMAT: Final = "raymon-recording"
VERSION: Final = 1
MOST_SERIES: Final = 1_000_000
_LONGEST_TEXT: Final = 500


class RecordingError(UserError):
    """A recording that cannot be read or written."""


def header(now: float) -> str:
    """Return the first line of a segment that begins at wall-clock `now`."""
    return _line({"format": FORMAT, "version": VERSION, "raymon": __version__, "at": now})


def check_header(line: str) -> float:
    """Return when a segment begins, from its first line.

    Raises:
        RecordingError: It is not the header of a recording of this version.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or record.get("format") != FORMAT or not _is_number(record.get("at")):
        raise RecordingError(f"found no header of a recording; expected the format {FORMAT!r}")
    if record.get("version") != VERSION:
        raise RecordingError(
            f"found version {str(record.get('version'))[:20]} of the recording format, expected {VERSION}; "
            "read it with the version of raymon that wrote it"
        )
    return float(record["at"])


@dataclass(slots=True)
class Encoder:
    """Turn the rounds of one segment into lines."""

    _ids: dict[SeriesKey, int] = field(default_factory=dict)
    _last: dict[str, dict[SeriesKey, float]] = field(default_factory=dict)
    _endpoints: Endpoints | None = None
    _losses: Mapping[str, tuple[WorkerLoss, ...]] = field(default_factory=dict)

    def encode(self, taken: Round) -> str:
        """Return the line of a round."""
        series: list[list[Any]] = []
        pages = [self._page(page, series) for page in taken.pages]
        record: dict[str, Any] = {"at": taken.taken_at}
        if taken.set_back_seconds:
            record["set_back"] = taken.set_back_seconds
        if (endpoints := taken.endpoints) != self._endpoints:
            self._endpoints = endpoints
            record["found"] = {"urls": endpoints.urls, "source": endpoints.source, "problem": endpoints.problem}
            if endpoints.departures:
                record["found"]["departures"] = endpoints.departures
        if series:
            record["series"] = series
        if taken.silent:
            record["places"] = [asdict(process) for process in taken.silent]
        if taken.losses != self._losses:
            self._losses = taken.losses
            record["losses"] = {run: [asdict(loss) for loss in losses] for run, losses in taken.losses.items()}
        record["pages"] = pages
        return _line(record)

    def _page(self, page: ParsedPage, series: list[list[Any]]) -> dict[str, Any]:
        if page.error:
            return {"url": page.url, "error": page.error, "seconds": page.seconds}
        last = self._last.get(page.url, {})
        now: dict[SeriesKey, float] = {}
        for key, value in page.samples:
            if key not in now or value > now[key]:
                now[key] = value
        changed: list[float] = []
        for key, value in now.items():
            if last.get(key) == value:
                continue
            at = self._ids.get(key)
            if at is None:
                at = self._ids[key] = len(self._ids)
                series.append([key.name, dict(key.labels)])
            changed += (at, int(value) if value.is_integer() and abs(value) < 1e15 else value)
        record: dict[str, Any] = {"url": page.url, "size": page.size, "seconds": page.seconds, "values": changed}
        if page.is_ray:
            record["ray"] = True
        if gone := [self._ids[key] for key in last if key not in now]:
            record["gone"] = gone
        self._last[page.url] = now
        return record


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(slots=True)
class Decoder:
    """Turn the lines of segments back into rounds; `known` is shared by all segments of a recording."""

    known: dict[tuple[str, tuple[tuple[str, str], ...]], SeriesKey]
    _series: list[SeriesKey | None] = field(default_factory=list)
    _last: dict[str, dict[SeriesKey, float]] = field(default_factory=dict)
    _endpoints: Endpoints = field(default_factory=Endpoints)
    _losses: Mapping[str, tuple[WorkerLoss, ...]] = field(default_factory=dict)

    def decode(self, line: str) -> Round:
        """Return the round of a line.

        Raises:
            ValueError: The line is damaged or was not written by `Encoder`.
        """
        try:
            record = json.loads(line)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(record, dict) or not _is_number(record.get("at")):
            raise ValueError("not a round")
        if isinstance(plain := record.get("found"), dict):
            urls = tuple(_text(url) for url in _items(plain, "urls")[:MOST_TARGETS])
            left = plain.get("departures")
            departures = {host: _text(why) for host, why in left.items()} if isinstance(left, dict) else {}
            self._endpoints = Endpoints(urls, _text(plain.get("source")), _text(plain.get("problem")), departures)
        for item in _items(record, "series"):
            self._series.append(self._declared(item))
        if len(self._series) > MOST_SERIES:
            raise ValueError("too many series")
        pages = tuple(self._page(page) for page in _items(record, "pages")[:MOST_TARGETS])
        silent = tuple(_silent_process(item) for item in _items(record, "places")[:MOST_PROCESSES])
        if isinstance(losses := record.get("losses"), dict):
            self._losses = {_text(run): _losses(losses, run) for run in list(losses)[:MOST_RUNS]}
        set_back = float(seconds) if _is_number(seconds := record.get("set_back")) else 0.0
        return Round(float(record["at"]), pages, self._endpoints, silent, self._losses, set_back)

    def _declared(self, item: object) -> SeriesKey | None:
        if not (isinstance(item, list) and len(item) == 2 and isinstance(item[1], dict)):
            raise ValueError("not a series")
        labels = {printable(str(name)): str(value)[:LONGEST_LINE] for name, value in item[1].items()}
        series = checked_series(str(item[0]), labels)
        if series is None:
            return None
        return self.known.setdefault((series.name, tuple(sorted(series.labels.items()))), series)

    def _page(self, record: object) -> ParsedPage:
        if not isinstance(record, dict):
            raise ValueError("not a page")
        url, seconds = _text(record.get("url")), record.get("seconds")
        seconds = float(seconds) if _is_number(seconds) else 0.0
        if error := _text(record.get("error")):
            return ParsedPage(url, error=error, seconds=seconds)
        last = self._last.setdefault(url, {})
        for at in _items(record, "gone"):
            if (series := self._at(at)) is not None:
                last.pop(series, None)
        values = _items(record, "values")
        for at, value in zip(values[::2], values[1::2], strict=True):
            series = self._at(at)
            if not _is_number(value):
                raise ValueError("not a value")
            if series is not None and not (value < 0.0 and series.counter):
                last[series] = float(value)
        size = record.get("size")
        samples: tuple[Sample, ...] = tuple(last.items())
        is_ray = record.get("ray") is True
        return ParsedPage(url, samples, "", size if isinstance(size, int) else 0, seconds, is_ray)

    def _at(self, at: object) -> SeriesKey | None:
        if not isinstance(at, int) or not 0 <= at < len(self._series):
            raise ValueError("not a known series")
        return self._series[at]


def _silent_process(item: object) -> SilentProcess:
    if not isinstance(item, dict):
        raise ValueError("not a silent process")
    names = ("run", "worker", "where", "process", "exit", "failed", "state")
    values: dict[str, Any] = {name: _text(item.get(name)) for name in names}
    since, lost = item.get("since"), item.get("lost_pid")
    waits_for = tuple(_text(name) for name in _items(item, "waits_for")[:MOST_PROCESSES])
    values["lost_pid"] = lost if isinstance(lost, int) else 0
    return SilentProcess(**values, since=float(since) if _is_number(since) else 0.0, waits_for=waits_for)


def _losses(record: Mapping[str, Any], run: str) -> tuple[WorkerLoss, ...]:
    """Return the lost workers of one run."""
    entries = [entry for entry in _items(record, run)[-MOST_LOSSES:] if isinstance(entry, dict)]
    return tuple(
        WorkerLoss(_text(entry.get("worker")), float(at), _text(entry.get("reason")), _text(entry.get("detail")))
        for entry in entries
        if _is_number(at := entry.get("at"))
    )


def _items(record: Mapping[str, Any], key: str) -> list[Any]:
    items = record.get(key, [])
    if not isinstance(items, list):
        raise ValueError(f"{key} is not a list")
    return items


def _text(value: object) -> str:
    return printable(value, _LONGEST_TEXT) if isinstance(value, str) else ""


def _is_number(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= LARGEST  # also false for NaN

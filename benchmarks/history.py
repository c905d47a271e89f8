"""Writes history into a Prometheus, as if it had scraped the synthetic nodes all the time.

Prometheus's remote-write protocol, version 1: a protobuf message, snappy-compressed;
https://prometheus.io/docs/specs/prw/. Both are written by hand here: snappy as one literal, that is uncompressed.
"""

import json
import re
import struct
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from synthetic import Page
from synthetic_values import Value

SLICE_SECONDS = 300.0
"""Length of a slice of time: Prometheus refuses samples an hour older than its newest."""
SERIES_PER_MESSAGE = 1000
RECORD_SECONDS = 15
"""Interval at which recorded series are written."""
STALE = struct.pack("<Q", 0x7FF0000000000002)
"""The value with which Prometheus ends a series."""
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def write_history(
    url: str, pages: Sequence[Page], targets: Sequence[str], begin: float, end: float, step: float
) -> int:
    """Write every series of raymon's and of Ray's that dashboards read; return the number of samples.

    Args:
        url: A Prometheus started with `--web.enable-remote-write-receiver`.
        pages: The nodes.
        targets: Their `host:port`, used as label `instance`.
        begin: Seconds since the epoch of the first sample.
        end: The same for the last sample.
        step: The scrape interval, in seconds.
    """
    series = [each for page, target in zip(pages, targets, strict=True) for each in _series(page, target)]
    count = 0
    first = begin
    while first < end:
        moments = [first + step * number for number in range(int(min(SLICE_SECONDS, end - first) / step))]
        stamps = [_field(2, 0) + _varint(int(moment * 1000)) for moment in moments]
        for start in range(0, len(series), SERIES_PER_MESSAGE):
            chosen = series[start : start + SERIES_PER_MESSAGE]
            _send(url, b"".join(_block(1, labels + _samples(value, moments, stamps)) for labels, value in chosen))
        count += len(series) * len(moments)
        first += SLICE_SECONDS
    return count


def write_recorded(url: str, rules: Sequence[Mapping[str, str]], begin: float, end: float) -> int:
    """Write what recording rules would have recorded of the history; return the number of samples.

    Prometheus evaluates each rule at the end of each slice of time; the results stand for the whole slice.

    Args:
        url: The Prometheus, which has the history and has not loaded the rules.
        rules: The rules, as Prometheus reads them, each after those whose series it reads.
        begin: Seconds since the epoch of the first sample.
        end: The same for the last sample.
    """
    count = 0
    before: dict[str, set[bytes]] = {}
    first = begin
    while first < end:
        last = min(first + SLICE_SECONDS, end)
        moments = [first + RECORD_SECONDS * number for number in range(int((last - first) / RECORD_SECONDS) + 1)]
        for rule in rules:
            results = {
                _labels({**result["metric"], "__name__": rule["record"]}): struct.pack("<d", float(result["value"][1]))
                for result in _query(url, rule["expr"], last)
            }
            ended = before.get(rule["record"], set()) - set(results)
            blocks = [_block(1, labels + _sample(STALE, first)) for labels in ended]
            for labels, value in results.items():
                blocks.append(_block(1, labels + b"".join(_sample(value, moment) for moment in moments)))
            if blocks:
                _send(url, b"".join(blocks))
            before[rule["record"]] = set(results)
            count += len(results) * len(moments)
        first = moments[-1] + RECORD_SECONDS
    for series in filter(None, before.values()):  # what Prometheus itself records from now on may be other series
        _send(url, b"".join(_block(1, labels + _sample(STALE, first)) for labels in series))
    return count


def _query(url: str, expression: str, moment: float) -> list[dict[str, Any]]:
    query = urllib.parse.urlencode({"query": expression, "time": moment})
    with urllib.request.urlopen(f"{url}/api/v1/query", query.encode()) as reply:
        result: list[dict[str, Any]] = json.load(reply)["data"]["result"]
    return result


def _sample(value: bytes, moment: float) -> bytes:
    return _block(2, _field(1, 1) + value + _field(2, 0) + _varint(int(moment * 1000)))


def _series(page: Page, target: str) -> Iterator[tuple[bytes, Value]]:
    for prefix, value in page.series():
        name, _, inside = prefix.partition("{")
        if name.startswith("ray_unread"):
            continue
        labels = {key: text for key, text in _LABEL.findall(inside) if not key.startswith("otel_scope")}
        labels |= {"__name__": name, "job": "ray", "instance": target}
        yield _labels(labels), value


def _labels(labels: Mapping[str, str]) -> bytes:
    encoded = (_block(1, key.encode()) + _block(2, text.encode()) for key, text in sorted(labels.items()) if text)
    return b"".join(_block(1, label) for label in encoded)


def _samples(value: Value, moments: Iterable[float], stamps: Iterable[bytes]) -> bytes:
    pack = struct.Struct("<d").pack
    tag = _field(1, 1)
    return b"".join(_block(2, tag + pack(value(moment)) + stamp) for moment, stamp in zip(moments, stamps, strict=True))


def _send(url: str, message: bytes) -> None:
    body = _varint(len(message)) + b"\xfc" + struct.pack("<I", len(message) - 1) + message
    headers = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    request = urllib.request.Request(f"{url}/api/v1/write", body, headers)
    with urllib.request.urlopen(request) as reply:
        reply.read()


def _field(number: int, wire: int) -> bytes:
    return bytes([number << 3 | wire])


def _block(number: int, content: bytes) -> bytes:
    return _field(number, 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)

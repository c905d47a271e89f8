"""Writes history into a Prometheus, as if it had scraped the synthetic nodes all the time.

Prometheus's remote-write protocol, version 1: a protobuf message, snappy-compressed;
https://prometheus.io/docs/specs/prw/. Both are written by hand here: snappy as one literal, that is uncompressed.
"""

import re
import struct
import urllib.request
from collections.abc import Iterable, Iterator, Sequence

from synthetic import Page
from synthetic_values import Value

SLICE_SECONDS = 300.0
"""Length of a slice of time: Prometheus refuses samples an hour older than its newest."""
SERIES_PER_MESSAGE = 1000
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


def _series(page: Page, target: str) -> Iterator[tuple[bytes, Value]]:
    for prefix, value in page.series():
        name, _, inside = prefix.partition("{")
        if name.startswith("ray_unread"):
            continue
        labels = {key: text for key, text in _LABEL.findall(inside) if not key.startswith("otel_scope")}
        labels |= {"__name__": name, "job": "ray", "instance": target}
        encoded = (_block(1, key.encode()) + _block(2, text.encode()) for key, text in sorted(labels.items()) if text)
        yield b"".join(_block(1, label) for label in encoded), value


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

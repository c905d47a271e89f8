"""One bounded HTTP GET: it ends within its time whatever the server does, and says in words what went wrong."""

import http.client
import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from raymon.stack.bounded import bounded
from raymon.stack.command_line import is_url

LIMIT_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """What a GET brought back.

    Attributes:
        status: The HTTP status, 0 when there was no reply at all.
        body: The body, at most `LIMIT_BYTES`.
        error: Empty, or one sentence: why there is no reply, or which HTTP error it was.
        seconds: How long it took.
        server_time: The `Date` header as a Unix time, None without one.
    """

    status: int
    body: bytes = b""
    error: str = ""
    seconds: float = 0.0
    server_time: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the server answered 200."""
        return self.status == 200 and not self.error

    def anything(self) -> object:
        """Return the body as JSON, None when it is something else."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object, empty when it is something else."""
        told = self.anything()
        return told if isinstance(told, dict) else {}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


# Nodes and local servers are addressed directly: a proxy from the environment would answer for them with its own error.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())


def get(url: str, timeout: float = 3.0, headers: Mapping[str, str] | None = None, limit: int = LIMIT_BYTES) -> Reply:
    """GET a URL; the whole exchange takes at most about `timeout` seconds and never raises."""
    if not is_url(url):
        return Reply(0, error=f"{url!r} is not a URL: expected http://host:port/…")
    try:
        return bounded(lambda: _get(url, timeout, headers, limit), 1.5 * timeout)
    except TimeoutError:
        return Reply(0, error=f"no complete answer within {1.5 * timeout:g} s", seconds=1.5 * timeout)


def _get(url: str, timeout: float, headers: Mapping[str, str] | None, limit: int) -> Reply:
    begun = time.perf_counter()
    try:
        request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310 - the scheme was checked above
        with _opener.open(request, timeout=timeout) as answer:
            body, error = _read(answer, begun + timeout, limit)
            return Reply(answer.status, body, error, time.perf_counter() - begun, _date(answer.headers.get("Date")))
    except urllib.error.HTTPError as error:
        with error:
            body, _ = _read(error, begun + timeout, 65_536)
        where = f", redirect to {error.headers.get('Location')}" if 300 <= error.code < 400 else ""
        told = f"HTTP {error.code} {error.reason}{where}"
        return Reply(error.code, body, told, time.perf_counter() - begun, _date(error.headers.get("Date")))
    except (OSError, ValueError, http.client.HTTPException) as error:
        return Reply(0, error=_in_words(error, timeout), seconds=time.perf_counter() - begun)


def _read(answer: http.client.HTTPResponse | urllib.error.HTTPError, deadline: float, limit: int) -> tuple[bytes, str]:
    parts: list[bytes] = []
    size = 0
    while True:
        try:
            part = answer.read1(65_536)
        except (OSError, http.client.HTTPException) as error:
            return b"".join(parts), f"the reply broke off after {size} bytes: {error}"
        if not part:
            return b"".join(parts), ""
        parts.append(part)
        size += len(part)
        if size > limit:
            return b"".join(parts), f"the reply is larger than {limit} bytes"
        if time.perf_counter() > deadline:
            return b"".join(parts), f"the reply was not complete in time ({size} bytes came)"


def _date(header: str | None) -> float | None:
    try:
        return parsedate_to_datetime(header).timestamp() if header else None
    except ValueError:
        return None


def _in_words(error: Exception, timeout: float) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(reason, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    if isinstance(reason, socket.gaierror):
        return "the host name cannot be resolved"
    if isinstance(reason, ssl.SSLError):
        return f"TLS error: {reason}"
    if isinstance(error, http.client.HTTPException):
        return f"what answers does not speak HTTP ({type(error).__name__})"
    return str(reason)

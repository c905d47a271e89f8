"""One HTTP GET that ends in time and in bounds, whatever the server does.

    >>> reply = get("http://127.0.0.1:9090/-/ready", timeout=2.0)  # doctest: +SKIP
    >>> reply.ok, reply.error  # doctest: +SKIP
    (True, '')

The timeout covers the whole exchange, name look-up included: when it passes, the socket is shut from outside.
Redirects are reported, never followed, so that no header reaches another host. Proxies of the environment are not used,
since nodes and local servers are addressed directly.
"""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from raymon.format import printable

MOST_BYTES: Final = 32 * 1024 * 1024
"""A thousand workers on one node make 10 MB; a larger page is not a metrics page."""
_MOST_ERROR_BYTES: Final = 65_536
_CHUNK: Final = 256 * 1024
_ABORT_SECONDS: Final = 0.2
_REFUSALS: Final = {
    401: "it wants a token",
    403: "its token is not accepted",
    404: "there is nothing under this path",
}
_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "raymon"}
"""Sent with every request; the dashboards of Ray before 2.52 answer HTTP 500 to one without `User-Agent`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcome of a GET.

    Attributes:
        url: The requested URL.
        status: The HTTP status, 0 when there was no reply.
        body: The body; of a status other than 200 at most 64 kB.
        error: Why there is no complete reply of status 200; empty if there is one.
        seconds: How long it took.
        server_time: The `Date` header as a Unix time, None without one.
    """

    url: str
    status: int = 0
    body: bytes = b""
    error: str = ""
    seconds: float = 0.0
    server_time: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the server answered 200, completely."""
        return self.status == 200 and not self.error

    def document(self) -> object:
        """Return the body as JSON, None when it is something else."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object, empty when it is something else."""
        document = self.document()
        return document if isinstance(document, dict) else {}


def get(
    url: str, timeout: float = 3.0, headers: Mapping[str, str] | None = None, most_bytes: int = MOST_BYTES
) -> Reply:
    """GET a URL; takes at most about `timeout` seconds and never raises."""
    request = Request(url, headers, time.perf_counter() + timeout, most_bytes)
    if not request.start():
        return Reply(url, error="this machine has no more threads")
    return request.result()


def is_url(text: str) -> bool:
    """Return whether this is an HTTP address with a host and, if any, a possible port."""
    try:
        parts = urlsplit(text)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port_is_valid and text.isprintable()


class Request:
    """One GET in a daemon thread, which can be ended from outside.

    Args:
        url: What to ask for.
        headers: Sent in addition to `_HEADERS`.
        deadline: Moment of `time.perf_counter` until which the reply has to be complete.
        most_bytes: A longer reply is refused.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None, deadline: float, most_bytes: int) -> None:
        self.url = url
        self._headers = {**_HEADERS, **(headers or {})}
        self._began = time.perf_counter()
        self._deadline = deadline
        self._most_bytes = most_bytes
        self._reply: Reply | None = None
        self._aborted = False
        # Kept here: with `Connection: close` http.client drops its own reference before the body is read.
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="raymon-http", daemon=True)

    def start(self) -> bool:
        """Begin; return False if the machine has no thread left."""
        try:
            self._thread.start()
        except RuntimeError:
            return False
        return True

    @property
    def running(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def wait(self, seconds: float, until: float) -> None:
        """Wait for the end of the request, until it is so old, or until a moment of `time.perf_counter`."""
        self._thread.join(max(0.0, min(self._began + seconds, until) - time.perf_counter()))

    def result(self) -> Reply:
        """Wait for the reply until the deadline and return it, or why there is none."""
        self._thread.join(max(0.0, self._deadline - time.perf_counter()))
        if self.running:
            self._abort()
            self._thread.join(_ABORT_SECONDS)
        if self.running or self._reply is None:
            return Reply(
                self.url, error=f"no answer within {self._seconds()}", seconds=time.perf_counter() - self._began
            )
        return self._reply

    def _seconds(self) -> str:
        return f"{self._deadline - self._began:.3g} s"

    def _abort(self) -> None:
        """Shut the socket, so that whatever the thread waits for in it ends now."""
        self._aborted = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            reply = self._get()
        except (OSError, ValueError, OverflowError, http.client.HTTPException) as error:
            reply = Reply(self.url, error=self._in_words(error))
        if self._aborted:
            reply = Reply(self.url, error=f"not complete within {self._seconds()}")
        self._reply = Reply(
            self.url, reply.status, reply.body, reply.error, time.perf_counter() - self._began, reply.server_time
        )

    def _get(self) -> Reply:
        if not is_url(self.url):
            return Reply(self.url, error=f"{printable(self.url)!r} is not a URL: expected http://HOST:PORT/…")
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        remaining = max(0.001, self._deadline - time.perf_counter())
        connection = kind(parts.hostname or "", parts.port, timeout=remaining)
        with contextlib.closing(connection):
            connection.connect()
            self._socket = connection.sock
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", path, headers=self._headers)
            with connection.getresponse() as response:
                return self._read(response)

    def _read(self, response: http.client.HTTPResponse) -> Reply:
        good = response.status == 200
        body, error = self._body(response, self._most_bytes if good else _MOST_ERROR_BYTES)
        date = _date(response.headers.get("Date"))
        return Reply(self.url, response.status, body, error if good else _refusal(response), server_time=date)

    def _body(self, response: http.client.HTTPResponse, limit: int) -> tuple[bytes, str]:
        parts: list[bytes] = []
        size = 0
        while part := response.read1(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > limit:
                return b"", f"its reply is larger than {limit / 1e6:.0f} MB"
            if time.perf_counter() > self._deadline:
                return b"", f"not complete within {self._seconds()} ({size} bytes came)"
        if response.length:
            return b"", f"the reply broke off after {size} bytes"
        return b"".join(parts), ""

    def _in_words(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer within {self._seconds()}"
        if isinstance(error, ConnectionRefusedError):
            return "connection refused: nothing listens there"
        if isinstance(error, socket.gaierror):
            return "the host name cannot be resolved"
        if isinstance(error, ssl.SSLError):
            return f"TLS error: {printable(error.reason or 'unknown')}"
        if isinstance(error, (http.client.HTTPException, OverflowError)):  # an impossible length is not HTTP either
            return f"what answers does not speak HTTP ({type(error).__name__})"
        return printable((error.strerror if isinstance(error, OSError) else None) or str(error), 200)


def _refusal(response: http.client.HTTPResponse) -> str:
    status = response.status
    if 300 <= status < 400:
        location = printable(response.headers.get("Location") or "nowhere", 200)
        return f"HTTP {status}: it redirects to {location}; give that address"
    return f"HTTP {status}: {_REFUSALS.get(status, 'it failed')}"


def _date(header: str | None) -> float | None:
    try:
        return parsedate_to_datetime(header).timestamp() if header else None
    except (ValueError, OverflowError):
        return None

"""Fetch pages over HTTP, many at once, within one deadline and one size, whatever the servers do.

A page that hangs, drips a byte a second, never ends or is no HTTP costs its own result and nothing else: when the
deadline comes, its socket is shut from outside. Redirects are not followed and proxies of the environment are not used,
since nodes are addressed directly.
"""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

MOST_BYTES: Final = 32 * 1024 * 1024
"""A thousand workers on one node make 10 MB; a page beyond this size is not a metrics page."""
MOST_TARGETS: Final = 512
_CHUNK: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """What one URL brought: `body` when `error` is empty."""

    url: str
    body: bytes = b""
    error: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class Scraper:
    """Fetch several URLs concurrently.

    Attributes:
        timeout_seconds: For a whole round, name look-up and connecting included.
        most_bytes: A longer page is refused.
    """

    timeout_seconds: float = 3.0
    most_bytes: int = MOST_BYTES
    _running: dict[str, "_Fetch"] = field(default_factory=dict)

    def fetch(self, urls: Iterable[str], headers: Mapping[str, str] | None = None) -> list[Page]:
        """Return a page for every distinct URL, in order; takes at most about `timeout_seconds` and never raises."""
        deadline = time.perf_counter() + self.timeout_seconds
        asked = list(dict.fromkeys(urls))[:MOST_TARGETS]
        begun = {url: self._begin(url, dict(headers or {}), deadline) for url in asked}
        return [self._end(url, fetch, deadline) for url, fetch in begun.items()]

    def _begin(self, url: str, headers: dict[str, str], deadline: float) -> "_Fetch | None":
        earlier = self._running.get(url)
        if earlier is not None and earlier.thread.is_alive():
            return None
        fetch = _Fetch(url, headers, deadline, self.timeout_seconds, self.most_bytes)
        self._running[url] = fetch
        try:
            fetch.thread.start()
        except RuntimeError:  # the machine has no more threads to give
            del self._running[url]
            return None
        return fetch

    def _end(self, url: str, fetch: "_Fetch | None", deadline: float) -> Page:
        if fetch is None:
            return Page(url, error="an earlier request to it still hangs")
        fetch.thread.join(max(0.0, deadline - time.perf_counter()))
        if fetch.thread.is_alive():
            fetch.abort()
            fetch.thread.join(0.2)
        if fetch.thread.is_alive() or fetch.page is None:
            return Page(url, error=f"no answer within {self.timeout_seconds:g} s", seconds=self.timeout_seconds)
        self._running.pop(url, None)
        return fetch.page


class _Fetch:
    """One GET in a daemon thread, which can be ended from outside."""

    def __init__(self, url: str, headers: dict[str, str], deadline: float, timeout: float, limit: int) -> None:
        self.url, self.headers, self.deadline, self.timeout, self.limit = url, headers, deadline, timeout, limit
        self.page: Page | None = None
        self.aborted = False
        self.connection: http.client.HTTPConnection | None = None
        self.thread = threading.Thread(target=self._run, name="raymon-fetch", daemon=True)

    def abort(self) -> None:
        """Shut the socket, so that whatever the thread waits for in it ends now."""
        self.aborted = True
        sock = self.connection.sock if self.connection else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        begun = time.perf_counter()
        body, error = b"", ""
        try:
            body, error = self._get()
        except (OSError, ValueError, http.client.HTTPException) as caught:
            error = _in_words(caught, self.timeout)
        finally:
            if self.connection is not None:
                self.connection.close()
        if self.aborted:
            error = f"not complete within {self.timeout:g} s"
        self.page = Page(self.url, b"" if error else body, error, time.perf_counter() - begun)

    def _get(self) -> tuple[bytes, str]:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return b"", "this is not a URL: expected http://HOST:PORT/metrics"
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.connection = kind(parts.hostname, parts.port, timeout=self.timeout)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.connection.request("GET", path, headers={"Accept": "*/*", "Accept-Encoding": "identity", **self.headers})
        reply = self.connection.getresponse()
        if reply.status != 200:
            return b"", _refusal(reply)
        return self._read(reply)

    def _read(self, reply: http.client.HTTPResponse) -> tuple[bytes, str]:
        parts: list[bytes] = []
        size = 0
        while part := reply.read1(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > self.limit:
                return b"", f"its page is larger than {self.limit / 1e6:.0f} MB: not the metrics of a Ray node"
            if time.perf_counter() > self.deadline:
                return b"", f"not complete within {self.timeout:g} s ({size} bytes came)"
        if reply.length:
            return b"", f"the reply broke off after {size} bytes"
        return b"".join(parts), ""


def _refusal(reply: http.client.HTTPResponse) -> str:
    if 300 <= reply.status < 400:
        return f"HTTP {reply.status}: it redirects to another address; give that one"
    told = {401: "it wants a token", 403: "its token is not accepted", 404: "there is nothing under this path"}
    return f"HTTP {reply.status}: {told.get(reply.status, 'it failed')}"


def _in_words(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    if isinstance(error, socket.gaierror):
        return "the host name cannot be resolved"
    if isinstance(error, ssl.SSLError):
        return f"TLS error: {error.reason or 'unknown'}"
    if isinstance(error, http.client.HTTPException):
        return f"what answers does not speak HTTP ({type(error).__name__})"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return "".join(letter if letter.isprintable() else " " for letter in text)[:200]

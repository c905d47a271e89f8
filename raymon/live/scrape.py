"""Fetch pages over HTTP, several at once, each within a time and a size, whatever the servers do.

A page that hangs, drips a byte a second, never ends or is not HTTP costs its own result and nothing else.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from raymon.cluster.http import MOST_BYTES, Request
from raymon.live.courtesy import Courtesy

MOST_TARGETS: Final = 512
"""Pages fetched in one round, and requests that may hang at the same time."""
AT_ONCE: Final = 16
"""Requests that run at the same time, as long as each ends within `PATIENCE_SECONDS`: more of their threads would only
compete for the interpreter, with each other and with a viewer's drawing."""
PATIENCE_SECONDS: Final = 0.05
MOST_PATIENCE_SECONDS: Final = 0.5
"""In a round; then all others begin."""


@dataclass(frozen=True, slots=True)
class Page:
    """The result of one URL: `body` when `error` is empty."""

    url: str
    body: bytes = b""
    error: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class Scraper:
    """Fetch several URLs concurrently.

    Attributes:
        timeout_seconds: For each page, name look-up and connecting included.
        most_bytes: A longer page is refused.
        courtesy: Whom the requests give way to before they begin.
    """

    timeout_seconds: float = 3.0
    most_bytes: int = MOST_BYTES
    courtesy: Courtesy = field(default_factory=Courtesy)
    _hanging: dict[str, Request] = field(default_factory=dict)

    def fetch(self, urls: Iterable[str], headers: Mapping[str, str] | None = None) -> list[Page]:
        """Return a page for every distinct URL, in order; never raises.

        Takes at most about `timeout_seconds`, half a second more for hundreds of URLs, and a second or two where it
        gives way.
        """
        patient_until = time.perf_counter() + MOST_PATIENCE_SECONDS
        self._hanging = {url: request for url, request in self._hanging.items() if request.running}
        started: list[Request | Page] = []
        for url in self.courtesy.between(list(dict.fromkeys(urls))[:MOST_TARGETS]):
            if len(started) >= AT_ONCE and isinstance(earlier := started[-AT_ONCE], Request):
                earlier.wait(PATIENCE_SECONDS, patient_until)
            started.append(self._start(url, headers))
        return [self._finish(request) if isinstance(request, Request) else request for request in started]

    def _start(self, url: str, headers: Mapping[str, str] | None) -> Request | Page:
        if url in self._hanging:
            return Page(url, error="an earlier request to it still hangs")
        if len(self._hanging) >= MOST_TARGETS:
            return Page(url, error="too many earlier requests still hang")
        deadline = time.perf_counter() + self.timeout_seconds
        request = Request(url, headers, deadline, self.most_bytes)
        if not request.start():
            return Page(url, error="this machine has no more threads")
        self._hanging[url] = request
        return request

    def _finish(self, request: Request) -> Page:
        reply = request.result()
        if not request.running:
            self._hanging.pop(request.url, None)
        return Page(request.url, b"" if reply.error else reply.body, reply.error, reply.seconds)

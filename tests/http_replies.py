"""HTTP servers of tests, in this process: a handler that replies in one call, and a server on a free port.

>>> class Handler(ReplyHandler):
...     def do_GET(self):
...         self.reply(b"{}")
>>> with ReplyServer(Handler) as server:
...     get(server.url)
"""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

T = TypeVar("T", bound="ReplyServer")


class ReplyHandler(BaseHTTPRequestHandler):
    """A request handler that logs nothing."""

    def reply(self, body: bytes = b"", status: int = 200, content_type: str = "", **headers: str) -> None:
        """Send a whole reply; a client that has left does not matter."""
        typed = {"Content-Type": content_type} if content_type else {}
        self.send_response(status)
        for name, value in {**typed, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        with contextlib.suppress(OSError):
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the name is the base class's
        """Log nothing."""


class ReplyServer(ThreadingHTTPServer):
    """A server on a free port of the loopback interface; it answers from `__enter__` to `__exit__`."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self: T) -> T:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

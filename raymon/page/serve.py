"""The server process of `raymon status`: Streamlit's server, which never outlives the process that started it.

    python -m raymon.page.serve PARENT-PID HOST PORT [OPTIONS of raymon status]

Every option of Streamlit that decides who may read the page, or that sends something elsewhere, is set here, so that
no configuration file and no new default of Streamlit changes it.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Final

import streamlit as st
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import net_util

from raymon.cluster.ownership import is_loopback
from raymon.live.allocator import limit_arenas
from raymon.live.garbage import RareCollections
from raymon.page.hurry import courtesy

PARENT_CHECK_SECONDS: Final = 0.5
SWITCH_SECONDS: Final = 0.001
"""After so long the collector lets another thread run. With the default of 5 ms, 200 health checks a second took 200 ms
each next to a busy thread, and now 12 ms."""
ANNOUNCED_SECONDS: Final = 0.1
"""Within it the drawing for a viewer's message has usually begun."""
_OPTIONS: Final[dict[str, object]] = {
    "global.developmentMode": False,
    "logger.level": "error",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "client.allowedOrigins": [],
    "runner.postScriptGC": False,  # a full collection after each of 200 first drawings blocks the server for 20 s
    "browser.gatherUsageStats": False,
    "server.headless": True,
    "server.baseUrlPath": "",
    "server.fileWatcherType": "none",
    "server.runOnSave": False,
    "server.enableCORS": True,
    "server.corsAllowedOrigins": [],
    "server.enableXsrfProtection": True,
    "server.enableAgentApi": False,
    "server.enableStaticServing": False,
    "server.scriptHealthCheckEnabled": False,
    "server.trustedUserHeaders": {},
    "server.maxUploadSize": 1,
}
_HEADERS: Final = (
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_HEADER_NAMES: Final = frozenset(name for name, _ in _HEADERS)


class SecurityHeaders:
    """ASGI middleware: no other page may frame this one, and links do not reveal its address."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request and add the headers to its reply."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in _HEADER_NAMES]
                message = {**message, "headers": [*kept, *_HEADERS]}
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class Announcement:
    """ASGI middleware: the collection steps aside from the moment that a viewer's message comes.

    Until the drawing for it begins, several threads hand it on, and each would wait for the interpreter.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and announce the messages of viewers."""

        async def announced() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive":
                courtesy.expect(ANNOUNCED_SECONDS)
            return message

        await self._app(scope, announced if scope["type"] == "websocket" else receive, send)


def settings(host: str, port: int) -> dict[str, object]:
    """Return Streamlit's options for a page on an address and port.

    On loopback only the names of this machine are accepted as `Host`: another name is an attack (DNS rebinding).
    Elsewhere any name is, since the page may be behind a proxy; there it asks for its token.
    """
    hosts = ["localhost", "127.0.0.1", "::1"] if is_loopback(host) else ["*"]
    return {**_OPTIONS, "server.address": host, "server.port": port, "server.allowedHosts": hosts}


def end_with(parent: int) -> None:
    """End this process as soon as it is no longer a child of `parent`, which may have been killed."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(0)


def collect(arguments: tuple[str, ...]) -> None:
    """Begin collecting before the first viewer comes."""
    from raymon.page.choice import Choice
    from raymon.page.shared import snapshot_for  # takes longer to load than the server should be kept waiting

    snapshot_for(arguments, Choice())


def no_address() -> None:
    """Return no address: Streamlit asks a host on the Internet for its own when a request has a foreign origin."""


def main(parent: int, host: str, port: int, arguments: tuple[str, ...]) -> None:
    """Serve the page until the process is ended."""
    limit_arenas()
    RareCollections().watch()
    sys.setswitchinterval(SWITCH_SECONDS)
    threading.Thread(target=end_with, args=(parent,), name="raymon-parent", daemon=True).start()
    threading.Thread(target=collect, args=(arguments,), name="raymon-collect", daemon=True).start()
    net_util.get_external_ip = no_address
    net_util.get_internal_ip = no_address
    sys.argv = [__file__, *arguments]  # what the page reads
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again at its end; exit handlers must run
    page = st.App(
        Path(__file__).with_name("app.py"), middleware=[Middleware(SecurityHeaders), Middleware(Announcement)]
    )
    page.run(config=settings(host, port))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), tuple(sys.argv[4:]))

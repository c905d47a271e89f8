"""Send events to a webhook, to a chat service through apprise, or to a command.

A dead receiver never disturbs the watch.
An address may hold a secret, so it can be given as `env:NAME` or `file:PATH`, and only its host is ever printed.
"""

import json
import logging
import os
import queue
import shlex
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from raymon.errors import UserError
from raymon.incident.events import WatchEvent

ATTEMPTS: Final = 3
PAUSES_SECONDS: Final = (1.0, 5.0)
TIMEOUT_SECONDS: Final = 10.0
MOST_WAITING: Final = 100
_CHAT_HOSTS: Final = ("hooks.slack.com", "discord.com", "discordapp.com")
_log = logging.getLogger(__name__)

Send = Callable[[WatchEvent], None]


class NotifyError(UserError):
    """A receiver that cannot be used."""


def resolved(address: str) -> str:
    """Return the address, read from a variable for `env:NAME` or from a file for `file:PATH`.

    Raises:
        NotifyError: If the variable or the file does not exist or is empty.
    """
    kind, _, name = address.partition(":")
    if kind == "env":
        value = os.environ.get(name, "").strip()
    elif kind == "file":
        try:
            value = Path(name).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NotifyError(
                f"--webhook {address}: the file cannot be read ({error}); expected one line with the URL"
            ) from error
    else:
        return address
    if not value:
        raise NotifyError(f"--webhook {address}: found nothing there, expected the URL of a webhook")
    return value


def receiver(address: str) -> tuple[str, Send]:
    """Return (name for messages, function that sends) for a webhook address.

    http and https URLs get a JSON object by POST. Other schemes (slack://, discord://, mmost://, ntfy://)
    and the webhook URLs of Slack and Discord go through apprise.

    Raises:
        NotifyError: If the address is malformed, or needs apprise and it is not installed.
    """
    url = resolved(address)
    parts = urllib.parse.urlsplit(url)
    name = f"{parts.scheme}://{parts.hostname or ''}"
    if parts.scheme in ("http", "https") and parts.hostname and parts.hostname not in _CHAT_HOSTS:
        return name, lambda event: _post(url, event)
    try:
        import apprise
    except ModuleNotFoundError:
        raise NotifyError(
            f"--webhook {parts.scheme}://…: the package apprise is missing; run pip install 'raymon-rl[notify]'"
        ) from None
    target = apprise.Apprise()
    if not target.add(url):
        raise NotifyError(f"--webhook {parts.scheme}://…: expected http(s)://HOST/PATH or a URL that apprise knows")

    def send(event: WatchEvent) -> None:
        if not target.notify(title=title(event), body=body(event)):
            raise OSError("the service did not accept the message")

    return name, send


def command(line: str) -> tuple[str, Send]:
    """Return (name, function) for `--exec`: the command gets the event as JSON on standard input."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise NotifyError(f"--exec: {error}; quote the command as in a shell") from error
    if not words:
        raise NotifyError("--exec: found an empty command, expected a program and its arguments")

    def send(event: WatchEvent) -> None:
        subprocess.run(words, input=json.dumps(asdict(event)), text=True, timeout=TIMEOUT_SECONDS, check=True)

    return Path(words[0]).name, send


def title(event: WatchEvent) -> str:
    """Return one line about the event."""
    state = "over" if event.kind == "closed" else event.severity
    return f"raymon: {event.run}: {event.code.replace('_', ' ')} ({state})"


def body(event: WatchEvent) -> str:
    """Return the event in a few sentences."""
    lines = [event.sentence, event.hang, event.advice, f"Evidence: {event.folder}" if event.folder else ""]
    return "\n".join(line for line in lines if line)


def _post(url: str, event: WatchEvent) -> None:
    data: dict[str, Any] = {**asdict(event), "title": title(event), "text": f"{title(event)}\n{body(event)}"}
    request = urllib.request.Request(url, json.dumps(data).encode(), {"Content-Type": "application/json"})  # noqa: S310  # http or https, see receiver
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310  # likewise
        pass


class Notifier:
    """Send events to all receivers, from one thread, with a bounded number of attempts."""

    def __init__(self, receivers: Sequence[tuple[str, Send]], pauses: Sequence[float] = PAUSES_SECONDS) -> None:
        self._receivers, self._pauses = tuple(receivers), tuple(pauses)
        self._waiting: queue.Queue[WatchEvent | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="raymon-notify", daemon=True)
        if self._receivers:
            self._thread.start()

    def tell(self, event: WatchEvent) -> None:
        """Queue an event about an incident; verdict changes are not sent. Never blocks."""
        if not self._receivers or event.kind == "verdict":
            return
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            _log.warning("an event was not sent: %d are waiting", MOST_WAITING)

    def close(self, seconds: float = 15.0) -> None:
        """Send what is waiting, at most for `seconds`."""
        if self._receivers:
            self._waiting.put(None)
            self._thread.join(seconds)

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None:
            for name, send in self._receivers:
                self._send(name, send, event)

    def _send(self, name: str, send: Send, event: WatchEvent) -> None:
        for attempt in range(ATTEMPTS):
            try:
                send(event)
                return
            except Exception as error:  # noqa: BLE001  # whatever a receiver does, the watch goes on
                reason = type(error).__name__  # its text may repeat the address, which may hold a secret
            if attempt < len(self._pauses):
                time.sleep(self._pauses[attempt])
        _log.warning("%s did not accept an event in %d attempts (%s)", name, ATTEMPTS, reason)

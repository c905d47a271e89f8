"""The record of what `raymon up` started: one folder with state, configuration, data and logs."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from raymon.cluster.http import is_url
from raymon.stack.process import is_running, start_mark
from raymon.stack.sources import Sources


@dataclass(slots=True)
class Part:
    """A program that runs next to Ray.

    Attributes:
        name: prometheus, grafana or export.
        pid: Its process id.
        mark: Distinguishes the process from a later one of the same pid.
        port: The port of the loopback it listens on.
        url: Its address.
        command: How it was started.
        users: The processes that use it: pid to mark.
        stays: Whether it runs until `raymon down`, regardless of its users.
    """

    name: str
    pid: int
    mark: str
    port: int
    url: str
    command: list[str]
    users: dict[str, str] = field(default_factory=dict)
    stays: bool = False

    @property
    def running(self) -> bool:
        """Whether the process that was started still runs."""
        return is_running(self.pid, self.mark)

    @property
    def used(self) -> bool:
        """Whether a process that still runs uses it, or it stays."""
        return self.stays or bool(self._living())

    @property
    def mine(self) -> bool:
        """Whether this process is one of its users."""
        return self.users.get(str(os.getpid())) == start_mark(os.getpid())

    def join(self) -> None:
        """Make this process one of its users."""
        self.users = {**self._living(), str(os.getpid()): start_mark(os.getpid())}

    def leave(self) -> None:
        """Remove this process from its users."""
        self.users.pop(str(os.getpid()), None)

    def _living(self) -> dict[str, str]:
        return {pid: mark for pid, mark in self.users.items() if mark and start_mark(int(pid)) == mark}

    @classmethod
    def from_plain(cls, record: Mapping[str, Any]) -> "Part":
        """Return the part that JSON describes.

        Raises:
            ValueError, KeyError, TypeError: It describes something else.
        """
        name, mark, url, users, command = (record[key] for key in ("name", "mark", "url", "users", "command"))
        pid, port = record["pid"], record["port"]
        texts = [name, mark, url, *users, *users.values(), *command]
        if not all(isinstance(text, str) for text in texts) or not is_url(url):
            raise TypeError("a text is something else")
        if type(pid) is not int or type(port) is not int or not 0 < pid < 1 << 31 or not 0 < port < 65536:
            raise ValueError("a process id or a port is impossible")
        if not all(user.isdecimal() and len(user) < 10 for user in users):
            raise ValueError("a user is not a process id")
        return cls(name, pid, mark, port, url, list(command), dict(users), record["stays"] is True)


@dataclass(slots=True)
class StackState:
    """What `raymon down`, the next `raymon up` and a run with `--stack` have to know.

    Attributes:
        parts: The programs that were started.
        sources: What Prometheus scrapes.
        anonymous: Whether Grafana shows its dashboards without a login.
        prometheus_url: The Prometheus that was named instead of one of our own, empty for our own.
        stays: Whether these hold until `raymon down`; without, they end with the last part.
    """

    parts: dict[str, Part] = field(default_factory=dict)
    sources: Sources = field(default_factory=Sources)
    anonymous: bool = False
    prometheus_url: str = ""
    stays: bool = False

    def running(self, name: str) -> Part | None:
        """Return the part of that name if it still runs."""
        part = self.parts.get(name)
        return part if part and part.running else None


def default_directory() -> Path:
    """Return the default folder: `$XDG_DATA_HOME/raymon` or `~/.local/share/raymon`."""
    home = os.environ.get("XDG_DATA_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "share") / "raymon"


def read(directory: Path) -> StackState:
    """Read what was started; a missing or broken file is an empty state."""
    try:
        record = json.loads((directory / "state.json").read_text())
        parts = [Part.from_plain(part) for part in record["parts"].values()]
        url = record.get("prometheus_url", "")
        return StackState(
            {part.name: part for part in parts},
            Sources.from_plain(record["sources"]),
            record.get("anonymous") is True,
            url if isinstance(url, str) and is_url(url) else "",
            record.get("stays") is True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return StackState()


def write(directory: Path, state: StackState) -> None:
    """Write what was started, whole or not at all."""
    record = {**asdict(state), "sources": state.sources.plain()}
    write_file(directory / "state.json", json.dumps(record, indent=2) + "\n")


def write_file(path: Path, text: str, mode: int = 0o644) -> bool:
    """Replace a file atomically, never readable to more than `mode` allows; return whether its text changed."""
    if path.exists() and path.read_bytes() == text.encode():
        path.chmod(mode)
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as out:
            out.write(text)
        draft.replace(path)
    except BaseException:  # a full disk must not keep half a file as well
        draft.unlink(missing_ok=True)
        raise
    return True


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock the folder, so that two commands do not start the same program twice."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

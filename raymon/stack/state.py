"""What `raymon up` started, written down: one folder with state, configuration, data and logs."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from raymon.stack.process import is_running, start_mark


@dataclass(slots=True)
class Part:
    """A program that runs beside Ray.

    Attributes:
        name: prometheus or grafana.
        pid: Its process id.
        mark: What tells the process from a later one with the same pid.
        port: The port of the loopback it listens on.
        url: Its address for people and programs.
        command: How it was started.
        users: The processes it runs for: their marks by their pids.
        stays: Whether it runs until `raymon down`, whoever else uses it.
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
        """Whether it is still the process that was started."""
        return is_running(self.pid, self.mark)

    @property
    def used(self) -> bool:
        """Whether somebody needs it who is still there."""
        return self.stays or bool(self._living())

    @property
    def mine(self) -> bool:
        """Whether this process is one of its users."""
        return self.users.get(str(os.getpid())) == start_mark(os.getpid())

    def join(self) -> None:
        """Make this process one of its users."""
        self.users = {**self._living(), str(os.getpid()): start_mark(os.getpid())}

    def leave(self) -> None:
        """Take this process from its users."""
        self.users.pop(str(os.getpid()), None)

    def _living(self) -> dict[str, str]:
        return {pid: mark for pid, mark in self.users.items() if mark and start_mark(int(pid)) == mark}


@dataclass(slots=True)
class State:
    """Everything `raymon down`, the next `raymon up` and a run with --stack need to know.

    Attributes:
        parts: The programs that were started.
        sources: What Prometheus scrapes.
        anonymous: Whether Grafana shows its dashboards without a login.
        prometheus_url: The Prometheus that was named instead of one of our own, empty for our own.
        stays: Whether these hold until `raymon down`; without, they end with the last part.
    """

    parts: dict[str, Part] = field(default_factory=dict)
    sources: dict[str, Any] = field(default_factory=dict)
    anonymous: bool = False
    prometheus_url: str = ""
    stays: bool = False

    def running(self, name: str) -> Part | None:
        """Return the part of that name if it still runs."""
        part = self.parts.get(name)
        return part if part and part.running else None


def default_directory() -> Path:
    """Return where the stack lives unless told otherwise: `$XDG_DATA_HOME/raymon` or `~/.local/share/raymon`."""
    home = os.environ.get("XDG_DATA_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "share") / "raymon"


def read(directory: Path) -> State:
    """Read what was started; a missing or broken file is an empty state."""
    try:
        kept = json.loads((directory / "state.json").read_text())
        parts = {name: Part(**part) for name, part in kept["parts"].items()}
        url, stays = str(kept.get("prometheus_url", "")), bool(kept.get("stays"))
        return State(parts, dict(kept["sources"]), bool(kept.get("anonymous")), url, stays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return State()


def write(directory: Path, state: State) -> None:
    """Write what was started, whole or not at all."""
    write_file(directory / "state.json", json.dumps(asdict(state), indent=2) + "\n")


def write_file(path: Path, text: str, mode: int = 0o644) -> bool:
    """Replace a file atomically, never readable to more than `mode` allows; tell whether its text changed."""
    if path.exists() and path.read_text() == text:
        path.chmod(mode)
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as out:
        out.write(text)
    draft.replace(path)
    return True


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the folder, so that two commands do not start the same program twice."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

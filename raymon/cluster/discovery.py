"""Find Ray on this machine without joining it: temp dir, newest session, discovery file, token, addresses.

Everything here only reads files and environment variables; `ask_cluster` alone talks, in a child process, since Ray's
client ends the process it lives in when the cluster does not answer.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from raymon import ray_internals

DISCOVERY_FILE: Final = "prom_metrics_service_discovery.json"
DISCOVERY_PERIOD_SECONDS: Final = 5.0
"""How often the head node writes its discovery file anew."""
DEFAULT_DASHBOARD_URL: Final = "http://127.0.0.1:8265"


def ray_temp_dir() -> Path:
    """Return where Ray keeps its sessions unless told otherwise: `$RAY_TMPDIR/ray` or `/tmp/ray`."""
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"  # noqa: S108 - this is Ray's own default


@dataclass(frozen=True, slots=True)
class DiscoveryFile:
    """Ray's list of the nodes' metrics endpoints.

    Attributes:
        path: The file, in the temp dir; Ray makes it a link to the newest session's.
        age_seconds: Time since it was written, None when it does not exist.
        targets: `host:port` of every node.
        error: Why it could not be read, empty when it could.
    """

    path: Path
    age_seconds: float | None
    targets: tuple[str, ...]
    error: str = ""

    @property
    def fresh(self) -> bool:
        """Whether a head node is still writing it."""
        return self.age_seconds is not None and self.age_seconds < 6 * DISCOVERY_PERIOD_SECONDS


def read_discovery(temp_dir: Path) -> DiscoveryFile:
    """Read the discovery file of the newest session below a Ray temp dir."""
    path = temp_dir / DISCOVERY_FILE
    try:
        age = max(0.0, time.time() - path.stat().st_mtime)
        entries = json.loads(path.read_text())
        targets = tuple(str(target) for entry in entries for target in entry["targets"])
    except FileNotFoundError:
        return DiscoveryFile(path, None, (), "it does not exist")
    except (OSError, ValueError, TypeError, KeyError) as error:
        return DiscoveryFile(path, None, (), f"it cannot be read: {error}")
    return DiscoveryFile(path, age, targets)


def session_name(temp_dir: Path) -> str:
    """Return the name of the newest session, as in the label `SessionName`; empty when there is none."""
    latest = temp_dir / "session_latest"
    return latest.resolve().name if latest.is_symlink() and latest.exists() else ""


@dataclass(frozen=True, slots=True)
class Raylet:
    """A Ray node running on this machine, as its command line tells.

    Attributes:
        address: `host:port` of the control store of its cluster.
        session: The name of the session, which holds the moment it began.
        temp_dir: Where the session keeps its files.
    """

    address: str
    session: str
    temp_dir: Path


def raylets() -> tuple[Raylet, ...]:
    """Return the Ray nodes running on this machine, the newest session first."""
    found = set()
    for arguments in _command_lines():
        if not arguments or Path(arguments[0]).name != "raylet":
            continue
        told = dict(part[2:].split("=", 1) for part in arguments[1:] if part.startswith("--") and "=" in part)
        told = {name.replace("_", "-"): value for name, value in told.items()}  # Ray spells its flags both ways
        if told.get("gcs-address") and told.get("session-name"):
            temp_dir = Path(told.get("temp-dir") or ray_temp_dir())
            found.add(Raylet(told["gcs-address"], told["session-name"], temp_dir))
    return tuple(sorted(found, key=lambda raylet: raylet.session, reverse=True))


def _command_lines() -> Iterator[list[str]]:
    if Path("/proc/self/cmdline").exists():
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                yield path.read_bytes().decode(errors="replace").split("\0")
        return
    listing = subprocess.run(
        ["ps", "-axww", "-o", "args="], capture_output=True, text=True, check=False, timeout=10
    ).stdout
    yield from (line.split() for line in listing.splitlines())


def cluster_address(temp_dir: Path | None = None) -> str:
    """Return the address of the cluster to look at, empty when no Ray is to be found.

    In this order: RAY_ADDRESS, what `ray start` left in the temp dir, the newest node running on this machine. With
    `temp_dir` given only sessions below it count.
    """
    given = os.environ.get("RAY_ADDRESS", "")
    if not temp_dir and given and given not in ("auto", "local"):
        return given.removeprefix("ray://")
    running = [raylet for raylet in raylets() if temp_dir is None or raylet.temp_dir == temp_dir]
    with contextlib.suppress(OSError):
        left = ((temp_dir or ray_temp_dir()) / "ray_current_cluster").read_text().strip()
        if left and (not running or any(raylet.address == left for raylet in running)):
            return left
    return running[0].address if running else ""


def auth_token() -> tuple[str, str]:
    """Return Ray's token and where it was found; both empty without one.

    Ray's own order: RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH names, `~/.ray/auth_token`.
    """
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token, "RAY_AUTH_TOKEN"
    named = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        return path.read_text().strip(), str(path)
    except OSError:
        return "", ""


def auth_headers() -> dict[str, str]:
    """Return the header the Ray Dashboard wants; empty without a token."""
    token, _ = auth_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a cluster's control store told.

    Attributes:
        address: `host:port` that was asked.
        nodes: One mapping per living node: address, metrics_port, head, session.
        dashboard_url: Where its dashboard listens, empty when it has none.
        ray_version: The version of Ray it runs, empty when it did not tell.
        error: One sentence, empty when it answered.
        refused: Whether it answered that it wants a token, or another one.
    """

    address: str
    nodes: tuple[dict[str, Any], ...] = ()
    dashboard_url: str = ""
    ray_version: str = ""
    error: str = ""
    refused: bool = False

    @property
    def metrics_urls(self) -> tuple[str, ...]:
        """The metrics endpoint of every living node."""
        return tuple(f"http://{n['address']}:{n['metrics_port']}/metrics" for n in self.nodes if n["metrics_port"])


def ask_cluster(address: str, timeout: float = 15.0) -> Cluster:
    """Ask a cluster for its nodes, its dashboard and its version; never raises and takes at most about `timeout`."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return Cluster(address, error="expected an address HOST:PORT")
    try:  # Ray's client would wait its whole time for a port that nobody listens on
        socket.create_connection((host, int(port)), timeout=min(3.0, timeout)).close()
    except OSError as error:
        return Cluster(address, error=f"nothing answers there ({error.strerror or error})")
    command = [sys.executable, "-c", ray_internals.ASK_CLUSTER, address, str(max(1.0, timeout / 3))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return Cluster(address, error=f"no answer within {timeout:g} s: not a Ray cluster, or its token is not ours")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        told = lines[-1].rstrip(".") if lines else f"Ray's client ended with {done.returncode}"
        refused = "InvalidAuthToken" in told
        return Cluster(address, error=_token_refused() if refused else told, refused=refused)
    known = json.loads(done.stdout.splitlines()[-1])
    url = f"http://{known['dashboard']}" if known["dashboard"] else ""
    return Cluster(address, tuple(known["nodes"]), url, known["version"])


def _token_refused() -> str:
    token, place = auth_token()
    if token:
        return f"the token from {place} is not its own"
    return "it wants a token and there is none in RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"

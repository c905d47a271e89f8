"""Find Ray on this machine without joining it: its nodes, its newest session, the list of metrics endpoints.

Only reads files and process lists. Those of other users are ignored: Ray's temp dir is writable by everybody.
"""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from raymon.cluster.http import is_url
from raymon.cluster.ownership import is_trusted, read_file
from raymon.format import printable

DISCOVERY_FILE: Final = "prom_metrics_service_discovery.json"
DISCOVERY_PERIOD_SECONDS: Final = 5.0
"""How often the head node rewrites its discovery file."""
FRESH_SECONDS: Final = 6 * DISCOVERY_PERIOD_SECONDS
"""An older discovery file belongs to a session that has ended."""
MOST_TARGETS: Final = 512
_PROCESSES: Final = Path("/proc")


def ray_temp_dir() -> Path:
    """Return Ray's default temp dir: `$RAY_TMPDIR/ray` or `/tmp/ray`."""
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"  # noqa: S108 - this is Ray's own default


@dataclass(frozen=True, slots=True)
class DiscoveryFile:
    """Ray's list of the nodes' metrics endpoints.

    Attributes:
        path: The file; in the temp dir Ray makes it a link to the newest session's.
        age_seconds: Time since it was written, None when it cannot be read.
        targets: `host:port` of every node.
        error: Why it cannot be read, empty when it can.
    """

    path: Path
    age_seconds: float | None
    targets: tuple[str, ...]
    error: str = ""

    @property
    def fresh(self) -> bool:
        """Whether a head node still writes it."""
        return self.age_seconds is not None and self.age_seconds < FRESH_SECONDS


def read_discovery(path: Path, *, named: bool = False) -> DiscoveryFile:
    """Read a discovery file, as Ray's head node writes it for Prometheus; one that is `named` may be anybody's."""
    try:
        text = read_file(path, any_owner=named)
        age = max(0.0, time.time() - path.stat().st_mtime)
        document = json.loads(text)
    except FileNotFoundError:
        return DiscoveryFile(path, None, (), "it does not exist")
    except OSError as error:
        return DiscoveryFile(path, None, (), f"it cannot be read: {error.strerror}")
    except (ValueError, RecursionError):
        return DiscoveryFile(path, None, (), "it cannot be read: it is not JSON")
    return DiscoveryFile(path, age, targets_of(document))


def targets_of(document: object) -> tuple[str, ...]:
    """Return the printable targets, at most 512, in a document in Prometheus's format for discovery."""
    targets: dict[str, None] = {}
    for entry in document if isinstance(document, list) else []:
        listed = entry.get("targets") if isinstance(entry, dict) else None
        for target in listed if isinstance(listed, list) else []:
            if isinstance(target, str) and target.isprintable() and len(targets) < MOST_TARGETS:
                targets[target] = None
    return tuple(targets)


def dead_nodes(document: object) -> dict[str, str]:
    """Return host to reason of the dead nodes in the node summary of a Ray Dashboard, in the order of their ends."""
    data = document.get("data") if isinstance(document, dict) else None
    entries = data.get("summary") if isinstance(data, dict) else None
    ended: list[tuple[float, str, str]] = []
    for entry in entries if isinstance(entries, list) else []:
        raylet = entry.get("raylet") if isinstance(entry, dict) else None
        if not isinstance(raylet, dict) or raylet.get("state") != "DEAD":
            continue
        host, reason, at = entry.get("ip"), raylet.get("stateMessage"), raylet.get("endTimeMs")
        if isinstance(host, str) and isinstance(reason, str) and host.isprintable():
            when = float(at) if isinstance(at, int | float) or (isinstance(at, str) and at.isdecimal()) else 0.0
            ended.append((when, host, printable(reason)))
    return {host: reason for _, host, reason in sorted(ended)}


@dataclass(frozen=True, slots=True)
class Raylet:
    """A Ray node on this machine, as the command line of its raylet describes it.

    Attributes:
        gcs_address: `host:port` of the control store of its cluster.
        session_dir: Folder of the session; its name holds the moment it began.
        temp_dir: Where Ray keeps its sessions.
        node_id: Ray's id of the node.
        node_address: IP address of the node.
        metrics_port: Port of its metrics endpoint where the command line holds it, as before Ray 2.55; else empty.
    """

    gcs_address: str
    session_dir: Path
    temp_dir: Path
    node_id: str
    node_address: str
    metrics_port: str = ""

    @property
    def session(self) -> str:
        """The name of the session, as in the label `SessionName`."""
        return self.session_dir.name

    def metrics_url(self) -> str:
        """Return the node's metrics endpoint, empty as long as it has none."""
        try:
            port = int(self._metrics_port())
        except (OSError, ValueError):
            return ""
        if not 0 < port < 65536:  # Ray writes -1 until the node's agent has a port
            return ""
        host = f"[{self.node_address}]" if ":" in self.node_address else self.node_address
        url = f"http://{host}:{port}/metrics"
        return url if is_url(url) else ""

    def _metrics_port(self) -> str:
        try:
            return read_file(self.session_dir / f"metrics_export_port_{self.node_id}")
        except FileNotFoundError:
            return self.metrics_port


def raylets(processes: Path = _PROCESSES) -> tuple[Raylet, ...]:
    """Return this user's and root's Ray nodes on this machine, the newest session first."""
    running = {raylet for arguments in _command_lines(processes) if (raylet := _raylet(arguments)) is not None}
    return tuple(sorted(running, key=lambda raylet: (raylet.session, raylet.node_id), reverse=True))


def _raylet(arguments: list[str]) -> Raylet | None:
    if not arguments or arguments[0].rpartition("/")[2] != "raylet":  # a path would intern what others wrote
        return None
    options = dict(part[2:].split("=", 1) for part in arguments[1:] if part.startswith("--") and "=" in part)
    options = {name.replace("_", "-"): value for name, value in options.items()}  # Ray spells its flags both ways
    session_dir, gcs_address = options.get("session-dir", ""), options.get("gcs-address", "")
    if not session_dir.isprintable() or not gcs_address.isprintable() or not session_dir:
        return None
    temp_dir = options.get("temp-dir") or str(Path(session_dir).parent)
    return Raylet(
        gcs_address,
        Path(session_dir),
        Path(temp_dir),
        options.get("node-id", ""),
        options.get("node-ip-address", "127.0.0.1"),
        options.get("metrics-export-port", ""),
    )


def _command_lines(processes: Path) -> Iterator[list[str]]:
    """Yield the command lines of the processes of this user and root."""
    if processes.joinpath("self").exists() or processes != _PROCESSES:
        for folder in processes.glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if is_trusted(folder.stat().st_uid):
                    yield (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        return
    listing = subprocess.run(
        ["ps", "-axww", "-o", "uid=,args="], capture_output=True, text=True, check=False, timeout=10
    ).stdout
    for line in listing.splitlines():
        owner, *arguments = line.split() or [""]
        if owner.isdecimal() and is_trusted(int(owner)):
            yield arguments


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a cluster's control store.

    Attributes:
        text: `host:port`, empty when no cluster was found.
        named: Whether the user named it, in RAY_ADDRESS, rather than raymon finding it.
    """

    text: str = ""
    named: bool = False


def cluster_address(temp_dir: Path | None = None) -> Address:
    """Return the cluster to look at: RAY_ADDRESS, what `ray start` wrote into the temp dir, or the newest node here.

    With `temp_dir` only sessions below it count.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    if not temp_dir and named and named not in ("auto", "local"):
        return Address(named.removeprefix("ray://"), named=True)
    running = [raylet for raylet in raylets() if temp_dir is None or raylet.temp_dir == temp_dir]
    with contextlib.suppress(OSError, UnicodeDecodeError):
        written = read_file((temp_dir or ray_temp_dir()) / "ray_current_cluster").strip()
        if written.isprintable() and (not running or any(raylet.gcs_address == written for raylet in running)):
            return Address(written)
    return Address(running[0].gcs_address) if running else Address()

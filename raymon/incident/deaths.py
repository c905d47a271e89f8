"""The log of deaths: what Ray's control store said about processes and nodes that ended, one JSON line each.

It lies next to a recording, so that the cause of a death can be read after the cluster is gone.
"""

import json
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from raymon.cluster.cluster_state import ClusterState
from raymon.html.markup import clean

FILE: Final = "deaths.jsonl"
MOST_DEATHS: Final = 5_000
MOST_BYTES: Final = 8_000_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a process or a node.

    Attributes:
        kind: `driver`, `worker` or `node`.
        at: Wall-clock seconds.
        pid: Process id, 0 for a node.
        node: Address of the node.
        detail: Ray's explanation.
    """

    kind: str
    at: float
    pid: int
    node: str
    detail: str


class DeathLog:
    """Append every new death to `deaths.jsonl` in a directory; never raises."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._known: set[tuple[str, int, str]] = set()
        self._alive: set[str] = set()

    def update(self, state: ClusterState) -> None:
        """Take in one answer of the control store."""
        for death in self._new(state):
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8") as log:
                    log.write(json.dumps(asdict(death)) + "\n")
            except OSError as error:
                _log.warning("cannot write %s: %s", self._path, error.strerror)

    def _new(self, state: ClusterState) -> Iterator[Death]:
        for worker in state.workers:
            kind, at, pid = worker["kind"], worker["ended_at"], worker["pid"]
            yield from self._once(Death(kind, at, pid, worker["node"], worker["exit"]))
        for node in state.nodes:
            if node["alive"]:
                self._alive.add(node["id"])
            elif node["id"] in self._alive:  # its moment is known only if it was seen alive before
                self._alive.discard(node["id"])
                yield from self._once(Death("node", state.at, 0, node["address"], node["cause"]))

    def _once(self, death: Death) -> Iterator[Death]:
        key = (death.kind, death.pid, death.node)
        if key not in self._known and len(self._known) < MOST_DEATHS:
            self._known.add(key)
            yield death


def read_deaths(directory: Path) -> list[Death]:
    """Return the deaths of a log in the order of their moments; malformed lines are left out."""
    deaths = []
    try:
        descriptor = os.open(directory / FILE, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return []
    with os.fdopen(descriptor, "rb") as log:
        if not stat.S_ISREG(os.fstat(log.fileno()).st_mode):
            return []
        text = log.read(MOST_BYTES).decode(errors="replace")
    for line in text.splitlines()[:MOST_DEATHS]:
        try:
            entry = json.loads(line)
            at, pid = float(entry["at"]), int(entry["pid"])
            death = Death(str(entry["kind"]), at, pid, clean(entry["node"]), clean(entry["detail"]))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        deaths.append(death)
    return sorted(deaths, key=lambda death: death.at)

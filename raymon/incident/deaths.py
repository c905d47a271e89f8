"""The log of deaths: what Ray's control store said about processes and nodes that ended, one JSON line each.

It is stored next to a recording, so that the cause of a death can be read after the cluster is gone.
"""

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from raymon.cluster.cluster_state import ClusterState
from raymon.cluster.ownership import open_regular
from raymon.html.markup import clean

FILE: Final = "deaths.jsonl"
MOST_DEATHS: Final = 5_000
MOST_BYTES: Final = 8_000_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a process or a node.

    Attributes:
        kind: `driver`, `worker` or `node`; on this machine also `raylet` and `gcs`, Ray's own processes.
        at: Wall-clock seconds.
        pid: Process id, 0 for a node.
        node: Address of the node.
        detail: Ray's explanation, or what the process left behind.
        how: Of a process on this machine, whose `at` is exact then: `raised` an uncaught exception, `lost` an
            actor according to Ray, `interrupted` by Ctrl-C, `exited` in order, `crashed` in native code, or
            `vanished`; else empty.
        raised_by: Process id of the process that raised the exception or was lost, 0 if it is the same.
    """

    kind: str
    at: float
    pid: int
    node: str
    detail: str
    how: str = ""
    raised_by: int = 0


class DeathLog:
    """Append every new death to `deaths.jsonl` in a directory; never raises."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._known: set[tuple[str, int, str, bool]] = set()
        self._lock = threading.Lock()
        self._alive: set[str] = set()

    def update(self, state: ClusterState) -> None:
        """Take in one answer of the control store."""
        for death in self._new(state):
            self._write(death)

    def add(self, death: Death) -> None:
        """Append the end of a process on this machine."""
        for each in self._once(death):
            self._write(each)

    def _write(self, death: Death) -> None:
        with self._lock:
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
        key = (death.kind, death.pid, death.node, bool(death.how))
        if key not in self._known and len(self._known) < MOST_DEATHS:
            self._known.add(key)
            yield death


def read_deaths(directory: Path) -> list[Death]:
    """Return the deaths of a log in the order of their moments; malformed lines are left out."""
    deaths = []
    try:
        with open_regular(directory / FILE) as log:
            text = log.read(MOST_BYTES).decode(errors="replace")
    except OSError:
        return []
    for line in text.splitlines()[:MOST_DEATHS]:
        try:
            entry = json.loads(line)
            at, pid = float(entry["at"]), int(entry["pid"])
            how, raised_by = str(entry.get("how", "")), int(entry.get("raised_by", 0))
            death = Death(str(entry["kind"]), at, pid, clean(entry["node"]), clean(entry["detail"]), how, raised_by)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        deaths.append(death)
    return sorted(_merged(deaths), key=lambda death: death.at)


def _merged(deaths: Sequence[Death]) -> Iterator[Death]:
    """Yield each end once: the exact moment and what was left behind, else Ray's explanation."""
    by_process: dict[tuple[int, str], list[Death]] = {}
    for death in deaths:
        if death.pid:
            by_process.setdefault((death.pid, death.node), []).append(death)
        else:
            yield death
    for same in by_process.values():
        exact = next((death for death in same if death.how), same[0])
        by_ray = next((death.detail for death in same if not death.how), "")
        yield replace(exact, detail=exact.detail or by_ray)

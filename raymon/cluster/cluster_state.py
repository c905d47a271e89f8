"""Ask a cluster's control store, once or again and again, for its actors, worker processes and nodes.

The control store answers without a dashboard, and asking it does not join the cluster. Ray's client may end its
process when the cluster goes away, so it runs in a child process, which prints one JSON line per answer.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from raymon import ray_internals
from raymon.cluster.auth import cluster_is_trusted, ray_environment

LONGEST_DETAIL: Final = 1_000
"""Ray's explanations are cut to this many characters."""
MOST_ENTRIES: Final = 5_000
_ACTOR_STATES: Final = ("DEPENDENCIES_UNREADY", "PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD")
_ASK_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class ClusterState:
    """The control store's state at one moment.

    Attributes:
        at: Wall-clock seconds of the answer; 0 without one.
        actors: One mapping per actor: id, name, class, state, pid, node, restarts, cause (text of Ray, or empty).
        workers: One mapping per worker process that ended: pid, node, kind (`driver` or `worker`), exit (text of Ray),
            ended_at.
        nodes: One mapping per node: id, address, alive, cause.
        error: Why there is no answer; empty if there is one.
    """

    at: float = 0.0
    actors: tuple[Mapping[str, Any], ...] = ()
    workers: tuple[Mapping[str, Any], ...] = ()
    nodes: tuple[Mapping[str, Any], ...] = ()
    error: str = ""

    def ended(self, pid: int, node: str | None = None) -> Mapping[str, Any] | None:
        """Return the ended worker process with this pid, None if none is known."""
        matches = (worker for worker in self.workers if worker["pid"] == pid and node in (None, "", worker["node"]))
        return next(matches, None)


def ask(address: str, timeout_seconds: float = _ASK_SECONDS) -> ClusterState:
    """Return the state of the cluster at `address`, HOST:PORT of its control store; never raises.

    The address was found, not named: the token is sent only to a control store of a Ray of this user's or root's.
    """
    try:
        result = subprocess.run(
            [sys.executable, "-m", "raymon.cluster.cluster_state", address],
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
            env=ray_environment(send_token=cluster_is_trusted(address)),
        )
    except subprocess.TimeoutExpired:
        return ClusterState(error=f"the control store at {address} did not answer within {timeout_seconds:g} s")
    lines = result.stdout.splitlines()
    if lines:
        return _parsed(lines[-1])
    reasons = [line for line in result.stderr.splitlines() if line.strip()] or ["no error message"]
    return ClusterState(error=f"the control store at {address} cannot be reached: {reasons[-1][:300]}")


_TYPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "actors": {
        "id": str,
        "name": str,
        "class": str,
        "state": str,
        "pid": int,
        "node": str,
        "restarts": int,
        "cause": str,
    },
    "workers": {"pid": int, "node": str, "kind": str, "exit": str, "ended_at": float},
    "nodes": {"id": str, "address": str, "alive": bool, "cause": str},
}
"""The types of the keys of each kind of entry."""


@dataclass(slots=True)
class StateFollower:
    """Keep the newest state of a cluster, requested every `period_seconds` by one child process.

    `on_state` is called with every answer, from the reading thread. The token is sent as by `ask`.
    """

    address: str
    period_seconds: float = 0.5
    on_state: Callable[[ClusterState], None] | None = None
    _state: ClusterState = field(default_factory=lambda: ClusterState(error="no answer yet"))
    _child: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        """Start the child process and the thread that reads it."""
        self._child = subprocess.Popen(
            [sys.executable, "-m", "raymon.cluster.cluster_state", self.address, str(self.period_seconds)],
            stdin=subprocess.PIPE,  # its end shows the child that this process is gone
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=ray_environment(send_token=cluster_is_trusted(self.address)),
        )
        threading.Thread(target=self._read, args=(self._child,), name="raymon-cluster-state", daemon=True).start()

    def state(self) -> ClusterState:
        """Return the newest answer."""
        return self._state

    def ask_now(self) -> None:
        """Request the state at once, because something has happened."""
        if self._child is not None and self._child.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._child.stdin.write("\n")
                self._child.stdin.flush()

    def stop(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def _read(self, child: "subprocess.Popen[str]") -> None:
        for line in child.stdout or ():
            state = _parsed(line)
            if not state.error:
                self._state = state
                if self.on_state is not None:
                    self.on_state(state)


def _parsed(line: str) -> ClusterState:
    try:
        reply = json.loads(line)
        if "error" in reply:
            return ClusterState(error=str(reply["error"])[:LONGEST_DETAIL])
        actors, workers, nodes = (_entries(reply[name], types) for name, types in _TYPES.items())
        return ClusterState(float(reply["at"]), actors, workers, nodes)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        return ClusterState(error=f"the answer cannot be read: {type(error).__name__}: {str(error)[:200]}")


def _entries(listed: object, types: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the entries that have all keys of the types, at most `MOST_ENTRIES`; others are left out."""
    entries = listed[:MOST_ENTRIES] if isinstance(listed, list) else []
    return tuple(
        entry
        for entry in entries
        if isinstance(entry, dict) and all(isinstance(entry.get(key), kind) for key, kind in types.items())
    )


def _answers(address: str) -> Callable[[], dict[str, Any]]:
    """Return a function that asks the control store and returns plain data."""
    read = ray_internals.control_store_tables(address)

    def answer() -> dict[str, Any]:
        actors, workers, nodes = read()
        return {
            "at": time.time(),
            "actors": [_actor(actor) for actor in actors[-MOST_ENTRIES:]],
            "workers": [_worker(worker) for worker in workers if not worker.is_alive][-MOST_ENTRIES:],
            "nodes": [_node(node) for node in nodes],
        }

    return answer


def _actor(actor: Any) -> dict[str, Any]:  # noqa: ANN401  # a message of Ray
    return {
        "id": actor.actor_id.hex(),
        "name": actor.name,
        "class": actor.class_name,
        "state": _ACTOR_STATES[actor.state] if actor.state < len(_ACTOR_STATES) else str(actor.state),
        "pid": actor.pid,
        "node": actor.address.ip_address,
        "restarts": actor.num_restarts,
        "cause": _cause(actor.death_cause),
    }


def _cause(cause: Any) -> str:  # noqa: ANN401  # a message of Ray
    for kind, context in cause.ListFields():
        text = getattr(context, "error_message", "") or getattr(context, "formatted_exception_string", "")
        return f"{text or kind.name.replace('_', ' ')}"[:LONGEST_DETAIL]
    return ""


def _worker(worker: Any) -> dict[str, Any]:  # noqa: ANN401  # a message of Ray
    return {
        "pid": worker.pid,
        "node": worker.worker_address.ip_address,
        "kind": "driver" if worker.worker_type == 1 else "worker",
        "exit": worker.exit_detail[:LONGEST_DETAIL],
        "ended_at": worker.end_time_ms / 1000.0,
    }


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(node.get("NodeID", "")),
        "address": str(node.get("NodeManagerAddress", "")),
        "alive": bool(node.get("Alive")),
        "cause": str(node.get("DeathReasonMessage") or "")[:LONGEST_DETAIL],
    }


def _wait(seconds: float) -> bool:
    """Wait until it is time to ask again, or a line comes on standard input; return False at the end of it."""
    readable, _, _ = select.select([0], [], [], seconds)
    return not readable or bool(os.read(0, 4096))


def _end_with_parent() -> None:
    """End this process soon after its parent: Ray's client waits for minutes for a control store that is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str]) -> int:
    """Print the state once, or every ARG2 seconds until standard input is closed."""
    _end_with_parent()
    try:
        answer = _answers(arguments[0])
        if len(arguments) < 2:
            print(json.dumps(answer()))
            return 0
        while True:
            print(json.dumps(answer()), flush=True)
            if not _wait(float(arguments[1])):
                break
    except Exception as error:  # noqa: BLE001  # whatever Ray's client raises is reported to the parent
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

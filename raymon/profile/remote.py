"""Profiling processes on other nodes: one Ray task pinned to each node, asked for by a child process of its own.

A child, because Ray's client may end the process it lives in when the cluster refuses it or does not answer. It joins
the cluster as a driver for as long as the profile takes and needs no CPU slot; the nodes have raymon: they record.
"""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from raymon.cluster.join import JoinError, join
from raymon.errors import UserError
from raymon.profile.node import Gathered, gather

START_SECONDS: Final = 60.0


class RemoteError(UserError):
    """The cluster could not be asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Processes of one node: those that note their phases, and those of them whose stacks are sampled."""

    pids: tuple[int, ...]
    sampled: tuple[int, ...]


def gather_on(address: str, nodes: Mapping[str, Wanted], seconds: float, rate: int) -> dict[str, Gathered]:
    """Profile processes on nodes of a cluster, all at once; return what each node gave, by its address.

    Raises:
        RemoteError: When the cluster cannot be joined or a node does not answer.
    """
    asked = {
        "address": address,
        "seconds": seconds,
        "rate": rate,
        "nodes": {node: dataclasses.asdict(wanted) for node, wanted in nodes.items()},
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "raymon.profile.remote"],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=START_SECONDS + 2 * seconds + 30,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RemoteError(f"the Ray cluster at {address} did not answer in time") from None
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["without a word"]
        raise RemoteError(f"the Ray cluster at {address} could not be asked: {last[0][:300]}") from None
    if "error" in answer:
        raise RemoteError(str(answer["error"]))
    return {node: _gathered(told) for node, told in answer.items()}


def _gathered(told: dict[str, Any]) -> Gathered:
    by_pid = {name: {int(pid): text for pid, text in told[name].items()} for name in ("stacks", "dumps", "problems")}
    return Gathered(told["traces"], **by_pid)


def _here(pids: tuple[int, ...], sampled: tuple[int, ...], seconds: float, rate: int) -> dict[str, Any]:
    """Runs as a task on a node: profile its processes."""
    from raymon.monitor.export import session_folder

    session = session_folder()
    if session is None:
        raise RuntimeError("this version of Ray does not tell the folder of its session")
    return dataclasses.asdict(gather(Path(session), pids, sampled, seconds, rate))


def _ask(asked: dict[str, Any]) -> dict[str, Any]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    join(asked["address"])
    try:
        known = {node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes() if node["Alive"]}
        if missing := sorted(set(asked["nodes"]) - set(known)):
            return {
                "error": f"the cluster at {asked['address']} has no node {', '.join(missing)}; it has {sorted(known)}"
            }
        task = ray.remote(num_cpus=0, max_retries=0)(_here)
        waiting = {
            node: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(known[node], soft=False)).remote(
                tuple(wanted["pids"]), tuple(wanted["sampled"]), asked["seconds"], asked["rate"]
            )
            for node, wanted in asked["nodes"].items()
        }
        return {node: ray.get(answer) for node, answer in waiting.items()}
    finally:
        ray.shutdown()


def main() -> int:
    """Answer one question on standard input with one line of JSON."""
    asked = json.load(sys.stdin)
    try:
        answer = _ask(asked)
    except JoinError as error:
        answer = {"error": str(error)}
    except Exception as error:  # noqa: BLE001  # whatever Ray raises is told to the process that asked
        answer = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300] if str(error) else ''}"}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Profile processes on other nodes: a child process joins the cluster and pins one Ray task to each node.

It is a child process because Ray's client may end its own process when the cluster refuses it or does not answer. It is
a driver of the cluster while the profile runs and needs no CPU slot. The nodes have raymon installed.
"""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from raymon import ray_internals
from raymon.cluster.join import JoinError, join
from raymon.errors import UserError
from raymon.profile.node import Gathered, gather

START_SECONDS: Final = 60.0
_TEXTS: Final = ("stacks", "dumps", "problems")


class RemoteError(UserError):
    """The cluster does not answer or cannot be joined."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """The processes of one node to profile: those that record phases, and those whose stacks are sampled."""

    pids: tuple[int, ...]
    sampled: tuple[int, ...]


def gather_on(address: str, nodes: Mapping[str, NodePlan], seconds: float, rate: int) -> dict[str, Gathered]:
    """Profile processes on several nodes of a cluster at once; return the results by node address.

    Raises:
        RemoteError: When the cluster cannot be joined or a node does not answer.
    """
    request = {
        "address": address,
        "seconds": seconds,
        "rate": rate,
        "nodes": {node: dataclasses.asdict(plan) for node, plan in nodes.items()},
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "raymon.profile.remote_nodes"],
            input=json.dumps(request),
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
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["no error message"]
        raise RemoteError(f"the Ray cluster at {address} cannot be profiled: {last[0][:300]}") from None
    if "error" in answer:
        raise RemoteError(str(answer["error"]))
    return {node: _gathered(reply) for node, reply in answer.items()}


def _gathered(reply: Any) -> Gathered:  # noqa: ANN401  # any JSON
    """Return what a node answered; raises `RemoteError` if it is something else."""
    try:
        texts = [{int(pid): text for pid, text in reply[name].items()} for name in _TEXTS]
        traces = reply["traces"]
    except (AttributeError, KeyError, TypeError, ValueError):
        texts, traces = [], None
    if not isinstance(traces, list) or not all(isinstance(text, str) for part in texts for text in part.values()):
        raise RemoteError("a node sent a reply that is not a profile; check that it has this version of raymon")
    return Gathered([trace for trace in traces if isinstance(trace, dict)], *texts)


def _gather_here(pids: tuple[int, ...], sampled: tuple[int, ...], seconds: float, rate: int) -> dict[str, Any]:
    """Profile the processes of a node; runs there as a task."""
    session = ray_internals.session_folder()
    if session is None:
        raise RuntimeError("this version of Ray does not say where its session folder is")
    return dataclasses.asdict(gather(Path(session), pids, sampled, seconds, rate))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    join(request["address"])
    try:
        known = {node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes() if node["Alive"]}
        if missing := sorted(set(request["nodes"]) - set(known)):
            return {
                "error": f"the cluster at {request['address']} has no node {', '.join(missing)}; it has {sorted(known)}"
            }
        task = ray.remote(num_cpus=0, max_retries=0)(_gather_here)
        pending = {
            node: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(known[node], soft=False)).remote(
                tuple(plan["pids"]), tuple(plan["sampled"]), request["seconds"], request["rate"]
            )
            for node, plan in request["nodes"].items()
        }
        return {node: ray.get(answer) for node, answer in pending.items()}
    finally:
        ray.shutdown()


def main() -> int:
    """Answer one JSON request on standard input with one line of JSON."""
    request = json.load(sys.stdin)
    try:
        answer = _answer(request)
    except JoinError as error:
        answer = {"error": str(error)}
    except Exception as error:  # noqa: BLE001  # the parent process reports it
        answer = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300] if str(error) else ''}"}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())

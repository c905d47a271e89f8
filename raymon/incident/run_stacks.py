"""The stacks of a run's processes as evidence: what each is doing, which are alike, and which one hangs."""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from raymon.catalog import DRIVER
from raymon.cluster.cluster_state import ClusterState
from raymon.health import Finding
from raymon.incident import stack_groups
from raymon.incident.hang import hang
from raymon.incident.processes import MOST_PROCESSES, Standing, standings
from raymon.live.evidence_files import EvidenceFiles, Process
from raymon.live.snapshot import Snapshot
from raymon.views import RunView

STACK_SECONDS: Final = 3.0
MOST_HELPERS: Final = 8
MOST_FRAMES: Final = 40


def suspects(snapshot: Snapshot, run: RunView, finding: Finding) -> list[str]:
    """Return the processes that a finding is about; empty if it is about the whole run."""
    if finding.worker:
        return [f"worker {finding.worker}"]
    if finding.code == "driver_gone":
        return [DRIVER]
    verdict = snapshot.verdicts.get(run.run)
    if verdict is None or finding.code not in ("worker_stalled", "workers_lost"):
        return []
    states = ("stalled",) if finding.code == "worker_stalled" else ("given_up", "dead", "restarting")
    return [f"worker {judged.worker}" for judged in verdict.workers if judged.state in states]


def in_order_of_interest(run: RunView, about: Sequence[str], most: int = MOST_PROCESSES) -> list[str]:
    """Return the processes to look at: the driver and those that a finding is about, then a sample of the others.

    Args:
        run: The run.
        about: The processes that the finding is about; empty for the whole run.
        most: How many at most.
    """
    own = run.processes()
    silent = [f"worker {worker.worker}" for worker in run.workers if worker.where or worker.process]
    stuck = sorted(run.workers, key=lambda worker: -(worker.stuck_seconds or 0.0))[: most // 4]
    awaited = [f"worker {name}" for name in run.driver_waits_for]
    wanted = dict.fromkeys([DRIVER, *about, *awaited, *silent, *(f"worker {worker.worker}" for worker in stuck)])
    first = [name for name in wanted if name in own][:most]
    others = [name for name in own if name not in wanted]
    step = math.ceil(len(others) / max(1, most - len(first)))
    return [*first, *others[:: max(1, step)]][:most]


def stack_evidence(
    run: RunView,
    about: Sequence[str],
    here: Collection[str],
    ask_state: Callable[[], ClusterState] | None,
    files: EvidenceFiles,
) -> dict[str, Any]:
    """Return where the processes of the run stand, their stacks grouped by likeness, and what hangs, as JSON data.

    The keys `losses` and `failures` hold what the processes wrote about lost workers and failed rollouts.

    Args:
        run: The run.
        about: The processes that the finding is about; empty for the whole run.
        here: Addresses of the nodes on this machine.
        ask_state: Returns what the control store knows; None without one.
        files: Reads what processes left behind.
    """
    own = run.processes()
    looked_at = {name: own[name] for name in in_order_of_interest(run, about)}
    stands = standings(looked_at, here, files, STACK_SECONDS, request=True)
    stands = {name: stands[name] for name in own if name in stands}
    helpers = _helpers(stands, ask_state)
    if helpers:
        stands |= standings(dict(helpers.values()), here, files, STACK_SECONDS)
        names = {actor: name for actor, (name, _) in helpers.items()}
        stands = {
            name: replace(each, waits_for=tuple(names.get(other, other) for other in each.waits_for))
            for name, each in stands.items()
        }
    alike = stack_groups.grouped({name: each.frames for name, each in stands.items() if each.frames})
    hanging = hang(stands, about, time.time())
    return {
        "hang": asdict(hanging) if hanging else None,
        "losses": stands[DRIVER].losses if DRIVER in stands else (),
        "failures": {name: each.failure for name, each in stands.items() if each.failure},
        "sentence": stack_groups.sentence(alike),
        "groups": [{"processes": group.processes, "frames": group.frames[:MOST_FRAMES]} for group in alike],
        "processes": {name: _short(each) for name, each in stands.items()},
        "idle": [name for name in own if name in stands and stands[name].idle],
        "unreadable": [
            name
            for name, (node, _) in own.items()
            if node in here and name in stands and not (stands[name].frames or stands[name].idle)
        ],
        "elsewhere": sorted(
            {node for name, (node, _) in looked_at.items() if node not in here and not _known(stands, name)}
        ),
    }


def _known(stands: Mapping[str, Standing], name: str) -> bool:
    return name in stands and bool(stands[name].frames or stands[name].idle)


def _short(standing: Standing) -> dict[str, Any]:
    """Return a standing without its frames, its errors and what is empty."""
    left_out = ("frames", "losses", "failure")
    return {key: value for key, value in asdict(standing).items() if key not in left_out and value}


def _helpers(
    stands: Mapping[str, Standing], ask_state: Callable[[], ClusterState] | None
) -> dict[str, tuple[str, Process]]:
    """Return the actors that processes wait for and that are no workers: `actor ID` to name, node and process id."""
    awaited = {other for each in stands.values() for other in each.waits_for if other.startswith("actor ")}
    if not awaited or ask_state is None:
        return {}
    known = {f"actor {actor['id']}": actor for actor in ask_state().actors}
    return {
        other: (f"actor {actor['name'] or actor['class']}", (actor["node"], actor["pid"]))
        for other in sorted(awaited)[:MOST_HELPERS]
        if (actor := known.get(other)) is not None
    }

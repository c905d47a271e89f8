"""The stacks of a run's processes as evidence: what each is doing, which are alike, and which one hangs."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from raymon.catalog import DRIVER
from raymon.cluster.cluster_state import ClusterState
from raymon.health import Finding
from raymon.incident import stack_groups
from raymon.incident.hang import hang
from raymon.incident.processes import Standing, standings
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


def stack_evidence(
    run: RunView,
    about: Sequence[str],
    here: Collection[str],
    ask_state: Callable[[], ClusterState] | None,
    files: EvidenceFiles,
) -> dict[str, Any]:
    """Return where the processes of the run stand, their stacks grouped by likeness, and what hangs, as JSON data.

    Args:
        run: The run.
        about: The processes that the finding is about; empty for the whole run.
        here: Addresses of the nodes on this machine.
        ask_state: Returns what the control store knows; None without one.
        files: Reads what processes left behind.
    """
    own = run.processes()
    stands = standings(own, here, files, STACK_SECONDS)
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
        "sentence": stack_groups.sentence(alike),
        "groups": [{"processes": group.processes, "frames": group.frames[:MOST_FRAMES]} for group in alike],
        "processes": {name: _short(each) for name, each in stands.items()},
        "idle": [name for name in own if name in stands and stands[name].idle],
        "unreadable": [
            name
            for name, (node, _) in own.items()
            if node in here and name in stands and not (stands[name].frames or stands[name].idle)
        ],
        "elsewhere": sorted({node for name, (node, _) in own.items() if node not in here and not _known(stands, name)}),
    }


def _known(stands: Mapping[str, Standing], name: str) -> bool:
    return name in stands and bool(stands[name].frames)


def _short(standing: Standing) -> dict[str, Any]:
    """Return a standing without its frames and without what is empty."""
    return {key: value for key, value in asdict(standing).items() if key != "frames" and value}


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

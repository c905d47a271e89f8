"""Profile the processes of a run on all of its nodes at once, and combine the results."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from raymon.cluster.discovery import raylets
from raymon.live.snapshot import Snapshot
from raymon.profile import result as results
from raymon.profile import stacks, timeline
from raymon.profile.node import Gathered, gather
from raymon.profile.remote_nodes import NodePlan, RemoteError, gather_on
from raymon.profile.result import ProcessProfile, ProfileResult
from raymon.views import RunView


def gather_all(
    snapshot: Snapshot, run: RunView, sampled: Sequence[str], seconds: float, rate: int, address: str
) -> tuple[dict[str, Gathered], list[str]]:
    """Profile the processes of all nodes at once; return the results by node, and notes on what is missing."""
    plans = _by_node(run, sampled)
    urls = {target.url for target in snapshot.targets}
    here = {node.node_address: node for node in raylets() if node.metrics_url() in urls}
    away = {node: plan for node, plan in plans.items() if node not in here}
    address = address or next((node.gcs_address for node in here.values() if node.gcs_address), "")
    gathered: dict[str, Gathered] = {}
    notes: list[str] = []
    with ThreadPoolExecutor() as pool:
        jobs = {
            node: pool.submit(gather, here[node].session_dir, plan.pids, plan.sampled, seconds, rate)
            for node, plan in plans.items()
            if node in here
        }
        far = pool.submit(gather_on, address, away, seconds, rate) if away and address else None
        for node, job in jobs.items():
            try:
                gathered[node] = job.result()
            except OSError as error:
                notes.append(
                    f"The folder of the Ray session cannot be written to ({error.strerror}): run as Ray's user."
                )
        if far is not None:
            try:
                gathered.update(far.result())
            except RemoteError as error:
                notes.append(f"Processes on {', '.join(away)} were not profiled: {error}.")
        elif away:
            notes.append(
                f"Processes on {', '.join(away)} were not profiled: name the cluster with --address HOST:PORT."
            )
    return gathered, notes


def _by_node(run: RunView, sampled: Sequence[str]) -> dict[str, NodePlan]:
    """Return the processes to profile by node."""
    pids: dict[str, list[int]] = {}
    sampled_pids: dict[str, list[int]] = {}
    for name, (node, pid) in run.processes().items():
        pids.setdefault(node, []).append(pid)
        if name in sampled:
            sampled_pids.setdefault(node, []).append(pid)
    return {node: NodePlan(tuple(node_pids), tuple(sampled_pids.get(node, ()))) for node, node_pids in pids.items()}


def combine(
    snapshot: Snapshot, run: RunView, gathered: Mapping[str, Gathered], seconds: float, notes: list[str]
) -> ProfileResult:
    """Combine the results of all nodes; `run` is the view from the beginning of the profile."""
    now = snapshot.run(run.run) or run
    known = run.processes()
    processes = [
        _process(gathered[node], pid, name)
        for name, (node, pid) in known.items()
        if node in gathered and (pid in gathered[node].stacks or pid in gathered[node].problems)
    ]
    traces = [trace for part in gathered.values() for trace in part.traces]
    tracks = [track for track in timeline.tracks(traces) if track.run == run.run]
    recorded = {track.name for track in tracks}
    silent = [name for name, (node, _) in known.items() if node in gathered and name not in recorded]
    if silent:
        notes = [
            *notes,
            f"No phases came from {', '.join(silent[:8])}: the process is stopped, has ended or uses an older raymon.",
        ]
    notes += [f"{t.name} recorded more phases than fit; {t.lost} are missing." for t in tracks if t.lost]
    return ProfileResult(
        now,
        snapshot.verdicts[now.run],
        seconds,
        snapshot.taken_at,
        processes,
        tracks,
        timeline.last_arrivals(tracks),
        results.compare(now, processes),
        results.rollouts_of(tracks),
        notes,
    )


def _process(part: Gathered, pid: int, name: str) -> ProcessProfile:
    standing = stacks.current_frames(part.dumps.get(pid, ""))
    return ProcessProfile(name, pid, stacks.parse(part.stacks.get(pid, "")), standing, part.problems.get(pid, ""))

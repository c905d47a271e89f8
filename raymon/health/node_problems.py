"""Nodes in trouble: silent, lost, drained, out of memory or disk, with a clock that is off."""

import math
from collections.abc import Iterator, Mapping

from raymon.format import duration, listing, share
from raymon.health.impact import absence_cost, with_cost
from raymon.health.thresholds import Thresholds
from raymon.health.verdicts import Finding
from raymon.views import NodeView, RunView


def is_silent(node: NodeView, limits: Thresholds) -> bool:
    """Return whether the endpoint of a node that answered before does not answer any more."""
    return (node.silent_seconds or 0.0) > limits.node_silent_seconds and bool(node.error or not node.listed)


def silent_nodes(run: RunView, limits: Thresholds) -> tuple[NodeView, ...]:
    """Return the silent nodes that the run uses; none when no node answers, since then nothing here is live."""
    silent = tuple(node for node in run.nodes if is_silent(node, limits) and (node.workers or node.driver))
    answering = any(node.silent_seconds is not None and not is_silent(node, limits) for node in run.nodes)
    return silent if answering else ()


def node_problems(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    """Yield what is wrong with the nodes of the run, silent ones first."""
    for node in silent_nodes(run, limits):
        # workers behind an endpoint that does not answer may go on; those of a node that has left do not
        yield with_cost(_silent(node), None if node.listed else absence_cost(run, node.workers))
    for node in run.nodes:
        if node.lost_workers and not node.workers and not node.driver and _lost_lately(node, limits):
            yield _left(node)
    for node in run.nodes:
        if (node.workers or node.driver) and not is_silent(node, limits):
            yield from _shortages(node, limits)
    yield from _overloaded(run, limits)


def _overloaded(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    """Yield the nodes that have no CPU left while others of the run have."""
    used = [node for node in run.nodes if (node.workers or node.driver) and node.cpu_ratio is not None]
    full = [node for node in used if (node.cpu_ratio or 0.0) > limits.node_cpu_ratio]
    for node in full if len(full) < len(used) else ():
        hosts = f"; worker{'s' if len(node.workers) > 1 else ''} {listing(node.workers)} on it" if node.workers else ""
        sentence = f"{_name(node)} has no CPU left ({share(node.cpu_ratio)} used), others have{hosts}."
        advice = "Move workers{workers} away from it, or see what else runs there."
        yield Finding("node_overloaded", "info", sentence, advice)


def starved_workers(run: RunView, limits: Thresholds) -> Iterator[Finding]:
    """Yield the workers of each node that wait for a core most of the time; they are not called slow for that."""
    waits = {worker.worker: worker.cpu_wait_ratio or 0.0 for worker in run.workers}
    for node in run.nodes:
        starved = [name for name in node.workers if waits.get(name, 0.0) > limits.starved_ratio]
        if starved and (node.cpu_ratio or 0.0) > limits.contended_cpu_ratio:
            plural = len(starved) > 1
            sentence = (
                f"Worker{'s' if plural else ''} {listing(starved)} wait{'' if plural else 's'} for a CPU core for "
                f"{share(max(waits[name] for name in starved))} of the generation: other "
                f"processes have the cores of node {node.address or node.url} ({share(node.cpu_ratio)} used)."
            )
            yield Finding("worker_starved", "info", sentence, worker="" if plural else starved[0])


def _name(node: NodeView) -> str:
    return f"Node {node.address or node.url}"


def _silent(node: NodeView) -> Finding:
    names = listing(node.workers)
    hidden = [f"worker{'s' if len(node.workers) > 1 else ''} {names}"] if node.workers else []
    hidden += ["the driver"] if node.driver else []
    verb = "are" if len(node.workers) + node.driver > 1 else "is"
    age = duration(node.silent_seconds)
    subject = " and ".join(hidden)
    if node.listed:
        sentence = f"{_name(node)} has not answered for {age}: {subject} {verb} out of sight."
        advice = "Check its network and whether the node lives: `raymon doctor`."
        return Finding("node_silent", "critical", sentence, advice)
    why = f" ({node.departure_reason})" if node.departure_reason else ""
    if node.departure == "planned":
        sentence = f"{_name(node)} was drained or stopped{why}, silent for {age}: {subject} {verb} out of sight."
        return Finding("node_drained", "warning", sentence, "Nothing, if you meant it; its workers start elsewhere.")
    if node.departure == "failure":
        sentence = f"{_name(node)} is lost{why}, silent for {age}: {subject} {verb} out of sight."
        return Finding("node_lost", "critical", sentence, "Check the machine; the end of its raylet's log is there.")
    sentence = f"{_name(node)} has left the cluster and has been silent for {age}: {subject} {verb} out of sight."
    return Finding("node_lost", "critical", sentence, "It was drained or has died: `ray status`, and its raylet's log.")


def _lost_lately(node: NodeView, limits: Thresholds) -> bool:
    return is_silent(node, limits) and (node.silent_seconds or 0.0) < limits.node_lost_seconds


def _left(node: NodeView) -> Finding:
    """Return the finding on a silent node whose workers have been replaced elsewhere."""
    several = len(node.lost_workers) > 1
    names = f"worker{'s' if several else ''} {listing(node.lost_workers)}"
    moved = f"{names} {'were' if several else 'was'} lost with it and run{'' if several else 's'} elsewhere now."
    why = f" ({node.departure_reason})" if node.departure_reason else ""
    age = duration(node.silent_seconds)
    if node.departure == "planned":
        sentence = f"{_name(node)} was drained or stopped{why}, silent for {age}: {moved}"
        return Finding("node_drained", "info", sentence, "Nothing, if you meant it.")
    if node.listed:
        sentence = f"{_name(node)} has not answered for {age}: {moved}"
        return Finding(
            "node_silent", "warning", sentence, "Check its network and whether the node lives: `raymon doctor`."
        )
    sentence = f"{_name(node)} is lost{why}, silent for {age}: {moved}"
    return Finding("node_lost", "warning", sentence, "Check the machine; the end of its raylet's log is there.")


def short_of(node: NodeView, limits: Thresholds) -> Mapping[str, float]:
    """Return what is beyond its limit: the share used of `memory` and `disk`, the seconds that its `clock` is off."""
    disk = (node.disk_used_bytes or 0.0) + (node.disk_free_bytes or 0.0)
    shares = {
        "memory": (node.memory_used_bytes or 0.0) / (node.memory_total_bytes or math.inf),
        "disk": (node.disk_used_bytes or 0.0) / (disk or math.inf),
        "clock": abs(node.clock_offset_seconds),
    }
    most = {
        "memory": limits.node_memory_ratio,
        "disk": limits.node_disk_ratio,
        "clock": limits.node_clock_seconds,
    }
    return {name: value for name, value in shares.items() if value > most[name]}


def _shortages(node: NodeView, limits: Thresholds) -> Iterator[Finding]:
    short = short_of(node, limits)
    if "memory" in short:
        sentence = f"{_name(node)} uses {share(short['memory'])} of its memory: Ray kills workers there next."
        yield Finding("node_memory", "warning", sentence, "Move workers{workers} away from it, or give it more memory.")
    if "disk" in short:
        sentence = f"The disk of {_name(node).lower()} is {share(short['disk'])} full."
        yield Finding("node_disk", "warning", sentence, "Remove old sessions and checkpoints; Ray spills to this disk.")
    if "clock" in short:
        offset = duration(short["clock"])
        way = "behind" if node.clock_offset_seconds > 0.0 else "ahead of"
        sentence = f"The clock of {_name(node).lower()} is {offset} {way} this machine's; ages are corrected for it."
        yield Finding("node_clock", "info", sentence, "Synchronise its clock (chrony, systemd-timesyncd).")

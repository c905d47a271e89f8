"""From the ends of processes and nodes to links in the chain of causes, each in a sentence: pure functions."""

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from raymon.catalog import DRIVER
from raymon.format import duration, share, size
from raymon.health import RunVerdict
from raymon.incident.deaths import Death
from raymon.incident.full_disk import disk_figure, full_disk, names_full_disk
from raymon.incident.loss_errors import names_loss
from raymon.views import NodeView, RunView, WorkerView

NODE_VIEW_SECONDS: Final = 15.0
"""How long before a death the memory and the disk of the node are looked at."""
TOGETHER_SECONDS: Final = 1.0
"""Processes of one node that end within this time have ended with it."""
GROWTH_SECONDS: Final = 360.0
_CONSEQUENCES: Final = (
    "owner",
    "intended",
    "by an user request",
    "killed by `ray.kill`",
    "driver exit",
    "job finishes",
    "job has finished",
)
"""Words in Ray's explanation of an end that follows from another one."""
_ENDED_BY_DRIVER: Final = ("owner has died", "driver exit", "job finishes", "job has finished")
"""The same for a process that was seen to vanish: Ray ended it because its driver had ended."""
_RAYS_MEMORY_ERROR: Final = re.compile(r"OutOfMemoryError: .*(docs\.ray\.io|running low on memory)")
"""What a driver raises when Ray has ended a task or actor for memory; torch has an error of the same name."""
_MEMORY: Final = ("running low on memory", "memory monitor", "oom killed", "out of memory (oom)")

Process = tuple[str, int]
"""Address of the node and process id."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What was known of the run at one moment, in wall-clock seconds."""

    at: float
    view: RunView
    verdict: RunVerdict


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain of causes: a finding or a death.

    Attributes:
        exact: Whether its moment is known to milliseconds.
        node: Address of the node it happened on; empty if unknown, or if it is about no node.
        disk_full: Whether its error says that a disk was full.
        names_loss: Whether its error speaks of the loss of another process.
    """

    at: float
    code: str
    sentence: str
    worker: str = ""
    exact: bool = False
    node: str = ""
    disk_full: bool = False
    names_loss: bool = False


def clock(at: float) -> str:
    """Return the local time of day of a moment: 14:02:11."""
    return time.strftime("%H:%M:%S", time.localtime(at)) if math.isfinite(at) and abs(at) < 1e11 else "an unknown time"


def death_links(moments: Sequence[Moment], deaths: Sequence[Death]) -> list[Link]:
    """Return the deaths that did not merely follow from another one."""
    names = _names(moments)
    links = []
    for death in deaths:
        if death.kind in ("node", "raylet"):
            workers = _lost_with(death, deaths, names)
            lost = f" with {', '.join(workers)}" if workers else ""
            how = ": its raylet ended." if death.kind == "raylet" else _says(death)
            sentence = f"Node {death.node} was lost at {clock(death.at)}{lost}{how}"
            links.append(_located(Link(death.at, "node_lost", sentence, exact=bool(death.how)), death))
            continue
        if death.kind == "gcs":
            sentence = f"The head of the cluster was lost at {clock(death.at)}: Ray's control store (GCS) ended."
            links.append(Link(death.at, "head_lost", sentence, exact=True))
            continue
        name = names.get((death.node, death.pid))
        words = _CONSEQUENCES if not death.how else _ENDED_BY_DRIVER if death.how == "vanished" else ()
        consequence = any(word in death.detail.lower() for word in words)
        if name is None or consequence or _replaced(name, death, moments):
            continue
        links.append(_located(_death(name, death, names, moments), death))
    return links


def _located(link: Link, death: Death) -> Link:
    full, loss = names_full_disk(death.detail), names_loss(death.detail)
    return replace(link, node=death.node, disk_full=full, names_loss=loss)


def _lost_with(death: Death, deaths: Sequence[Death], names: Mapping[Process, str]) -> list[str]:
    """Return the processes of the run that ended with a node."""
    if death.kind == "node":
        return sorted(name for (node, _), name in names.items() if node == death.node)
    near = [each for each in deaths if each.how and abs(each.at - death.at) <= TOGETHER_SECONDS]
    return sorted(names[each.node, each.pid] for each in near if (each.node, each.pid) in names)


def _replaced(name: str, death: Death, moments: Sequence[Moment]) -> bool:
    """Return whether another process took a worker's place later: the run survived its death."""
    later = [moment.view for moment in moments if moment.at > death.at]
    workers = [worker for view in later for worker in view.workers if f"worker {worker.worker}" == name]
    return any(worker.pid not in (None, death.pid) and worker.steps_per_second for worker in workers)


def _death(name: str, death: Death, names: Mapping[Process, str], moments: Sequence[Moment]) -> Link:
    subject = name.capitalize() if name != DRIVER else "The driver"
    worker = name.removeprefix("worker ")
    at, exact = clock(death.at), bool(death.how)
    ratio = _memory_ratio(moments, death)
    node = f"; the node was at {share(ratio)}" if ratio is not None else ""
    if name == DRIVER and _RAYS_MEMORY_ERROR.match(death.detail):  # it names no process
        other, grown = _other_growth(name, death, names, moments)
        about = f", and it is {other} whose{grown}" if other else ""
        sentence = f"A worker was killed for memory at {at}{about}{node}."
        return Link(death.at, "memory", sentence, other.removeprefix("worker "), exact)
    if any(word in death.detail.lower() for word in _MEMORY) or (ratio is not None and ratio >= 0.97):
        grown = _growth(name, death, moments)
        if not grown:
            other, grown = _other_growth(name, death, names, moments)
            grown = f", though it is {other} whose{grown}" if other else ""
        else:
            grown = f": its{grown}"
        return Link(death.at, "memory", f"{subject} was killed for memory at {at}{grown}{node}.", worker, exact)
    if death.how == "lost":
        source = next((other for (_, pid), other in names.items() if pid == death.raised_by), "An actor")
        detail = death.detail.rpartition("Worker exit detail: ")[2].strip().rstrip(".")
        sentence = f"{source[:1].upper()}{source[1:]} died at {at}: {detail}. {subject} did not expect it."
        return Link(death.at, "died", sentence, source.removeprefix("worker "), exact)
    if death.how == "raised":
        (address, _), source = next(
            (each for each in names.items() if each[0][1] == death.raised_by), ((death.node, death.pid), name)
        )
        uncaught = f"; {subject.lower()} did not catch it" if source != name else ""
        raised = f"{source.capitalize() if source != name else subject} raised {death.detail}"
        sentence = f"{raised}, at {at}{uncaught}."
        if names_full_disk(death.detail):
            raised = raised[:1].lower() + raised[1:]
            figure = disk_figure(_nodes(moments, address, death.at))
            sentence = f"{full_disk(death.detail)} at {at}: {raised}{uncaught}{figure}."
        return Link(death.at, "raised", sentence, source.removeprefix("worker ") if source != name else worker, exact)
    if death.how == "interrupted":
        return Link(death.at, "interrupted", f"{subject} was interrupted (Ctrl-C) at {at}.", worker, exact)
    if death.how == "exited":
        reason = "it returned, called sys.exit or got SIGTERM" + ("" if name == DRIVER else ", or Ray ended it")
        return Link(death.at, "exited", f"{subject} ended at {at} without an error: {reason}.", worker, exact)
    if death.how == "crashed":
        return Link(death.at, "crashed", f"{subject} crashed at {at} in native code: {death.detail}.", worker, exact)
    return Link(death.at, "died", f"{subject} died at {at}{_says(death)}", worker, exact)


def _says(death: Death) -> str:
    """Return Ray's explanation up to its first sentence."""
    text = death.detail.split(" Some common causes")[0].strip().rstrip(".")
    if death.how and (not text or "connection error code 2" in text):
        return ": its process was killed (SIGKILL) or left with os._exit."
    return f": {text[:300]}." if text else "."


def _names(moments: Sequence[Moment]) -> Mapping[Process, str]:
    """Return (node, pid) -> name of every process that the run ever had."""
    names: dict[Process, str] = {}
    for moment in moments:
        for worker in moment.view.workers:
            if worker.pid is not None:
                names[worker.node or "", worker.pid] = f"worker {worker.worker}"
        if moment.view.driver_pid is not None:
            names[moment.view.driver_node or "", moment.view.driver_pid] = DRIVER
    return names


def _nodes(moments: Sequence[Moment], address: str, at: float) -> list[NodeView]:
    """Return what was known of a node within the last seconds before a moment, oldest first."""
    near = [moment for moment in moments if 0 <= at - moment.at <= NODE_VIEW_SECONDS]
    return [node for moment in near for node in moment.view.nodes if node.address == address]


def _memory_ratio(moments: Sequence[Moment], death: Death) -> float | None:
    """Return the largest share of the node's memory in use within the last seconds before the death."""
    ratios = [
        node.memory_used_bytes / node.memory_total_bytes
        for node in _nodes(moments, death.node, death.at)
        if node.memory_used_bytes and node.memory_total_bytes
    ]
    return max(ratios, default=None)


def _other_growth(name: str, death: Death, names: Mapping[Process, str], moments: Sequence[Moment]) -> tuple[str, str]:
    """Return another process on the node whose memory grew, and how: Ray may end one that is not to blame."""
    others = {other for (node, _), other in names.items() if node == death.node and other != name}
    grown = [(other, text) for other in sorted(others) if (text := _growth(other, death, moments))]
    return grown[0] if grown else ("", "")


def _growth(name: str, death: Death, moments: Sequence[Moment]) -> str:
    """Return how the memory of a process grew before its death, empty if it did not."""
    before = [moment for moment in moments if 0 <= death.at - moment.at <= GROWTH_SECONDS]
    samples = [(moment.at, rss) for moment in before if (rss := _rss(name, moment.view))]
    if len(samples) < 3:
        return ""
    (begin, low), (end, high) = samples[0], samples[-1]
    if end - begin < 5 or high < 1.2 * low:
        return ""
    speed = size((high - low) / (end - begin))
    return f" memory had grown by {speed}/s for {duration(end - begin)}, to {size(high)}"


def _rss(name: str, view: RunView) -> float | None:
    if name == "driver":
        return view.driver_rss_bytes
    workers: Sequence[WorkerView] = view.workers
    return next((worker.rss_bytes for worker in workers if f"worker {worker.worker}" == name), None)

"""The nodes themselves: whether their endpoints answer, their CPU, memory and disk, Ray's object store."""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from raymon import catalog
from raymon.catalog import DRIVER
from raymon.live.driver_view import Driver, rates_by
from raymon.live.endpoint import Endpoint
from raymon.live.history import Ring, slope
from raymon.live.memory import Memory
from raymon.live.subject import Subject
from raymon.queries import ray_families
from raymon.views import Departure, NodeView, StoreView

REFS_WINDOW_SECONDS: Final = 12.0
GONE_SECONDS: Final = 30.0
FORGOTTEN_SECONDS: Final = 600.0
UNPLACED_SECONDS: Final = 10.0
"""What a node had free counts for so long after its last answer."""
LAST_BEAT_SECONDS: Final = 4.0
"""A process whose last heartbeat is at most this older than its node's last answer ended with the node."""
_PLANNED: Final = ("Expected termination", "Terminated due to preemption", "Terminated due to idle")
"""How Ray begins the reason of a node that was stopped or drained."""
_WANT_OF_RESOURCES: Final = ("WaitingForResources", "WaitingForRemoteResources", "Infeasible")
_NOT_RESOURCES: Final = ("memory", "object_store_memory", "node:", "accelerator_type:")


def answering(memory: Memory, now: float, within: float = GONE_SECONDS) -> Mapping[str, Endpoint]:
    """Return the nodes that answered `within` seconds of the last answer of any; after an end, that is all of them."""
    ages = {
        url: memory.clock.age(node.answered_at, "", now)
        for url, node in memory.nodes.items()
        if node.answered_at is not None
    }
    limit = min(ages.values(), default=0.0) + within
    return {url: memory.nodes[url] for url, age in ages.items() if age <= limit}


def forget_nodes(memory: Memory, now: float) -> None:
    """Forget the nodes that others have outlived by ten minutes, unless still listed or the last place of a worker."""
    used = {*answering(memory, now, FORGOTTEN_SECONDS)}
    used.update(subject.newest().url for subject in memory.subjects.values())
    memory.nodes = {url: node for url, node in memory.nodes.items() if node.listed or url in used}


def exporter_age(memory: Memory, now: float) -> float | None:
    """Return the time since any node's own numbers last changed; None if no endpoint ever answered."""
    ages = [age for url in memory.nodes if (age := memory.exporter_age(url, now)) is not None]
    return min(ages, default=None)


def node_views(memory: Memory, now: float) -> Mapping[str, NodeView]:
    """Return every known node by the URL of its endpoint.

    The head's autoscaler and dashboard have pages of their own, which hold no metric of a node.
    """
    nodes = {urlsplit(url).hostname for url, node in memory.nodes.items() if node.numbers}
    shifts = memory.clock_shifts()
    return {
        url: _node_view(url, node, memory, shifts, now)
        for url, node in memory.nodes.items()
        if node.numbers or urlsplit(url).hostname not in nodes
    }


def _node_view(url: str, node: Endpoint, memory: Memory, shifts: Mapping[str, float], now: float) -> NodeView:
    numbers = {name: value for (name, _), value in node.numbers.items()}
    address = (
        next((ip for (name, ip) in node.numbers if name == ray_families.NODE_CPU and ip), "")
        or urlsplit(url).hostname
        or ""
    )
    silent = None if node.answered_at is None else memory.clock.age(node.answered_at, "", now)
    cpu = numbers.get(ray_families.NODE_CPU)
    return NodeView(
        url=url,
        address=address,
        silent_seconds=silent if node.error or not node.listed else 0.0,
        error=node.error,
        listed=node.listed,
        departure=_departure(node.departure),
        departure_reason=node.departure.partition(": ")[2] or node.departure,
        exporter_age_seconds=memory.exporter_age(url, now),
        cpu_ratio=None if cpu is None else cpu / 100.0,
        memory_used_bytes=numbers.get(ray_families.NODE_MEMORY_USED),
        memory_total_bytes=numbers.get(ray_families.NODE_MEMORY_TOTAL),
        disk_used_bytes=numbers.get(ray_families.NODE_DISK_USED),
        disk_free_bytes=numbers.get(ray_families.NODE_DISK_FREE),
        clock_offset_seconds=memory.clock.offset(address, shifts.get(address, 0.0)),
    )


def _departure(reason: str) -> Departure:
    """Return what Ray's reason for the end of a node amounts to."""
    if not reason:
        return "unknown"
    return "planned" if reason.startswith(_PLANNED) else "failure"


def free_resources(memory: Memory, now: float) -> Mapping[str, tuple[float, float]]:
    """Return how much of each of Ray's resources is free and exists on the nodes that answer; memory is left out."""
    totals: dict[str, tuple[float, float]] = {}
    for node in answering(memory, now, within=UNPLACED_SECONDS).values():
        for (family, key), value in node.numbers.items():
            name, _, state = key.rpartition("/")
            if family == ray_families.RESOURCES and name and not name.startswith(_NOT_RESOURCES):
                free, total = totals.get(name, (0.0, 0.0))
                totals[name] = (free + value if state == "AVAILABLE" else free, total + value)
    return totals


def unplaced_seconds(memory: Memory, now: float) -> float | None:
    """Return for how long a node has lacked the resources to place a task or actor; None if none does.

    Called once per round: the begin is kept in `memory`.
    """
    nodes = answering(memory, now, within=UNPLACED_SECONDS).values()
    if not any(node.numbers.get((ray_families.UNPLACED, reason)) for node in nodes for reason in _WANT_OF_RESOURCES):
        memory.unplaced_since = None
        return None
    if memory.unplaced_since is None:
        memory.unplaced_since = now
    return memory.clock.age(memory.unplaced_since, "", now)


def nodes_of_run(
    nodes: Mapping[str, NodeView], subjects: Collection[Subject], memory: Memory, now: float
) -> tuple[NodeView, ...]:
    """Return all nodes with the workers of a run on each, those that have any first."""
    workers: dict[str, list[str]] = {}
    for subject in subjects:
        workers.setdefault(subject.newest().url, []).append(subject.worker)
    lost = _lost_workers(nodes, subjects, memory, now)
    views = [
        replace(
            view,
            workers=tuple(name for name in workers.get(url, ()) if name != DRIVER),
            driver=DRIVER in workers.get(url, ()),
            lost_workers=lost.get(url, ()),
        )
        if url in workers or url in lost
        else view
        for url, view in nodes.items()
    ]
    return tuple(sorted(views, key=lambda view: (not (view.workers or view.driver), view.address, view.url)))


def _lost_workers(
    nodes: Mapping[str, NodeView], subjects: Collection[Subject], memory: Memory, now: float
) -> Mapping[str, tuple[str, ...]]:
    """Return the workers that ran on each silent node until it fell silent, and have a newer process elsewhere."""
    silent = {url: view.silent_seconds for url, view in nodes.items() if view.silent_seconds}
    lost: dict[str, tuple[str, ...]] = {}
    for subject in subjects if silent else ():
        newest = subject.newest()
        for process in subject.processes.values():
            seconds = silent.get(process.url)
            if seconds is None or process.beat is None or newest.url == process.url or subject.worker == DRIVER:
                continue
            if memory.clock.age(process.beat, process.node, now) - seconds < LAST_BEAT_SECONDS:
                lost[process.url] = (*lost.get(process.url, ()), subject.worker)
    return lost


def node_cpu(memory: Memory, now: float) -> Mapping[str, float]:
    """Return the CPU utilization, 0 to 1, of every node that answers, by address."""
    return {
        address or url: value / 100.0
        for url, node in answering(memory, now).items()
        for (name, address), value in node.numbers.items()
        if name == ray_families.NODE_CPU
    }


def store_view(memory: Memory, driver: Driver, ring: Ring, now: float) -> StoreView:
    """Return Ray's object store summed over the nodes that answer, and what the driver holds in it."""
    totals: dict[tuple[str, str], float] = {}
    for node in answering(memory, now).values():
        for key, value in node.numbers.items():
            totals[key] = totals.get(key, 0.0) + value
    held, held_bytes = _held(driver, ring)
    return StoreView(
        used_bytes=totals.get((ray_families.STORE_MEMORY, "MMAP_SHM")),
        available_bytes=totals.get((ray_families.STORE_AVAILABLE, "")),
        spilled_bytes=totals.get((ray_families.STORE_MEMORY, "SPILLED")),
        fallback_bytes=totals.get((ray_families.STORE_FALLBACK, "")),
        refs_held=held,
        refs_held_bytes=held_bytes,
        refs_oldest_age_seconds=driver.age(memory, catalog.REFS_OLDEST, now),
        refs_growth_per_second=slope(*ring.recent("refs_held", REFS_WINDOW_SECONDS)),
        put_bytes_per_second=rates_by(driver, catalog.PUT_BYTES, catalog.PUT_BYTES.values["kind"]),
    )


def _held(driver: Driver, ring: Ring) -> tuple[float | None, float | None]:
    """Return how many references the driver holds, and their bytes; None while none was seen: it may count none."""
    held = driver.gauge(catalog.REFS_HELD)
    if not held and not len(ring.recent("refs_held", math.inf)[0]):
        return None, None
    return held, driver.gauge(catalog.REFS_HELD_BYTES)

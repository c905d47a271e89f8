"""What the nodes themselves report: whether their exporters live, their CPU, Ray's object store."""

from collections.abc import Collection, Mapping
from typing import Final

from raymon import catalog
from raymon.live.history import Ring, slope
from raymon.live.memory import Memory, Node, Process, field_of
from raymon.live.workers import Rates
from raymon.queries.ray_families import NODE_CPU, STORE_AVAILABLE, STORE_FALLBACK, STORE_MEMORY
from raymon.views import StoreView

REFS_WINDOW_SECONDS: Final = 12.0
GONE_SECONDS: Final = 30.0
FORGOTTEN_SECONDS: Final = 600.0


def answering(memory: Memory, now: float, within: float = GONE_SECONDS) -> Mapping[str, Node]:
    """Return the nodes that answered `within` seconds of the last answer of any, so that an end leaves all of them."""
    ages = {url: memory.clock.age(node.answered_at, "", now) for url, node in memory.nodes.items()}
    limit = min(ages.values(), default=0.0) + within
    return {url: node for url, node in memory.nodes.items() if ages[url] <= limit}


def forget_nodes(memory: Memory, asked: Collection[str], now: float) -> None:
    """Forget the nodes that others have outlived by ten minutes, unless still asked or the last place of a worker."""
    used = {*asked, *answering(memory, now, FORGOTTEN_SECONDS)}
    used.update(subject.newest().url for subject in memory.subjects.values())
    memory.nodes = {url: node for url, node in memory.nodes.items() if url in used}


def exporter_age(memory: Memory, now: float) -> float | None:
    """Return how long no node's own numbers have changed; None when no endpoint ever answered."""
    ages = [age for url in memory.nodes if (age := memory.exporter_age(url, now)) is not None]
    return min(ages, default=None)


def node_cpu(memory: Memory, now: float) -> dict[str, float]:
    """Return the CPU utilisation, 0 to 1, of every node that answers, by address."""
    return {
        address or url: value / 100.0
        for url, node in answering(memory, now).items()
        for (name, address), value in node.numbers.items()
        if name == NODE_CPU
    }


def store_view(memory: Memory, driver: Process | None, rates: Rates, ring: Ring, now: float) -> StoreView:
    """Return Ray's object store summed over the nodes that answer, and what the driver holds in it."""
    totals: dict[tuple[str, str], float] = {}
    for node in answering(memory, now).values():
        for key, value in node.numbers.items():
            totals[key] = totals.get(key, 0.0) + value
    oldest = driver.gauge(catalog.REFS_OLDEST) if driver else None
    return StoreView(
        used_bytes=totals.get((STORE_MEMORY, "MMAP_SHM")),
        available_bytes=totals.get((STORE_AVAILABLE, "")),
        spilled_bytes=totals.get((STORE_MEMORY, "SPILLED")),
        fallback_bytes=totals.get((STORE_FALLBACK, "")),
        refs_held=driver.gauge(catalog.REFS_HELD) if driver else None,
        refs_held_bytes=driver.gauge(catalog.REFS_HELD_BYTES) if driver else None,
        refs_oldest_age_seconds=memory.clock.age(oldest, driver.node, now) if driver and oldest else None,
        refs_growth_per_second=slope(*ring.recent("refs_held", REFS_WINDOW_SECONDS)),
        put_bytes_per_second={
            kind: rate
            for kind in catalog.PUT_BYTES.values["kind"]
            if (rate := rates.get(field_of(catalog.PUT_BYTES, kind))) is not None
        },
    )

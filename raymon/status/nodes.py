"""What the nodes themselves report: whether their exporters live, their CPU, Ray's object store."""

from typing import Final

from raymon import catalog
from raymon.queries.ray_families import NODE_CPU, STORE_AVAILABLE, STORE_FALLBACK, STORE_MEMORY
from raymon.status.history import Ring, slope
from raymon.status.series import Memory, Process, field_of
from raymon.status.workers import Rates
from raymon.views import StoreView

REFS_WINDOW_SECONDS: Final = 12.0


def exporter_age(memory: Memory, now: float) -> float | None:
    """Return how long no node's own numbers have changed; None when no endpoint ever answered."""
    ages = [age for url in memory.nodes if (age := memory.exporter_age(url, now)) is not None]
    return min(ages, default=None)


def node_cpu(memory: Memory) -> dict[str, float]:
    """Return every node's CPU utilisation, 0 to 1, by address."""
    return {
        address or url: value / 100.0
        for url, node in memory.nodes.items()
        for (name, address), value in node.numbers.items()
        if name == NODE_CPU
    }


def store_view(memory: Memory, driver: Process | None, rates: Rates, ring: Ring, now: float) -> StoreView:
    """Return Ray's object store summed over the nodes, and what the driver holds in it."""
    totals: dict[tuple[str, str], float] = {}
    for node in memory.nodes.values():
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

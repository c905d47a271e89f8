"""How the cost of watching grows with the number of workers: one collection, one drawing of the page, memory.

python -m benchmarks.collection                             # 100 to 10,000 workers, one after the other
python -m benchmarks.collection --workers 1000 --rounds 30
python -m benchmarks.collection --write docs/performance.md # the table, and docs/images/collection.svg

The workers are synthetic: pages as Ray's nodes serve them, 10,000 workers on 128 nodes, no network. Times are CPU
seconds of one core, so that other programs count little; each size has a process of its own.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, log10
from pathlib import Path
from typing import Final

from synthetic import Page as SyntheticPage
from synthetic import fleet

from benchmarks.watched import put_table
from raymon.live.collector import Collector
from raymon.live.scrape import Page
from raymon.page import layout
from raymon.page.choice import Choice

SIZES: Final = (100, 300, 1000, 3000, 10_000)
WORKERS_PER_NODE: Final = 10_000 / 128
HISTORY_ROUNDS: Final = 10
"""Collections before the measured ones: the first learns every series, and rates need a window."""
BAR_SECONDS: Final = 2.0
PLOT: Final = Path(__file__).resolve().parent.parent / "docs" / "images" / "collection.svg"


@dataclass(frozen=True, slots=True)
class Cost:
    """What watching some workers costs.

    Attributes:
        page_bytes: Size of all metrics pages of one round.
        first_seconds: CPU seconds of the first collection, which learns every series.
        collection_seconds: Median CPU seconds of a later collection.
        drawing_seconds: Longest CPU seconds of one drawing of the page: as opened, sorted, searched, a worker open.
        html_bytes: The largest page that was drawn.
        memory_bytes: Growth of the resident memory of the process, the synthetic pages left out.
    """

    workers: int
    nodes: int
    page_bytes: int
    first_seconds: float
    collection_seconds: float
    drawing_seconds: float
    html_bytes: int
    memory_bytes: int


def measure(workers: int, rounds: int) -> Cost:
    """Collect and draw in this process."""
    nodes = ceil(workers / WORKERS_PER_NODE)
    synthetic = [SyntheticPage(node) for node in fleet(workers, nodes, runs=1)]
    moment = time.time()

    def pages() -> list[Page]:
        bodies = [page.render(moment).encode() for page in synthetic]
        return [Page(f"http://10.0.0.{at}:8080/metrics", body) for at, body in enumerate(bodies)]

    collector = Collector(["10.0.0.1:8080"], clock=lambda: moment)
    seconds, size, before = [], 0, 0
    while len(seconds) < HISTORY_ROUNDS + rounds:
        moment += 1.0
        scraped = pages()
        size = sum(len(page.body) for page in scraped)
        before = before or _resident_bytes()
        begun = time.process_time()
        snapshot = collector.digest(scraped)
        seconds.append(time.process_time() - begun)
    opened = Choice(worker=str(workers // 2), span="all")
    choices = (Choice(), Choice(order="steps", rows="500"), Choice(q="99"), opened)
    drawn = []
    for choice in choices:
        begun = time.process_time()
        html = layout.page(snapshot, choice)
        drawn.append((time.process_time() - begun, len(str(html).encode())))
    return Cost(
        workers=workers,
        nodes=nodes,
        page_bytes=size,
        first_seconds=seconds[0],
        collection_seconds=statistics.median(seconds[HISTORY_ROUNDS:]),
        drawing_seconds=max(spent for spent, _ in drawn),
        html_bytes=max(length for _, length in drawn),
        memory_bytes=_resident_bytes() - before,
    )


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def table(costs: Sequence[Cost]) -> list[str]:
    """Return the costs as a table."""
    lines = [
        "| Workers | Nodes | Pages of a round | First collection | Later ones | Drawing | Page | Memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {cost.workers:,} | {cost.nodes} | {cost.page_bytes / 1e6:.1f} MB | {cost.first_seconds:.2f} s "
        f"| {cost.collection_seconds:.3f} s | {1000 * cost.drawing_seconds:.0f} ms | {cost.html_bytes / 1e3:.0f} kB "
        f"| {cost.memory_bytes / 1e6:.0f} MB |"
        for cost in costs
    ]
    return lines


def plot(costs: Sequence[Cost]) -> str:
    """Return a drawing of seconds and gigabytes over workers, all axes logarithmic, as SVG."""
    left, right, top, bottom = 70.0, 620.0, 20.0, 300.0
    low, high = -3, 1
    first, last = log10(costs[0].workers), log10(costs[-1].workers)

    def x(workers: float) -> float:
        return left + (log10(workers) - first) / ((last - first) or 1.0) * (right - left)

    def y(seconds: float) -> float:
        return bottom - (log10(max(seconds, 10.0**low)) - low) / (high - low) * (bottom - top)

    def text(at: tuple[float, float], words: str, anchor: str = "middle", color: str = "#555") -> str:
        return f'<text x="{at[0]:.0f}" y="{at[1]:.0f}" text-anchor="{anchor}" fill="{color}">{words}</text>'

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 740 350" font-family="sans-serif" font-size="13">',
        '<rect width="740" height="350" fill="#fff"/>',
        text(((left + right) / 2, bottom + 42), "workers"),
    ]
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(f'<path d="M{left:.0f} {at:.0f}H{right:.0f}" stroke="#ddd"/>')
        parts.append(text((left - 8, at + 4), f"{10.0**power:g}", "end"))
    parts += [text((x(cost.workers), bottom + 20), f"{cost.workers:,}") for cost in costs]
    lines = {
        "collection (s)": ("#1565c0", [cost.collection_seconds for cost in costs]),
        "drawing (s)": ("#c2410c", [cost.drawing_seconds for cost in costs]),
        "memory (GB)": ("#15803d", [cost.memory_bytes / 1e9 for cost in costs]),
    }
    for name, (color, seconds) in lines.items():
        points = " ".join(f"{x(cost.workers):.1f},{y(spent):.1f}" for cost, spent in zip(costs, seconds, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts.append(text((right + 8, y(seconds[-1]) + 4), name, "start", color))
    return "\n".join([*parts, "</svg>", ""])


def main() -> int:
    """Measure, print and write; exit code 1 where a collection takes longer than two seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, action="append", help="repeat for several sizes")
    parser.add_argument("--rounds", type=int, default=10, help="collections that are measured (default: %(default)s)")
    parser.add_argument("--write", type=Path, help="a page with markers for the table")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    costs = []
    for workers in sorted(args.workers or SIZES):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            costs.append(pool.apply(measure, (workers, args.rounds)))
        print(table(costs)[-1], file=sys.stderr, flush=True)
    lines = [*table(costs), "", f"{os.cpu_count()} cores, Python {sys.version.split()[0]}."]
    print(json.dumps([asdict(cost) for cost in costs]) if args.json else "\n".join(lines))
    if args.write:
        put_table(args.write, "collection", lines)
        PLOT.write_text(plot(costs))
    return int(any(cost.collection_seconds > BAR_SECONDS for cost in costs))


if __name__ == "__main__":
    sys.exit(main())

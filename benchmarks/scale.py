"""Cost at size: a thousand synthetic workers scraped by a real Prometheus, every panel's query timed.

    python -m benchmarks.scale                      # 1,000 workers on 16 nodes, two runs, an hour of history
    python -m benchmarks.scale --workers 20 --nodes 2 --minutes 2
    python -m benchmarks.scale --workers 10000 --nodes 128 --minutes 10 --large-fleet

The history is written first, through Prometheus's remote-write receiver, with the samples that scraping would have
stored. Then Prometheus scrapes the nodes live, and each query is sent as by Grafana, over the whole history. With
--large-fleet the queries are those of `raymon dashboards push --large-fleet`; what its rules would have recorded of the
history is written, too. Exit code 1 if a limit is exceeded.
"""

import argparse
import json
import os
import platform
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from synthetic import Node, Page, fleet

from benchmarks.fleet_server import serving
from benchmarks.history import write_history, write_recorded
from benchmarks.prometheus_server import PROMETHEUS, Server, prometheus
from benchmarks.watched import TroubleError, await_result
from generate.dashboards import DASHBOARDS
from generate.panel import INSTANT, MOST_POINTS
from raymon import catalog
from raymon.queries import Query, large_fleet
from raymon.queries.query import TOP

BAR_SECONDS = 0.2
RATE_INTERVAL = "20s"
SCRAPE_SECONDS = 5.0
SCRAPED_SECONDS = 120.0
RULES_SECONDS = 120.0
GRAPHS = ("timeseries", "bargauge")


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations of a panel's query, and what it returned.

    Attributes:
        cpu_seconds: Those that Prometheus took for one of them; on a busy machine they say more than the durations.
        series: Number of series.
        drawn: How many of them a graph draws at once.
        error: Why there is no result, as Prometheus says.
    """

    name: str
    seconds: tuple[float, ...]
    cpu_seconds: float
    series: int
    drawn: int
    error: str = ""

    @property
    def p95(self) -> float:
        """The 95th percentile."""
        return sorted(self.seconds)[int(0.95 * (len(self.seconds) - 1) + 0.5)]


def panel_queries(for_large_fleet: bool) -> Iterator[tuple[str, str, Query]]:
    """Yield a name, the kind of panel and the query, for every target of every panel."""
    for board in DASHBOARDS:
        for panel in board.panels():
            for query in panel.queries:
                name = f"{board.uid}: {panel.title or query.title}: {query.title}"
                if for_large_fleet:
                    query = replace(query, expression=large_fleet.recorded(query.expression))  # noqa: PLW2901
                yield name, panel.kind, query


def time_queries(server: Server, history_seconds: float, repeats: int, for_large_fleet: bool) -> list[Timing]:
    """Run every panel's query several times over the last hour."""
    timings = []
    for name, kind, query in panel_queries(for_large_fleet):
        expression = query.fill(rate_interval=RATE_INTERVAL, worker="1" if "worker:" in name else ".+")
        seconds, used, result, error = [], server.processor_seconds(), [], ""
        for _ in range(repeats):
            now = time.time()
            if kind in INSTANT:
                path, parameters = "query", {"query": expression, "time": f"{now:.3f}"}
            else:
                step = max(SCRAPE_SECONDS, history_seconds / MOST_POINTS)
                span = {"start": f"{now - history_seconds:.3f}", "end": f"{now:.3f}", "step": f"{step:.0f}"}
                path, parameters = "query_range", {"query": expression, **span}
            begun = time.perf_counter()
            try:
                result = server.api(path, **parameters)["result"]
            except urllib.error.HTTPError as refusal:
                error = refusal.read().decode(errors="replace")
            seconds.append(time.perf_counter() - begun)
        cpu_seconds = (server.processor_seconds() - used) / repeats
        drawn = drawn_at_once(result) if kind in GRAPHS else 0
        timings.append(Timing(name, tuple(seconds), cpu_seconds, len(result), drawn, error))
    return timings


def drawn_at_once(result: list[dict[str, Any]]) -> int:
    """Return the largest number of series with a value at the same moment."""
    moments = Counter(moment for sample in result for moment, _ in sample.get("values", [sample.get("value")]))
    return max(moments.values(), default=0)


def count(server: Server, selector: str) -> int:
    """Return the number of series that match a selector."""
    return int(server.api("query", query=f"count({selector})")["result"][0]["value"][1])


def report(
    args: argparse.Namespace, server: Server, timings: Sequence[Timing], nodes: Sequence[Node], cores: float
) -> int:
    """Print the results; return how many limits were exceeded."""
    workers = sum(process.worker != catalog.DRIVER for node in nodes for process in node.processes)
    own = "|".join(metric.name for metric in (*catalog.of("process"), *catalog.of("worker")))
    ours = count(server, f'{{__name__=~"{catalog.PREFIX}.+"}}')
    per_worker = count(server, f'{{__name__=~"{own}",worker!="{catalog.DRIVER}"}}') / workers
    everything = int(server.api("status/tsdb")["headStats"]["numSeries"])
    scrape = server.api("query", query="max(scrape_duration_seconds)")["result"][0]["value"][1]
    slow = sorted(timings, key=lambda timing: -timing.p95)
    over = [timing for timing in slow if timing.p95 > BAR_SECONDS]
    crowded = [timing for timing in timings if timing.drawn > TOP]
    failed = [timing for timing in timings if timing.error]
    missed = len(over) + len(failed) + len(crowded) + int(per_worker > catalog.SERIES_BUDGET["worker"])
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; {workers} workers on {len(nodes)} nodes"
    )
    print(f"series: {everything} in Prometheus, {ours} of raymon, {per_worker:.1f} per worker")
    print(f"Prometheus: {server.memory_bytes() / 1e6:.0f} MB, {cores:.2f} cores; ", end="")
    print(f"slowest scrape {float(scrape):.2f} s")
    for name, seconds in server.rule_groups().items():
        print(f"an evaluation of the rules {name} takes {seconds:.2f} s")
    print(f"{len(timings)} queries over {args.minutes} minutes, each run {args.repeats} times; the slowest by p95:")
    for timing in slow[:10]:
        cpu = f"{timing.cpu_seconds * 1000:5.0f} ms of CPU"
        print(f"  {timing.p95 * 1000:7.0f} ms  {cpu}  {timing.series:5d} series  {timing.name}")
    print(f"{len(over)} queries have a p95 above {BAR_SECONDS * 1000:.0f} ms; the most CPU in Prometheus:")
    for timing in sorted(timings, key=lambda timing: -timing.cpu_seconds)[:10]:
        print(f"  {timing.cpu_seconds * 1000:7.0f} ms of CPU  {timing.series:5d} series  {timing.name}")
    for timing in failed:
        print(f"no result: {timing.name}: {timing.error}")
    for timing in crowded:
        print(f"more than ten series at once: {timing.drawn} in {timing.name}")
    return missed


def measure(args: argparse.Namespace, folder: Path) -> int:
    """Serve, write history, scrape and query; return how many limits were exceeded."""
    nodes = fleet(args.workers, args.nodes, args.runs, started=time.time() - 60 * args.minutes - 600)
    served, discovery = folder / "served.json", folder / "discovery.json"
    with serving(nodes, served), prometheus(folder, discovery, args.port) as server:
        targets = json.loads(served.read_text())[0]["targets"]
        begun = time.perf_counter()
        now = time.time()
        pages = [Page(node) for node in nodes]
        samples = write_history(server.url, pages, targets, now - 60 * args.minutes, now, SCRAPE_SECONDS)
        del pages
        files = [PROMETHEUS / "rules.yml", PROMETHEUS / "large-fleet-rules.yml"][: 2 if args.large_fleet else 1]
        if args.large_fleet:
            samples += write_recorded(server.url, recording_rules(files), now - 60 * args.minutes, now)
        print(f"wrote {samples:,} samples of {args.minutes} minutes in {time.perf_counter() - begun:.0f} s", flush=True)
        server.load(files)
        served.replace(discovery)
        wait_for_scrapes(server, len(targets))
        used, begun = server.processor_seconds(), time.perf_counter()
        time.sleep(args.seconds)
        cores = (server.processor_seconds() - used) / (time.perf_counter() - begun)
        await_result(lambda: evaluated(server, len(files)), RULES_SECONDS, "Prometheus evaluates the rules", every=1.0)
        timings = time_queries(server, 60.0 * args.minutes, args.repeats, args.large_fleet)
        return report(args, server, timings, nodes, cores)


def recording_rules(files: Sequence[Path]) -> list[dict[str, str]]:
    """Return the recording rules of some files, in their order."""
    groups = [group for path in files for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if "record" in rule]


def evaluated(server: Server, files: int) -> bool:
    """Return whether the rules of so many files were all evaluated."""
    groups = server.rule_groups()
    return len(groups) > files and all(groups.values())


def wait_for_scrapes(server: Server, number: int) -> None:
    """Wait until every node was scraped twice.

    Raises:
        TroubleError: A scrape fails, for example because it takes too long.
    """

    def scraped() -> bool:
        nodes = server.api("query", query="sum(sum_over_time(up[1m]) >= bool 2)")["result"]
        return bool(nodes) and float(nodes[0]["value"][1]) >= number

    await_result(scraped, SCRAPED_SECONDS, f"Prometheus scrapes {number} nodes", every=1.0)


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1000, help="workers of all runs together")
    parser.add_argument("--nodes", type=int, default=16, help="nodes they are spread over")
    parser.add_argument("--runs", type=int, default=2, help="runs they belong to")
    parser.add_argument("--minutes", type=int, default=60, help="of history that is written first and queried")
    parser.add_argument("--seconds", type=float, default=30, help="of scraping, to measure the cost of Prometheus")
    parser.add_argument("--repeats", type=int, default=5, help="number of times each query runs")
    parser.add_argument("--large-fleet", action="store_true", help="the dashboards and rules for large fleets")
    parser.add_argument("--port", type=int, default=19099, help="of the Prometheus that is started")
    with tempfile.TemporaryDirectory(prefix="raymon-scale-") as folder:
        try:
            return int(measure(parser.parse_args(), Path(folder)) > 0)
        except TroubleError as error:
            raise SystemExit(f"benchmarks.scale: {error}") from error


if __name__ == "__main__":
    raise SystemExit(main())

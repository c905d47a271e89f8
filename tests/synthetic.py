"""A synthetic cluster: the `/metrics` pages of its nodes in Ray's own format, of any size, served over HTTP.

Tests and benchmarks use it for a thousand workers on one machine. Names, labels and values come from
the catalogue; the pages also contain Ray's own families, most of which are not read, as a real page does.

    with serve(fleet(workers=1000, nodes=16, runs=2)) as targets:   # ["127.0.0.1:40001", ...], each with /metrics
        ...
"""

import argparse
import contextlib
import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from http_replies import ReplyHandler, ReplyServer
from prometheus_client.utils import floatToGoString
from synthetic_values import (
    GPU_GAUGES,
    NODE_GAUGES,
    RAYLET_COUNTERS,
    RAYLET_GAUGES,
    RAYLET_LABELLED,
    Fault,
    Process,
    Value,
    constant,
    scaled,
    values,
)

from raymon import catalog
from raymon.catalog import Metric

SESSION: Final = "session_2026-01-02_03-04-05_678901_4242"
FAULT_SECONDS: Final = 120.0
"""Age of the faults when the cluster is created."""
UNREAD_FAMILIES: Final = 80
"""Histograms of Ray that are not read, 9 lines each, which give an empty page the size of a real one."""
_SCOPE: Final = {
    "otel_scope_name": "ray._private.telemetry.open_telemetry_metric_recorder",
    "otel_scope_schema_url": "",
    "otel_scope_version": "",
    "SessionName": SESSION,
    "Version": "2.60.0",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the cluster with the processes on it."""

    index: int
    processes: tuple[Process, ...]
    gpus: int = 0


def fleet(
    workers: int = 1000,
    nodes: int = 16,
    runs: int = 2,
    faults: Mapping[int, Fault] | None = None,
    started: float | None = None,
) -> tuple[Node, ...]:
    """Spread the workers of some runs, `run-0`, `run-1`, …, evenly over nodes; the drivers are on node 0.

    Args:
        workers: Workers of all runs together; each run numbers its own from 0.
        nodes: Number of machines.
        runs: Number of drivers.
        faults: Position of a worker among all to its fault.
        started: When the runs began; by default an hour ago.
    """
    now = time.time()
    began = now - 3600.0 if started is None else started
    share = math.ceil(workers / runs)
    by_node: list[list[Process]] = [[] for _ in range(nodes)]
    for run in range(runs):
        by_node[0].append(Process(f"run-{run}", catalog.DRIVER, began, 1000 + run, workers=share))
    for position in range(workers):
        run, worker = divmod(position, share)
        process = Process(
            run=f"run-{run}",
            worker=str(worker),
            started=began,
            pid=2000 + position,
            steps_per_second=900.0 + 200.0 * (position % 7) / 6,
            fault=(faults or {}).get(position, ""),
            fault_at=now - FAULT_SECONDS,
        )
        by_node[position % nodes].append(process)
    return tuple(Node(index, tuple(processes), gpus=int(index == 0)) for index, processes in enumerate(by_node))


def _text(name: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}} "


class Page:
    """The `/metrics` page of one node; everything except the values is built once."""

    def __init__(self, node: Node) -> None:
        self._address = f"10.0.0.{node.index + 1}"
        self._families: dict[str, tuple[str, str, list[tuple[str, Value]]]] = {}
        self._ray_families(node)
        for process in node.processes:
            self._add_process(process)

    def render(self, now: float) -> str:
        """Return the page as it is at a moment."""
        lines = []
        for name, (kind, text, series) in self._families.items():
            lines.append(f"# HELP {name} {text}\n# TYPE {name} {kind}\n")
            lines.extend(f"{prefix}{floatToGoString(value(now))}\n" for prefix, value in series)
        return "".join(lines)

    def series(self) -> Iterator[tuple[str, Value]]:
        """Yield every series: name and labels as on the page, and its value at a moment."""
        for _, _, series in self._families.values():
            yield from series

    def _add(self, family: str, kind: str, text: str, prefix: str, value: Value) -> None:
        self._families.setdefault(family, (kind, text, []))[2].append((prefix, value))

    def _add_process(self, process: Process) -> None:
        common = {
            **_SCOPE,
            "Component": "core_worker",
            "NodeAddress": self._address,
            "WorkerId": f"{process.pid:056x}",
            "run": process.run,
        }
        for metric, labels, value in values(process):
            if process.fault == "dead" and metric.kind == "gauge":
                continue
            own = {"worker": process.worker} if "worker" in metric.all_labels and "worker" not in labels else {}
            self._add_metric(metric, {**common, **own, **labels}, value)

    def _add_metric(self, metric: Metric, labels: Mapping[str, str], value: Value) -> None:
        if metric.kind != "histogram":
            self._add(metric.name, metric.kind, metric.help, _text(metric.name, labels), value)
            return
        bounds = [*(repr(bound) for bound in metric.buckets), "+Inf"]
        for position, bound in enumerate(bounds):
            share = min(1.0, (position + 1) / 12)
            prefix = _text(f"{metric.name}_bucket", {**labels, "le": bound})
            self._add(metric.name, metric.kind, metric.help, prefix, scaled(value, share))
        for suffix in ("count", "sum"):
            self._add(metric.name, metric.kind, metric.help, _text(f"{metric.name}_{suffix}", labels), value)

    def _ray_families(self, node: Node) -> None:
        raylet = {**_SCOPE, "Component": "raylet", "NodeAddress": self._address, "WorkerId": ""}
        machine = {**_SCOPE, "ip": self._address, "IsHeadNode": str(node.index == 0).lower()}
        machine["RayNodeType"] = "head" if node.index == 0 else "worker"
        for name, value in RAYLET_GAUGES.items():
            self._add(name, "gauge", "Of Ray's object store.", _text(name, raylet), value)
        for name, label, states in RAYLET_LABELLED:
            for given, value in states.items():
                extra = {"ObjectState": "SEALED"} if label == "Location" else {}
                self._add(name, "gauge", "Of Ray.", _text(name, {**raylet, label: given, **extra}), value)
        for name, value in NODE_GAUGES.items():
            self._add(name, "gauge", "Of the node.", _text(name, machine), value)
        for gpu, (name, value) in itertools.product(range(node.gpus), GPU_GAUGES.items()):
            labels = {**machine, "GpuIndex": str(gpu), "GpuDeviceName": "NVIDIA H200"}
            self._add(name, "gauge", "Of the GPU.", _text(name, labels), value)
        for name in RAYLET_COUNTERS:
            self._add(name, "counter", "Failures seen by Ray.", _text(name, {**raylet, "Name": ""}), constant(0.0))
        for number in range(UNREAD_FAMILIES):
            name = f"ray_unread_{number}_time_ms"
            for bound in ("1.0", "10.0", "100.0", "1000.0", "10000.0", "100000.0", "+Inf"):
                prefix = _text(f"{name}_bucket", {**raylet, "le": bound, "Method": "A.grpc_server.Method"})
                self._add(name, "histogram", "Of Ray, not read.", prefix, constant(7.0))
            for suffix in ("count", "sum"):
                prefix = _text(f"{name}_{suffix}", {**raylet, "Method": "A.grpc_server.Method"})
                self._add(name, "histogram", "Of Ray, not read.", prefix, constant(7.0))


class _Exporter:
    """The page of a node as of its last export."""

    def __init__(self, page: Page, clock: Callable[[], float], export_seconds: float) -> None:
        self._page, self._clock, self._export_seconds = page, clock, export_seconds
        self._body, self._exported = b"", -math.inf
        self._lock = threading.Lock()

    def body(self) -> bytes:
        """Return the page; export again first if the last export is old."""
        with self._lock:
            now = self._clock()
            if not 0.0 <= now - self._exported < self._export_seconds:
                self._body, self._exported = self._page.render(now).encode(), now
            return self._body


def _handler(exporter: _Exporter) -> type[ReplyHandler]:
    class Handler(ReplyHandler):
        def do_GET(self) -> None:
            self.reply(exporter.body(), content_type="text/plain; version=0.0.4; charset=utf-8")

    return Handler


@contextlib.contextmanager
def serve(
    nodes: Sequence[Node], clock: Callable[[], float] = time.time, export_seconds: float = 0.0
) -> Iterator[list[str]]:
    """Serve each node's page on its own loopback port; yield `host:port` for each, in order.

    Args:
        nodes: The nodes.
        clock: The moment of a page.
        export_seconds: How old the values of a page may be. Ray exports every ten seconds by default; 0 renders the
            page anew for every request, which costs a second of CPU for each 50 MB.
    """
    with contextlib.ExitStack() as stack:
        exporters = [_Exporter(Page(node), clock, export_seconds) for node in nodes]
        servers = [stack.enter_context(ReplyServer(_handler(exporter))) for exporter in exporters]
        yield [f"127.0.0.1:{server.server_port}" for server in servers]


def write_discovery(path: Path, targets: Sequence[str]) -> None:
    """Write the targets as Ray writes its discovery file, atomically."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps([{"labels": {"job": "ray"}, "targets": list(targets)}]))
    fresh.replace(path)


def main() -> int:
    """Serve a synthetic cluster until Ctrl-C and print its targets."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--workers", type=int, default=1000, help="workers of all runs together")
    parser.add_argument("--nodes", type=int, default=16, help="nodes of the cluster")
    parser.add_argument("--runs", type=int, default=2, help="number of runs")
    parser.add_argument("--discovery", type=Path, help="also write the targets to this file, as Ray does")
    args = parser.parse_args()
    with serve(fleet(args.workers, args.nodes, args.runs)) as targets:
        print("\n".join(f"http://{target}/metrics" for target in targets), flush=True)
        if args.discovery:
            write_discovery(args.discovery, targets)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

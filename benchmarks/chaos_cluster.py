"""Where the runs of `benchmarks.chaos` happen: Ray nodes, the Prometheus that scrapes them, and a viewer."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from ray_cluster import Node, ray_cluster
from scraping import configure
from support import free_port, get

from benchmarks.watched import Head, Program, await_result
from raymon.catalog import Metric
from raymon.live import targets
from raymon.live.collector import Collector

START_SECONDS: Final = 90.0
_AGENT: Final = b"ray::DashboardAgent"


class Prometheus:
    """Debian's Prometheus with raymon's configuration; it can be killed and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._discovery, self._folder, self._port = folder / "targets.json", folder, free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.scrape(())
        self._configuration = configure(self._discovery, folder)
        self.program = self._begin()

    def scrape(self, urls: tuple[str, ...]) -> None:
        """Scrape these metrics endpoints from now on."""
        hosts = [url.removeprefix("http://").removesuffix("/metrics") for url in urls]
        draft = self._discovery.with_suffix(".new")
        draft.write_text(json.dumps([{"targets": hosts, "labels": {"job": "ray"}}]))
        draft.replace(self._discovery)

    def _begin(self) -> Program:
        options = ("--log.level=warn", f"--web.listen-address=127.0.0.1:{self._port}")
        paths = (f"--config.file={self._configuration}", f"--storage.tsdb.path={self._folder / 'data'}")
        program = Program(["prometheus", *paths, *options], self._folder / "prometheus.log")
        await_result(lambda: get(f"{self.url}/-/ready"), START_SECONDS, "Prometheus starts")
        return program

    def kill(self) -> None:
        """End it at once."""
        self.program.kill()

    def start(self) -> None:
        """Start it again after `kill`."""
        self.program = self._begin()

    def totals(self, metric: Metric, run: str, label: str = "run") -> dict[str, float]:
        """Return the value of a label to what the run's processes counted in all, across restarts of them."""
        query = f"/api/v1/query?query={metric.name}%7Brun=%22{run}%22%7D%5B2h%5D"
        totals: dict[str, float] = {}
        for series in json.loads(get(self.url + query))["data"]["result"]:
            values = [float(value) for _, value in series["values"]]
            before = (0.0, *values[:-1])
            grown = sum(now - last if now >= last else now for last, now in zip(before, values, strict=True))
            key = series["metric"].get(label, "")
            totals[key] = totals.get(key, 0.0) + grown
        return totals

    def alerted(self, names: str, worker: str) -> bool:
        """Return whether one of the alerts `A|B` waits or fires, about this worker if one is named."""
        query = f"/api/v1/query?query=ALERTS%7Balertname=~%22{names}%22%7D"
        series = json.loads(get(self.url + query))["data"]["result"]
        return any(not worker or each["metric"].get("worker", worker) == worker for each in series)

    def firing(self, run: str) -> list[str]:
        """Return the names of the alerts that fire about a run."""
        query = f"/api/v1/query?query=ALERTS%7Brun=%22{run}%22,alertstate=%22firing%22%7D"
        return [each["metric"]["alertname"] for each in json.loads(get(self.url + query))["data"]["result"]]


class ChaosCluster:
    """One Ray node, or several with addresses of their own.

    Attributes:
        address: What `raymon train --address` takes.
        program: What to put before a command that runs on the head.
        environment: Variables of programs that join the cluster.
        clock_offset: Seconds by which the viewer's clock is wrong.
        broken: Whether the cluster lost its head; the next run needs another cluster.
    """

    address: str
    program: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}  # replaced, never changed

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock_offset = 0.0
        self.broken = False
        self.prometheus = Prometheus(folder / "prometheus")

    def _view(self, endpoints: targets.Targets) -> None:
        """Begin to look at the cluster, as a page does."""
        self.collector = Collector(
            endpoints,
            prometheus_url=self.prometheus.url,
            clock=lambda: time.time() + self.clock_offset,
            watched=True,
        )
        self.collector.start()

    def close(self) -> None:
        """End everything."""
        self.collector.stop()
        self.prometheus.kill()

    def node_processes(self, address: str) -> list[int]:
        """Return the processes of one node."""
        raise NotImplementedError

    def named(self, address: str, what: str) -> list[int]:
        """Return the processes `raylet` or `agent` of a node."""
        pids = []
        for pid in self.node_processes(address):
            with contextlib.suppress(OSError):
                program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
                if program.endswith(b"/raylet") if what == "raylet" else program.startswith(_AGENT):
                    pids.append(pid)
        return pids


class OneNode(ChaosCluster):
    """Head and only node, on the loopback interface."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        try:
            self._head = Head(folder)
        except BaseException:
            self.prometheus.kill()
            raise
        self.address = self._head.address
        self.prometheus.scrape((self._head.metrics_url,))
        self._view(targets.NamedTargets.of([self._head.metrics_url]))

    def node_processes(self, address: str) -> list[int]:
        """Return the processes of the node."""
        del address
        return self._head.processes()

    def close(self) -> None:
        """End everything."""
        super().close()
        self._head.kill()


class SeveralNodes(ChaosCluster):
    """A head and two nodes in network namespaces, with tokens."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._exits = contextlib.ExitStack()
        try:
            self._cluster = self._exits.enter_context(ray_cluster(workers=2, cpus=2, tls=False))
        except BaseException:
            self.prometheus.kill()
            raise
        self.address = self._cluster.address
        self.program = self._cluster.nodes[0].program
        self.environment = {
            name: value for name, value in self._cluster.environment.items() if name.startswith(("RAY_", "HOME"))
        }
        os.environ["RAY_AUTH_TOKEN"] = self._cluster.environment["RAY_AUTH_TOKEN"]  # for the viewer
        self._scrape()
        self._view(targets.choose(dashboard=self._cluster.dashboard_url))

    def _scrape(self) -> None:
        self.prometheus.scrape(tuple(node.metrics_url for node in self._cluster.nodes))

    def node(self, address: str) -> Node:
        """Return the node with an address."""
        return next(node for node in self._cluster.nodes if node.address == address)

    def is_head(self, address: str) -> bool:
        """Return whether the driver and the control store are on a node."""
        return address == self._cluster.nodes[0].address

    def node_processes(self, address: str) -> list[int]:
        """Return the processes of one node."""
        return self.node(address).pids()

    def replace(self, address: str) -> None:
        """Remove what is left of a node and let another one join."""
        self.node(address).kill()
        node = self._cluster.add_node()
        node.ready()
        self._scrape()

    def close(self) -> None:
        """End everything."""
        super().close()
        self._exits.close()
        os.environ.pop("RAY_AUTH_TOKEN", None)


@contextlib.contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Yield a folder on a small disk of its own; needs root."""
    folder.mkdir()
    await_result(lambda: _mount("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "chaos", str(folder)), 5.0, "mount")
    try:
        yield folder
    finally:
        await_result(lambda: _mount("umount", "-l", str(folder)), 5.0, "umount")


def _mount(*command: str) -> bool:
    return os.spawnvp(os.P_WAIT, command[0], command) == 0


def signal_all(pids: list[int], number: int = signal.SIGKILL) -> None:
    """Send a signal to processes, if they still run."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

"""A Ray cluster whose nodes have addresses of their own: network namespaces behind a bridge, on this machine.

    with ray_cluster(workers=2) as cluster:
        with cluster.raymon("top", "--once", "--dashboard-url", cluster.dashboard_url) as top: ...
        cluster.nodes[1].cut()

Tokens and TLS are on, as on a cluster that others reach. Needs root, iproute2 and openssl.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from support import ROOT, Command, get, poll, short_folder

RAY = (sys.executable, "-m", "ray.scripts.scripts")
GCS_PORT = 6379
DASHBOARD_PORT = 8265
METRICS_PORT = 8080
MOST_NODES = 8
START_SECONDS = 150.0


def run(*command: str, env: dict[str, str] | None = None, seconds: float = 60.0) -> str:
    """Run a command and return its output; raise AssertionError with it if the command fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=seconds)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


class Node:
    """One machine of the cluster: a network namespace with one address, and the Ray node in it."""

    def __init__(self, cluster: "RayCluster", number: int):
        self.cluster, self.number = cluster, number
        self.address = f"{cluster.network}.{number}"
        self.namespace = f"rm{os.getpid()}-{number}"
        self.link = f"rm{os.getpid()}v{number}"
        self.log = cluster.folder / f"node-{number}.log"

    def make(self) -> None:
        """Make the namespace and connect it to the bridge."""
        inside = ("ip", "-n", self.namespace)
        run("ip", "netns", "add", self.namespace)
        run("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        run("ip", "link", "set", self.link, "master", self.cluster.bridge, "up")
        run(*inside, "address", "add", f"{self.address}/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        run(*inside, "link", "set", "lo", "up")

    @property
    def program(self) -> tuple[str, ...]:
        """What to put before a command so that it runs on this node."""
        return ("ip", "netns", "exec", self.namespace)

    def start_ray(self, *options: str) -> None:
        """Start the Ray node and leave it starting; `ready` waits."""
        common = [
            f"--node-ip-address={self.address}",
            f"--temp-dir={self.cluster.folder / str(self.number)}",
            f"--metrics-export-port={METRICS_PORT}",
            "--object-store-memory=80000000",
            "--disable-usage-stats",
            "--include-log-monitor=false",
        ]
        command = [*self.program, *RAY, "start", *common, *options]
        with self.log.open("wb") as out:
            self.starter = subprocess.Popen(
                command, env=self.cluster.environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )

    def ready(self) -> None:
        """Wait until the metrics endpoint answers."""
        assert self.starter.wait(START_SECONDS) == 0, self.log.read_text()
        poll(lambda: get(self.metrics_url, 2.0), START_SECONDS, f"{self.metrics_url}; {self.log}")

    @property
    def metrics_url(self) -> str:
        return f"http://{self.address}:{METRICS_PORT}/metrics"

    def cut(self) -> None:
        """Unplug the cable."""
        run("ip", "link", "set", self.link, "down")

    def restore(self) -> None:
        """Plug it in again."""
        run("ip", "link", "set", self.link, "up")

    def pids(self) -> list[int]:
        """Return every process in the namespace."""
        done = subprocess.run(["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False)
        return [int(pid) for pid in done.stdout.split()]

    def kill(self) -> None:
        """Kill every process of the node at once, as a power cut does."""
        for _ in range(3):  # a process may have forked meanwhile
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Kill the node and remove its namespace, which removes the cable."""
        self.kill()
        for command in (("ip", "link", "delete", self.link), ("ip", "netns", "delete", self.namespace)):
            subprocess.run(command, capture_output=True, check=False)


class RayCluster:
    """The nodes, the head first, and how to run commands against them."""

    def __init__(self, folder: Path, tls: bool):
        pid = os.getpid()
        self.folder = folder
        self.network = f"10.{64 + (pid >> 8) % 128}.{pid % 256}"
        self.bridge = f"rm{pid}br"
        self.nodes: list[Node] = []
        (folder / "home").mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "HOME": str(folder / "home"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": os.urandom(16).hex(),
            "RAY_enable_worker_prestart": "0",
            "RAY_prestart_worker_first_driver": "0",
            "PYTHONPATH": str(ROOT),
        }
        if tls:
            self.environment |= _certificates(folder, [f"{self.network}.{n}" for n in range(1, MOST_NODES + 1)])

    @property
    def address(self) -> str:
        return f"{self.nodes[0].address}:{GCS_PORT}"

    @property
    def dashboard_url(self) -> str:
        return f"http://{self.nodes[0].address}:{DASHBOARD_PORT}"

    def add_node(self, cpus: int = 2) -> Node:
        """Start another node; `Node.ready` waits for it."""
        node = Node(self, len(self.nodes) + 1)
        self.nodes.append(node)
        node.make()
        if node.number == 1:
            head = ("--head", f"--port={GCS_PORT}", f"--dashboard-host={node.address}")
            node.start_ray(*head, f"--num-cpus={cpus}", '--system-config={"metrics_report_interval_ms": 1000}')
        else:
            node.start_ray(f"--address={self.address}", f"--num-cpus={cpus}")
        return node

    def ray(self, *arguments: str, node: Node) -> str:
        """Run `ray …` on a node and return its output."""
        return run(*node.program, *RAY, *arguments, env=self.environment)

    def raymon(self, *arguments: str, node: Node | None = None, **env: str) -> Command:
        """Start `raymon …` on this machine, which reaches all nodes, or on a node."""
        program = (*(node.program if node else ()), sys.executable, "-m", "raymon")
        return Command(*arguments, cwd=self.folder, program=program, **{**self.environment, **env})


def _certificates(folder: Path, addresses: list[str]) -> dict[str, str]:
    """Make a certificate for all addresses, and return the variables that have Ray use it."""
    names = ",".join(["DNS:localhost", "IP:127.0.0.1", *(f"IP:{address}" for address in addresses)])
    key, certificate = folder / "node.key", folder / "node.crt"
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=raymon")
    run(*command, "-addext", f"subjectAltName={names}", "-keyout", str(key), "-out", str(certificate))
    return {
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": str(certificate),
        "RAY_TLS_SERVER_KEY": str(key),
        "RAY_TLS_CA_CERT": str(certificate),
    }


@contextlib.contextmanager
def ray_cluster(workers: int = 2, cpus: int = 2, tls: bool = True) -> Iterator[RayCluster]:
    """Start a head and `workers` more nodes, each with a network address; remove everything at the end."""
    assert os.geteuid() == 0, "network namespaces need root: run the tests as root, or with sudo"
    for program in ("ip", "openssl"):
        assert shutil.which(program), f"{program} not found: apt-get install iproute2 openssl"
    with short_folder() as folder:
        cluster = RayCluster(folder, tls)
        try:
            run("ip", "link", "add", cluster.bridge, "type", "bridge")
            run("ip", "address", "add", f"{cluster.network}.254/24", "dev", cluster.bridge)
            run("ip", "link", "set", cluster.bridge, "up")
            cluster.add_node(cpus).ready()
            for node in [cluster.add_node(cpus) for _ in range(workers)]:
                node.ready()
            yield cluster
        finally:
            for node in cluster.nodes:
                node.remove()
            subprocess.run(["ip", "link", "delete", cluster.bridge], capture_output=True, check=False)
            time.sleep(0.2)  # sockets in the folder close with their processes

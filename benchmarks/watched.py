"""A Ray cluster, a trainer on it and a `raymon watch`, each in processes of its own, for the benchmarks of trouble."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.processes import begun, below

ROOT: Final = Path(__file__).resolve().parent.parent
T = TypeVar("T")


class TroubleError(Exception):
    """Something that the benchmark itself needs did not happen."""


def await_result(condition: Callable[[], T], seconds: float, what: str, every: float = 0.1) -> T:
    """Return the first true result of `condition`.

    Raises:
        TroubleError: It does not come within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, IndexError):
            if result := condition():
                return result
        time.sleep(every)
    raise TroubleError(f"{what}: not within {seconds:g} s")


def _hear_interrupts() -> None:
    """Restore what a shell changes for a program in the background, which ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Program:
    """A child process in a session of its own, with its output in a file; ended with all that descends from it."""

    def __init__(self, command: Sequence[str], log: Path, **environment: str) -> None:
        self.log = log
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                cwd=log.parent,
                env={
                    **os.environ,
                    "PYTHONPATH": path,
                    "PYTHONUNBUFFERED": "1",
                    "RAY_AUTH_MODE": "disabled",
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_hear_interrupts,  # noqa: PLW1509  # no thread of this program holds a lock that it needs
            )
        self._begun: dict[int, str] = {}

    def text(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace")

    def processes(self) -> list[int]:
        """Return the process and all that descend from it; what was seen once is ended with it."""
        pids = below(self.process.pid)
        self._begun.update((pid, begun(pid)) for pid in pids if pid not in self._begun)
        return pids

    def kill(self) -> None:
        """End the process and its descendants at once."""
        self.processes()
        for pid, since in self._begun.items():
            if since and begun(pid) == since:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def end(self, seconds: float = 10.0) -> None:
        """Ask it to end; kill it after a while."""
        self.processes()
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        self.kill()


HEAD: Final = """
import json, os, sys, time
from ray.cluster_utils import Cluster
import ray
settings = json.loads(sys.argv[2])
options = dict(include_dashboard=False, object_store_memory=100_000_000)
configuration = {"metrics_report_interval_ms": 1000, **settings["system"]}
first = dict(num_cpus=8, _system_config=configuration, temp_dir=sys.argv[1], **options)
cluster = Cluster(initialize_head=True, head_node_args=first)
for number in range(1, settings["nodes"]):
    cluster.add_node(num_cpus=8, resources={"second": 1}, object_store_memory=100_000_000)
ray.init(cluster.address, log_to_driver=False)
print("gcs", cluster.address)
for node in ray.nodes():
    print(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics")
print("ready", flush=True)
while True: time.sleep(3600)
"""


class Head:
    """A Ray cluster on this machine, in processes of its own.

    Args:
        folder: For its temp dir and its log.
        nodes: How many; those after the first have the resource `second`.
        environment: Variables of its processes.
        **system: Options of Ray's `_system_config`.
    """

    def __init__(
        self, folder: Path, nodes: int = 1, environment: Mapping[str, str] | None = None, **system: object
    ) -> None:
        settings = json.dumps({"nodes": nodes, "system": system})
        command = [sys.executable, "-c", HEAD, str(folder / "ray"), settings]
        (folder / "ray").mkdir()  # Ray writes the address of the cluster there
        self._program = Program(command, folder / "head.log", RAY_TMPDIR=str(folder), **(environment or {}))
        try:
            await_result(self._ready, 120.0, "Ray starts")
        except TroubleError as error:
            self.kill()
            raise TroubleError(f"{error}: {self._program.text()[-1000:]}") from None
        text = self._program.text()
        self.metrics_urls = re.findall(r"http://\S+/metrics", text)
        self.metrics_url = self.metrics_urls[0]
        self.address = re.findall(r"^gcs (\S+)", text, re.MULTILINE)[0]

    def _ready(self) -> bool:
        self._program.processes()
        return "\nready" in self._program.text()

    def processes(self) -> list[int]:
        """Return every process of the cluster."""
        return self._program.processes()

    def raylets(self, word: str) -> list[int]:
        """Return the processes of the cluster whose name holds a word, `raylet` or `gcs_server`, oldest first."""
        names = {pid: Path(f"/proc/{pid}/comm") for pid in self._program.processes()}
        return sorted(pid for pid, path in names.items() if path.exists() and word in path.read_text())

    def kill(self) -> None:
        """End every process of the cluster."""
        self._program.kill()


def watch(folder: Path, metrics_url: str, *options: str) -> Program:
    """Start `raymon watch` with the directory `folder/runs` for what it collects."""
    command = [sys.executable, "-m", "raymon", "watch", "--metrics-url", metrics_url, "--root", str(folder / "runs")]
    return Program([*command, *options], folder / "watch.log")


def put_table(page: Path, mark: str, lines: Sequence[str]) -> None:
    """Replace what is between the marks `mark: begin` and `mark: end` in a page of the docs."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    page.write_text("\n".join([before + begin, "", *lines, "", end + after]))

"""What both engines need around a run: Ray, status page, signals and terminal, started and ended in order."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO, cast

from rich.console import Console

from raymon.cluster.auth import unencrypted_cluster
from raymon.cluster.own_node import watched
from raymon.cluster.ports import pick_port
from raymon.cluster.start import Cluster, join_running, start_local
from raymon.incident import FOLDER
from raymon.page.command import PAGE_PARENT
from raymon.train.console import Terminal
from raymon.train.options import Config
from raymon.train.stop import Stop

_USUAL_PAGE_PORT: Final = 8501
_PAGE_END_SECONDS: Final = 5.0


def open_console() -> Console:
    """Return the console that a run prints to; it survives a closed pipe or terminal."""
    return Console(file=cast(TextIO, Terminal(sys.stdout)), highlight=False)


def page_port(config: Config) -> int:
    """Return the port for the status page, 0 for no page; raises `PortError`."""
    if not config.page or not config.workers:
        return 0
    return pick_port(config.page_port, _USUAL_PAGE_PORT, "the status page", "--page-port")


@contextlib.contextmanager
def ray_session(config: Config, stop: Stop, checkpoint: Path) -> Iterator[Cluster]:
    """Start a local Ray or join the one at `config.address`, and leave it at the end.

    If Ray or the kernel ends this process, another one says so, with where the run keeps its checkpoint.

    Raises:
        ClusterError: Ray does not start or cannot be joined.
        PortError: The dashboard's port is in use.
    """
    import ray

    try:
        if config.address is not None:
            cluster = join_running(config.address)
        else:
            cluster = start_local(
                cpus=config.workers,
                object_store_mb=config.object_store_mb,
                dashboard=config.dashboard,
                dashboard_port=config.dashboard_port,
                temp_dir=config.ray_temp_dir,
            )
        stop.install()  # Ray has replaced the signal handlers
        with watched(cluster.local, f"The last complete checkpoint, if there was one, is {checkpoint}"):
            yield cluster
    finally:
        ray.shutdown()


def announce(console: Console, config: Config, records: Path, cluster: Cluster, page: int) -> None:
    """Print where the run can be seen."""
    lines = {
        "run": f"{config.name} ({records})",
        "status page": f"http://127.0.0.1:{page}" if page else "",
        "Ray Dashboard": cluster.dashboard_url or "",
        "metrics": "  ".join(cluster.metrics_urls),
        "warning": unencrypted_cluster(config.address) if config.address else "",
    }
    for name, text in lines.items():
        if text:
            console.print(f"{name:<14} {text}", soft_wrap=True, markup=False)


def status_page(
    port: int, cluster: Cluster, config: Config
) -> contextlib.AbstractContextManager["subprocess.Popen[bytes]"]:
    """Serve the status page from a child process."""
    runs = ["--runs", str(config.runs)]
    return _child([sys.executable, "-m", "raymon", "status", "--port", str(port), *_targets(cluster), *runs])


def recorder(
    config: Config, records: Path, cluster: Cluster
) -> contextlib.AbstractContextManager["subprocess.Popen[bytes] | None"]:
    """Record the run and collect its incidents in a child process, from its start to its last numbers."""
    if not (config.record and config.recording and cluster.metrics_urls):
        return contextlib.nullcontext()
    run = ["--run", config.name]
    return _child(
        [sys.executable, "-m", "raymon.incident.recorder_process", str(records / FOLDER), *run, *_targets(cluster)]
    )


def _targets(cluster: Cluster) -> list[str]:
    """Return the options that name the nodes: the dashboard where it answers, since nodes join and leave."""
    if cluster.lists_nodes and cluster.dashboard_url:
        return ["--dashboard-url", cluster.dashboard_url]
    return [part for url in cluster.metrics_urls for part in ("--metrics-url", url)]


@contextlib.contextmanager
def _child(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a child process in a process group of its own: Ctrl-C does not reach it directly."""
    child = subprocess.Popen(
        command,
        env={**os.environ, PAGE_PARENT: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(_PAGE_END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def keep_page_up(page: "subprocess.Popen[bytes]", stop: Stop, console: Console) -> None:
    """Wait until the user asks to stop, or until the page has ended."""
    console.print("done; the status page stays up until Ctrl-C")
    with contextlib.suppress(KeyboardInterrupt):
        while not stop.requested():
            if page.poll() is not None:
                console.print("the status page has ended; `raymon status` opens it again")
                return
            time.sleep(0.5)

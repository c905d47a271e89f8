"""Real parts for tests: a Ray cluster of their own, Debian's Prometheus, Chromium; polling instead of sleeping."""

import contextlib
import functools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest.mock
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
_PORTS = range(20_000 + 1_500 * _WORKER, 21_500 + 1_500 * _WORKER)
T = TypeVar("T")


def poll(condition: Callable[[], T], seconds: float = 30.0, what: str = "", every: float = 0.1) -> T:
    """Return the first true result of `condition`; after `seconds`, fail with the last result."""
    deadline = time.monotonic() + seconds
    seen: object = None
    while True:
        try:
            seen = condition()
        except (OSError, AssertionError, KeyError, IndexError, ValueError) as error:
            seen = None
            last: object = error
        else:
            last = seen
            if seen:
                return seen  # type: ignore[return-value]
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what or condition}; last: {last!r}")
        time.sleep(every)


def settle(check: Callable[[], object], seconds: float = 30.0) -> None:
    """Call `check`, which asserts, until it passes, since reports of several processes arrive at different moments."""
    poll(lambda: check() is None, seconds, check.__name__)


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def free_port(count: int = 1) -> int:
    """Return the first of `count` consecutive free TCP ports of the loopback interface.

    They lie between those of Ray's workers and those that Linux gives to connections, and each process of pytest has
    its own: where a test expects nobody to listen, or starts a part again, there must be nobody else.
    """
    while True:
        first = _PORTS.start + secrets.randbelow(len(_PORTS) - count)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


def get(url: str, timeout: float = 10.0) -> str:
    """Return the body of a GET, without the environment's proxies."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=timeout) as reply:
        return str(reply.read().decode())


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A new folder with a path short enough for Ray's sockets; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="rm-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Command:
    """`python -m raymon …` (or another program) as a child in its own process group."""

    def __init__(
        self, *arguments: str, cwd: Path, program: tuple[str, ...] = (sys.executable, "-m", "raymon"), **env: str
    ):
        self.output = Path(tempfile.mkstemp(prefix="rm-out-")[1])
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "160", **env}
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [*program, *arguments],
                cwd=cwd,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait(self, seconds: float = 120.0) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds:g} s:\n{self.text()[-4000:]}") from None

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.output.unlink(missing_ok=True)


class Prometheus:
    """A running Prometheus and its HTTP API."""

    def __init__(self, url: str):
        self.url = url

    def api(self, path: str, **parameters: str) -> Any:
        reply = json.loads(get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
        assert reply["status"] == "success", reply
        return reply["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        return list(self.api("query", query=expression)["result"])

    def names(self, prefix: str = "") -> set[str]:
        return {name for name in self.api("label/__name__/values") if name.startswith(prefix)}


@contextlib.contextmanager
def running_prometheus(config: Path, data: Path, *options: str) -> Iterator[Prometheus]:
    """Start Debian's Prometheus with a config file and wait until it is ready."""
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        *options,
    ]
    log = data.parent / f"prometheus-{port}.log"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            poll(lambda: get(f"{url}/-/ready"), 30, f"Prometheus ready; {log}")
            yield Prometheus(url)
        finally:
            process.terminate()


@contextlib.contextmanager
def chromium_page(width: int = 1280, height: int = 900, dark: bool = False) -> Iterator[Any]:
    """Yield a playwright page in Debian's headless Chromium with a fresh profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--no-first-run",
                "--disable-sync",
                "--disable-quic",
            ],
        )
        try:
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
            )
            yield context.new_page()
        finally:
            browser.close()


@contextlib.contextmanager
def ray_session(num_cpus: int = 2, dashboard: bool = False, **options: Any) -> Iterator[Path]:
    """Start a local Ray with fast metrics and its own temp dir; yield the temp dir (holds the discovery file).

    Its agent listens on a free port: of two Rays on one machine the second would find Ray's fixed port taken, and the
    dashboard could not reach that agent.
    """
    import ray
    from ray._private import parameter

    with short_folder() as folder:
        own_port = functools.partial(parameter.RayParams, dashboard_agent_listen_port=None)
        with unittest.mock.patch.object(parameter, "RayParams", own_port):
            ray.init(
                num_cpus=num_cpus,
                include_dashboard=dashboard,
                object_store_memory=200_000_000,
                log_to_driver=False,
                _temp_dir=str(folder),
                _system_config={"metrics_report_interval_ms": 1000},
                **options,
            )
        try:
            yield folder
        finally:
            ray.shutdown()


def metrics_url() -> str:
    """Return the metrics endpoint of the head node of the Ray this process is connected to."""
    import ray

    node = ray.nodes()[0]
    return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"

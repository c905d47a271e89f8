"""`raymon status`: start the page as a child process on loopback, print its address, end it cleanly."""

import argparse
import contextlib
import errno
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from raymon.cluster import ports
from raymon.cluster.auth import use_token_file
from raymon.cluster.http import get
from raymon.cluster.ownership import is_loopback
from raymon.errors import UserError
from raymon.incident.recording_reader import Recording
from raymon.incident.recording_writer import RecordingWriter
from raymon.live import targets

PORT: Final = 8501
PAGE_TOKEN: Final = "RAYMON_PAGE_TOKEN"  # noqa: S105  # the name of a variable, not a token
PAGE_PARENT: Final = "RAYMON_PAGE_PARENT"
"""Environment variable with the process that the page must not outlive: the run that started it."""
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 5.0


class PageError(UserError):
    """The page cannot be served."""

    exit_code = 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options of `raymon status`; the page reads the same ones."""
    parser = argparse.ArgumentParser(
        prog="raymon status",
        description="Open the status page: which workers are in trouble, why, and what to do. It reads the metrics "
        "endpoints of the nodes, joins no cluster and changes nothing. Without options it finds the newest Ray session "
        "on this machine and stays in it while a run is live.",
    )
    parser.add_argument("--port", type=int, default=None, help=f"port of the page; {PORT}, or the next free one")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; reachable from other machines, the page asks for a token",
    )
    targets.add_options(parser, dashboard="Ray Dashboard: to find the nodes, and to link to")
    parser.add_argument("--prometheus-url", default="", metavar="URL", help="Prometheus, for alerts and older history")
    parser.add_argument("--grafana-url", default="", metavar="URL", help="Grafana to link to")
    parser.add_argument("--run", default="", help="the run shown first")
    parser.add_argument("--record", default="", metavar="DIR", help="record what is seen, to be shown again later")
    parser.add_argument("--recording", default="", metavar="DIR", help="show a recording, or that of a run's directory")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="directory of the runs, for their incidents")
    return parser


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed options; wrong ones end the process with a sentence and exit code 2."""
    return parser().parse_args(list(arguments))


def targets_of(args: argparse.Namespace) -> targets.Targets:
    """Return what to scrape; a dashboard that is given together with endpoints is only linked to."""
    dashboard = "" if args.metrics_url or args.discovery_file else args.dashboard_url
    return targets.choose(args.metrics_url, args.discovery_file, dashboard)


def main(arguments: list[str]) -> int:
    """Run the page until it is interrupted; exit code 0 ended, 1 could not start, 2 wrong options."""
    args = options(arguments)
    if importlib.util.find_spec("streamlit") is None:  # the child process would only print a traceback
        raise ModuleNotFoundError("No module named 'streamlit'", name="streamlit")
    try:
        targets_of(args)
        port = _port(args.host, args.port)
    except ValueError as error:
        parser().error(str(error))
    if args.recording:
        Recording(Path(args.recording))
    elif args.record:
        RecordingWriter(Path(args.record)).close()
    environment = dict(os.environ)
    use_token_file(args.token_file, environment)
    environment.pop(PAGE_TOKEN, None)
    parent = int(environment.pop(PAGE_PARENT, 0))
    if not is_loopback(args.host):
        environment[PAGE_TOKEN] = secrets.token_urlsafe(18)
        print(
            f"Warning: the page listens on {args.host}, unencrypted; anybody with the token sees the run.\n"
            f"Token: {environment[PAGE_TOKEN]}",
            flush=True,
        )
    server = [sys.executable, "-m", "raymon.page.serve", str(os.getpid()), args.host, str(port), *arguments]
    return _serve(server, environment, args.host, port, parent)


def _port(host: str, wanted: int | None) -> int:
    """Return the port to listen on: the wanted one, or from the default upwards the first free one.

    Raises:
        PageError: The wanted port is taken, or the address is not of this machine.
        ValueError: No port has that number.
    """
    if wanted is not None and not 0 < wanted < 65536:
        raise ValueError(f"found port {wanted}, expected 1 to 65535")
    candidates = [wanted] if wanted is not None else range(PORT, PORT + 50)
    last = OSError(f"every port from {PORT} to {PORT + 49} is reserved by a run")
    for port in candidates:
        if wanted is None and not ports.reserve(port):
            continue
        try:
            with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
                return port
        except OSError as error:
            last = error
    if wanted is not None and last.errno == errno.EADDRINUSE:
        raise PageError(f"port {wanted} is in use; give another with --port, or leave it out to have a free one chosen")
    raise PageError(f"cannot listen on {host}: {last.strerror or last}")


def _serve(command: Sequence[str], environment: dict[str, str], host: str, port: int, parent: int) -> int:
    """Serve until the child ends, a signal arrives, or the parent process ends (0 for none); return the exit code."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
    with _stopping() as stop:
        # In its own session, so that Ctrl-C in the terminal reaches the child through this process only.
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            if not _answers(f"http://{shown}:{port}/_stcore/health", child, stop):
                if stop:
                    return 0
                raise PageError("the page did not start; its output is above")
            print(f"Status page: http://{shown}:{port}  (Ctrl-C stops it)", flush=True)
            while child.poll() is None and not stop and parent in (0, os.getppid()):
                time.sleep(0.1)
            if child.returncode not in (None, 0):
                raise PageError(f"the page ended with exit code {child.returncode}")
            return 0
        finally:
            _end(child)


@contextlib.contextmanager
def _stopping() -> Iterator[list[int]]:
    """Yield a list that is empty until SIGINT, SIGTERM or SIGHUP arrives."""
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)

    handled = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        handled.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _answers(url: str, child: subprocess.Popen[bytes], stop: list[int]) -> bool:
    """Wait until the page's health check answers; False when the child ended, a signal came or time is up."""
    deadline = time.monotonic() + START_SECONDS
    while child.poll() is None and not stop and time.monotonic() < deadline:
        if get(url, timeout=1.0).ok:
            return True
        time.sleep(0.1)
    return False


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()

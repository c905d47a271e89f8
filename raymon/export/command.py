"""`raymon export`: serve the verdicts on runs and workers as metrics, for Prometheus, Grafana and Alertmanager."""

import argparse
import errno
import signal
import sys
import threading
from typing import Final

from prometheus_client import CollectorRegistry, start_http_server

from raymon.cluster.ownership import is_loopback
from raymon.cluster.ports import EXPORT_PORT
from raymon.errors import UserError
from raymon.export.families import Verdicts
from raymon.live import targets
from raymon.live.allocator import limit_arenas
from raymon.live.collector import Collector

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class ExportError(UserError):
    """The metrics cannot be served."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options of `raymon export`."""
    parser = argparse.ArgumentParser(
        prog="raymon export",
        description="Serve the verdict on each run and the state of each worker as metrics for Prometheus. "
        "Reads the metrics endpoints of the nodes, joins no cluster and changes nothing. Without options it finds the "
        "newest Ray session on this machine, kept while a run is live. `raymon up` starts and scrapes it.",
    )
    add = parser.add_argument
    add("--port", type=int, default=EXPORT_PORT, help=f"port to listen on (default: {EXPORT_PORT})")
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    targets.add_options(parser)
    add("--targets-of", default="", metavar="URL", help="read the endpoints that this Prometheus scrapes as job `ray`")
    return parser


def main(arguments: list[str]) -> int:
    """Run `raymon export` until Ctrl-C or SIGTERM; 0 then, 2 for wrong use or a port that is in use."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    limit_arenas()
    collector = Collector(targets.of_options(parser, args))
    stop = threading.Event()
    for number in _SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    registry = CollectorRegistry()
    registry.register(Verdicts(collector.snapshot))
    _listen(args.host, args.port, registry)
    collector.start()
    try:
        stop.wait()
    finally:
        collector.stop()
    return 0


def _listen(host: str, port: int, registry: CollectorRegistry) -> None:
    if not 0 < port < 65536:
        raise ExportError(f"--port {port}: expected 1 to 65535")
    try:
        start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ExportError(f"port {port} is in use; choose another with --port") from error
        raise ExportError(f"cannot listen on {host}: {error.strerror or error}; check --host") from error
    shown = f"[{host}]" if ":" in host else host
    if not is_loopback(host):
        print(f"raymon export: anybody who reaches {shown}:{port} can read the metrics", file=sys.stderr)
    print(f"Verdicts: http://{shown}:{port}/metrics  (Ctrl-C ends it)", flush=True)

"""`raymon up`: start the installed Prometheus and Grafana and `raymon export`, configured, on the loopback."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from raymon.cluster.auth import default_token_file, unencrypted
from raymon.stack import grafana_server, option_types, state
from raymon.stack.running import RunningStack, StackOptions
from raymon.stack.sources import Sources
from raymon.stack.starting import start_stack


def build_parser() -> argparse.ArgumentParser:
    """Return the options of `raymon up`."""
    parser = argparse.ArgumentParser(
        prog="raymon up",
        description="Start the installed Prometheus and Grafana and `raymon export` on the loopback, with raymon's "
        "configuration, rules and dashboards. Running it again changes nothing that is right already, and options that "
        "are not given stay as in earlier calls, until raymon down.",
    )
    add = parser.add_argument
    add(
        "--ray-temp-dir",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="Ray temp dir to follow, repeatable; without any source, now or before: /tmp/ray",
    )
    add(
        "--dashboard-url",
        type=option_types.url,
        action="append",
        default=[],
        metavar="URL",
        help="Ray Dashboard that lists its nodes over HTTP, repeatable",
    )
    add("--token-file", type=Path, metavar="FILE", help="token for --dashboard-url (default: ~/.ray/auth_token)")
    add(
        "--target",
        type=option_types.target,
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="metrics endpoint of a node, repeatable",
    )
    add("--prometheus-port", type=option_types.port, metavar="PORT", help="default: 9090, or any free port")
    add("--grafana-port", type=option_types.port, metavar="PORT", help="default: 3000, or any free port")
    add("--prometheus-url", type=option_types.url, metavar="URL", help="use this Prometheus instead of starting one")
    add("--no-grafana", action="store_true", help="start Prometheus without Grafana")
    add("--no-export", action="store_true", help="start no `raymon export`, which serves the verdicts to Prometheus")
    add(
        "--anonymous",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="let Grafana show its dashboards without login and inside the Ray Dashboard's frames",
    )
    add(
        "--directory",
        type=Path,
        metavar="DIR",
        help=f"configuration, data and logs (default: {state.default_directory()})",
    )
    add("--foreground", action="store_true", help="stay, and at Ctrl-C stop what no other process uses")
    return parser


def options_from(args: argparse.Namespace) -> StackOptions:
    """Return what the command line asks for."""
    token_file = args.token_file
    if args.dashboard_url and token_file is None and default_token_file().exists():
        token_file = default_token_file()
    sources = Sources(tuple(args.ray_temp_dir), tuple(args.dashboard_url), tuple(args.target), token_file)
    return StackOptions(
        args.directory,
        sources,
        args.prometheus_port,
        args.grafana_port,
        args.prometheus_url or "",
        not args.no_grafana,
        args.anonymous,
        with_export=not args.no_export,
        stays=not args.foreground,
    )


def addresses(stack: RunningStack) -> list[str]:
    """Return the addresses and how to log in, one line each."""
    lines = []
    services = (("prometheus", stack.prometheus_url), ("grafana", stack.grafana_url), ("export", stack.export_url))
    for name, url in services:
        if url:
            how = "started" if name in stack.started else "running already"
            how = "started again" if name in stack.restarted else how
            how = "named" if stack.named and name == "prometheus" else how
            lines.append(f"{name:<10}  {url}  ({how})")
    if stack.grafana_url:
        file = grafana_server.password_file(stack.directory)
        password = f"{stack.password} (shown only now; kept in {file})" if stack.password else f"in {file}"
        lines.append(f"{'login':<10}  user {grafana_server.ADMIN}, password {password}")
    return lines


def describe(stack: RunningStack) -> list[str]:
    """Return what to print after the start, one line each."""
    lines = addresses(stack)
    if stack.environment:
        lines.append("")
        lines.append("For the Ray Dashboard, set these where Ray's head starts, before it starts:")
        lines += [f"  export {name}={value}" for name, value in stack.environment.items()]
    return lines


def main(arguments: list[str]) -> int:
    """Run the command; 0 when everything asked for runs, 1 when something is missing or failed, 2 for wrong use."""
    args = build_parser().parse_args(arguments)
    options = options_from(args)
    for url in options.sources.dashboard_urls if options.sources.token_file else ():
        if warning := unencrypted(url):
            print(f"raymon up: {warning}", file=sys.stderr)
    stack = start_stack(options)
    print("\n".join(describe(stack)))
    for problem in stack.problems:
        print(f"raymon up: {problem}", file=sys.stderr)
    died = _stay(stack) if args.foreground else []
    return 1 if stack.problems or died else 0


def _stay(stack: RunningStack) -> list[str]:
    """Wait for Ctrl-C and stop what no other process uses; return the parts that ended by themselves before."""
    names = [part.name for part in state.read(stack.directory).parts.values() if part.mine]
    if not names:
        return []
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    print("\nCtrl-C stops what no other process uses.", flush=True)
    died: list[str] = []
    left = names
    while left and not died and not done.wait(1.0):
        with state.locked(stack.directory):  # a start that is under way may be giving one a new process
            known = state.read(stack.directory)
        left = [name for name in left if name in known.parts]  # the others `raymon down` has stopped
        died = [name for name in left if not known.running(name)]
    for name in died:
        print(f"raymon up: {name} ended by itself; see {stack.directory / name}.log", file=sys.stderr)
    stack.stop()
    return died

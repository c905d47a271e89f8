"""Start and stop the stack: a Prometheus and a Grafana that are installed, configured for the Ray of this machine.

Example:
    >>> with start_stack() as stack:  # before ray.init  # doctest: +SKIP
    ...     os.environ.update(stack.environment)
    ...     context = ray.init()
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from raymon.cluster import ports
from raymon.cluster.http import get
from raymon.errors import UserError
from raymon.stack import grafana_server, missing, process, prometheus_server, state
from raymon.stack.sources import Sources

READY_SECONDS: Final = 90.0
"""How long a program gets until it answers: Grafana's first start fills its database."""
_PORT_CONFLICT_SECONDS: Final = 0.2
"""If another program has the port and answers instead, ours has ended after this long."""


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What to start, and how; what is not given stays as in earlier calls.

    Attributes:
        directory: Folder of configuration, data and logs; None for the user's own.
        sources: Where Prometheus finds Ray's nodes.
        prometheus_port: Port to use; None for 9090 when it is free, else any free one.
        grafana_port: Port to use; None for 3000 when it is free, else any free one.
        prometheus_url: A Prometheus that runs already, used instead of starting one.
        with_grafana: Whether to start Grafana.
        add_sources: Whether a Prometheus that runs already also keeps its sources.
        anonymous: Whether Grafana shows its dashboards without a login, as the Ray Dashboard's frames need; None keeps
            the earlier choice, at first False.
        stays: Whether the parts and these options last until `raymon down`; otherwise they end with the last process
            that uses them.
        with_export: Whether to start `raymon export` and have the started Prometheus scrape it.
    """

    directory: Path | None = None
    sources: Sources = field(default_factory=Sources)
    prometheus_port: int | None = None
    grafana_port: int | None = None
    prometheus_url: str = ""
    with_grafana: bool = True
    anonymous: bool | None = None
    add_sources: bool = False
    stays: bool = False
    with_export: bool = False


@dataclass(slots=True)
class RunningStack:
    """What runs now.

    Attributes:
        directory: Folder of configuration, data and logs.
        prometheus_url: Where Prometheus answers, empty without one.
        named: Whether that Prometheus was named rather than started by raymon.
        grafana_url: Where Grafana answers, empty without one.
        export_url: Where the verdicts are served, empty if they are not.
        started: The parts this call started, as opposed to those that ran already.
        restarted: The parts that ran already and were started again to read what changed.
        problems: What is missing or failed, each with its fix.
        password: The administrator's password when it was generated just now, else empty.
    """

    directory: Path
    prometheus_url: str = ""
    named: bool = False
    grafana_url: str = ""
    export_url: str = ""
    started: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    password: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """Variables for Ray's head process: with them the Ray Dashboard's "Set up Prometheus and Grafana" goes away."""
        variables = {}
        if self.prometheus_url:
            variables["RAY_PROMETHEUS_HOST"] = self.prometheus_url
            variables["RAY_PROMETHEUS_NAME"] = grafana_server.DATASOURCE_NAME
        if self.grafana_url:
            variables["RAY_GRAFANA_HOST"] = self.grafana_url
            variables["RAY_GRAFANA_IFRAME_HOST"] = self.grafana_url
            variables["RAY_GRAFANA_ORG_ID"] = "1"
        return variables

    def stop(self) -> None:
        """End this process's use of the stack: parts that no other process uses are stopped, in the opposite order."""
        if self.prometheus_url or self.grafana_url:
            with state.locked(self.directory):
                _leave(self.directory)

    def __enter__(self) -> "RunningStack":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_stack(options: StackOptions | None = None) -> RunningStack:
    """Start what is installed and not running yet; what is missing or fails is a problem in the result, not raised."""
    options = options or StackOptions()
    directory = (options.directory or state.default_directory()).resolve()
    stack = RunningStack(directory)
    try:
        with state.locked(directory):
            try:
                _start_parts(options, directory, stack)
            except BaseException:  # Ctrl-C: nobody is left to stop what was started for this process
                with contextlib.suppress(OSError):
                    _leave(directory)
                raise
    except OSError as error:
        problem = f"{directory} cannot be used: {error.strerror or error}; choose another with --directory"
        return RunningStack(directory, options.prometheus_url, problems=(*stack.problems, problem))
    return stack


def _start_parts(options: StackOptions, directory: Path, stack: RunningStack) -> None:
    known = state.read(directory)
    options = _with_earlier(options, known)
    known.anonymous, known.prometheus_url = bool(options.anonymous), options.prometheus_url
    known.stays |= options.stays
    if options.prometheus_url:
        _attempt(stack, "prometheus", lambda: _use_prometheus(options, known, stack))
    else:
        _attempt(stack, "prometheus", lambda: _start_prometheus(options, directory, known, stack))
        if options.with_export and stack.prometheus_url:
            _attempt(stack, "export", lambda: _start_export(directory, known, stack))
    if options.with_grafana:
        _attempt(stack, "grafana", lambda: _start_grafana(options, directory, known, stack))
    if options.stays:
        for part in known.parts.values():
            part.stays |= part.mine
        state.write(directory, known)


def stop_stack(directory: Path | None = None) -> tuple[list[str], list[str]]:
    """Stop what was started, even if it is in use, if it is still the same process.

    Returns:
        The names of the parts that were stopped, and of those that were gone already.
    """
    directory = (directory or state.default_directory()).resolve()
    if not directory.is_dir():
        return [], []
    with state.locked(directory):
        known = state.read(directory)
        known.stays = False
        return _stop_parts(directory, known, list(known.parts))


def _leave(directory: Path) -> None:
    known = state.read(directory)
    mine = [part for part in known.parts.values() if part.mine]
    for part in mine:
        part.leave()
    _stop_parts(directory, known, [part.name for part in mine if not part.used])


def _stop_parts(directory: Path, known: state.StackState, names: list[str]) -> tuple[list[str], list[str]]:
    stopped: list[str] = []
    gone: list[str] = []
    for name in reversed(names):
        part = known.parts.pop(name)
        (stopped if process.stop(part.pid, part.mark) else gone).append(name)
    if "export" in names:
        state.write_file(prometheus_server.export_targets(directory), "[]\n")
    state.write(directory, known if known.parts or known.stays else state.StackState())
    return stopped, gone


def _with_earlier(options: StackOptions, known: state.StackState) -> StackOptions:
    """Return the options, completed by those of earlier calls."""
    named = options.prometheus_url or ("" if options.prometheus_port is not None else known.prometheus_url)
    return replace(
        options,
        sources=_sources(options, known).or_local(),
        prometheus_url=named.rstrip("/"),
        anonymous=known.anonymous if options.anonymous is None else options.anonymous,
    )


def _sources(options: StackOptions, known: state.StackState) -> Sources:
    if not options.add_sources:
        return options.sources.or_else(known.sources)
    used = known.stays or any(known.running(name) for name in known.parts)
    return options.sources.and_also(known.sources) if used else options.sources


class StackError(UserError):
    """A part cannot be started or stopped."""

    exit_code = 1


def _attempt(stack: RunningStack, name: str, start: Callable[[], None]) -> None:
    try:
        start()
    except (UserError, OSError) as error:
        stack.problems += (f"{name}: {error}",)


def _use_prometheus(options: StackOptions, known: state.StackState, stack: RunningStack) -> None:
    stack.prometheus_url, stack.named = options.prometheus_url, True
    known.sources = options.sources
    reply = get(f"{options.prometheus_url}/-/ready", timeout=5.0)
    if not reply.ok:
        why = f"{options.prometheus_url} does not answer as a Prometheus that is ready: {reply.error}"
        raise StackError(f"{why}; start it, name another with --prometheus-url, or let raymon start one: raymon down")


def _start_prometheus(options: StackOptions, directory: Path, known: state.StackState, stack: RunningStack) -> None:
    running = known.running("prometheus")
    if running and options.prometheus_port not in (None, running.port):
        raise StackError(f"it runs on port {running.port} already; `raymon down` first to move it")
    if running:
        stack.prometheus_url = running.url
        _hand_over(options.sources, directory, known, running)
        return
    earlier = known.sources
    if not prometheus_server.export_targets(directory).exists():
        state.write_file(prometheus_server.export_targets(directory), "[]\n")
    state.write_file(directory / "prometheus.yml", prometheus_server.config(options.sources, directory))
    known.sources = options.sources
    program = process.find_program("prometheus")
    if not program:
        _make_password(directory, stack)  # the containers that the sentence offers need it
        raise StackError(missing.prometheus(directory))
    port = _port(options.prometheus_port, known.parts.get("prometheus"), prometheus_server.DEFAULT_PORT)
    command = prometheus_server.command(program, directory, port)
    try:
        stack.prometheus_url = _launch("prometheus", command, directory, port, known, "/-/ready")
    except StackError:  # these sources may be why it does not start
        known.sources = earlier
        state.write(directory, known)
        raise
    stack.started += ("prometheus",)


def _hand_over(sources: Sources, directory: Path, known: state.StackState, running: state.Part) -> None:
    """Give a running Prometheus new sources; if it refuses them it keeps those it has."""
    config = directory / "prometheus.yml"
    earlier, before = known.sources, config.read_text()
    state.write_file(config, prometheus_server.config(sources, directory))
    known.sources = sources
    running.join()
    state.write(directory, known)
    # even for an equal file: the process that wrote it may have been killed before this
    if refusal := prometheus_server.reload_config(running.pid, running.url, directory / "prometheus.log"):
        state.write_file(config, before)
        known.sources = earlier
        state.write(directory, known)
        os.kill(running.pid, signal.SIGHUP)
        raise StackError(f"{refusal}; it keeps the configuration it has")


def _start_export(directory: Path, known: state.StackState, stack: RunningStack) -> None:
    """Start `raymon export` on the endpoints that Prometheus scrapes, and have Prometheus scrape it."""
    running = known.running("export")
    if running and stack.prometheus_url in running.command:
        stack.export_url = running.url
        running.join()
        state.write(directory, known)
        return
    if running:  # it follows a Prometheus that listened elsewhere
        process.stop(running.pid, running.mark)
    port = _port(None, known.parts.get("export"), ports.EXPORT_PORT)
    options = ["--port", str(port), "--targets-of", stack.prometheus_url]
    command = [sys.executable, "-m", "raymon", "export", *options]
    stack.export_url = _launch("export", command, directory, port, known, "/metrics", before=running)
    discovered = [{"targets": [f"127.0.0.1:{port}"]}]
    state.write_file(prometheus_server.export_targets(directory), json.dumps(discovered) + "\n")
    stack.started += ("export",)


def _start_grafana(options: StackOptions, directory: Path, known: state.StackState, stack: RunningStack) -> None:
    running = known.running("grafana")
    if running and options.grafana_port not in (None, running.port):
        raise StackError(f"it runs on port {running.port} already; `raymon down` first to move it")
    _make_password(directory, stack)
    program = grafana_server.find()
    if not program and not running:
        raise StackError(missing.grafana(directory))
    before = known.parts.get("grafana")
    port = running.port if running else _port(options.grafana_port, before, grafana_server.DEFAULT_PORT)
    temp_dirs = options.sources.temp_dirs
    changed = grafana_server.provision(directory, port, stack.prometheus_url, temp_dirs, known.anonymous)
    if running and not changed:
        running.join()
        state.write(directory, known)
        stack.grafana_url = running.url
        return
    if running:  # it reads its configuration at its start only
        process.stop(running.pid, running.mark)
    if not program:
        raise StackError(missing.grafana(directory))
    command = grafana_server.command(program, directory)
    environment = grafana_server.environment()
    stack.grafana_url = _launch("grafana", command, directory, port, known, "/api/health", environment, running)
    if running:
        stack.restarted += ("grafana",)
    else:
        stack.started += ("grafana",)


def _make_password(directory: Path, stack: RunningStack) -> None:
    password, is_new = grafana_server.admin_password(directory)
    if not is_new:
        return
    stack.password = password
    if advice := grafana_server.reset_password(directory):
        stack.problems += (f"grafana: {advice}",)


def _port(wanted: int | None, before: state.Part | None, preferred: int) -> int:
    if wanted is None:
        return ports.choose_port(before.port if before and ports.is_free(before.port) else preferred)
    if not ports.is_free(wanted):
        raise StackError(
            f"port {wanted} is in use by another program; choose another, or leave the option out for any free one"
        )
    return wanted


def _launch(
    name: str,
    command: list[str],
    directory: Path,
    port: int,
    known: state.StackState,
    ready: str,
    env: dict[str, str] | None = None,
    before: state.Part | None = None,
) -> str:
    log = directory / f"{name}.log"
    _keep_short(log)
    pid = process.launch(command, log, env, cwd=directory)
    url = f"http://127.0.0.1:{port}"
    part = state.Part(name, pid, process.start_mark(pid), port, url, command)
    if before:
        part.users, part.stays = before.users, before.stays
    known.parts[name] = part
    try:
        part.join()
        state.write(directory, known)
        _await(part, url + ready, log)
    except BaseException:  # Ctrl-C while it starts, or no room for its record, must not leave it behind either
        process.stop(pid, part.mark)
        del known.parts[name]
        with contextlib.suppress(OSError):  # a record of a process that is gone does no harm
            state.write(directory, known)
        raise
    return url


def _await(part: state.Part, url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while part.running:
        if get(url, timeout=2.0).ok:
            time.sleep(_PORT_CONFLICT_SECONDS)
            if part.running:
                return
        if time.monotonic() > deadline:
            raise StackError(f"it did not answer at {url} within {READY_SECONDS:g} s; see {log}")
        time.sleep(0.1)
    raise StackError(f"it ended at once; the end of {log}:\n{process.tail(log)}")


def _keep_short(log: Path, limit: int = 10_000_000) -> None:
    if log.exists() and log.stat().st_size > limit:
        shutil.move(log, log.with_suffix(".log.1"))

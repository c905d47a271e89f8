"""Start the stack: a Prometheus and a Grafana that are installed, configured for the Ray of this machine.

Example:
    >>> with start_stack() as stack:  # before ray.init  # doctest: +SKIP
    ...     os.environ.update(stack.environment)
    ...     context = ray.init()
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from raymon.cluster import ports
from raymon.cluster.http import get
from raymon.errors import UserError
from raymon.stack import grafana_server, install_advice, process, prometheus_server, state
from raymon.stack.launch import StackError, choose_port, launch
from raymon.stack.running import RunningStack, StackOptions, leave
from raymon.stack.sources import Sources


def start_stack(options: StackOptions | None = None) -> RunningStack:
    """Start the installed parts that do not run yet; missing or failed ones are listed as problems, not raised."""
    options = options or StackOptions()
    directory = (options.directory or state.default_directory()).resolve()
    stack = RunningStack(directory)
    try:
        with state.locked(directory):
            try:
                _start_parts(options, directory, stack)
            except BaseException:  # on Ctrl-C, stop what was started for this process
                with contextlib.suppress(OSError):
                    leave(directory)
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


def _with_earlier(options: StackOptions, known: state.StackState) -> StackOptions:
    """Return the options, completed with those of earlier calls."""
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
        _make_password(directory, stack)  # the containers that the message suggests need it
        raise StackError(install_advice.prometheus(directory))
    port = choose_port(options.prometheus_port, known.parts.get("prometheus"), prometheus_server.DEFAULT_PORT)
    command = prometheus_server.command(program, directory, port)
    try:
        stack.prometheus_url = launch("prometheus", command, directory, port, known, "/-/ready")
    except StackError:  # these sources may be the reason why it does not start
        known.sources = earlier
        state.write(directory, known)
        raise
    stack.started += ("prometheus",)


def _hand_over(sources: Sources, directory: Path, known: state.StackState, running: state.Part) -> None:
    """Pass new sources to a running Prometheus; if it refuses them, it keeps the old ones."""
    config = directory / "prometheus.yml"
    earlier, before = known.sources, config.read_text()
    state.write_file(config, prometheus_server.config(sources, directory))
    known.sources = sources
    running.join()
    state.write(directory, known)
    # even if the file is equal: the process that wrote it may have been killed before reloading
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
    if running:  # it reads from a Prometheus at another address
        process.stop(running.pid, running.mark)
    port = choose_port(None, known.parts.get("export"), ports.EXPORT_PORT)
    options = ["--port", str(port), "--targets-of", stack.prometheus_url]
    command = [sys.executable, "-m", "raymon", "export", *options]
    stack.export_url = launch("export", command, directory, port, known, "/metrics", before=running)
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
        raise StackError(install_advice.grafana(directory))
    before = known.parts.get("grafana")
    port = running.port if running else choose_port(options.grafana_port, before, grafana_server.DEFAULT_PORT)
    temp_dirs = options.sources.temp_dirs
    changed = grafana_server.provision(directory, port, stack.prometheus_url, temp_dirs, known.anonymous)
    if running and not changed:
        running.join()
        state.write(directory, known)
        stack.grafana_url = running.url
        return
    if running:  # it reads its configuration only at its start
        process.stop(running.pid, running.mark)
    if not program:
        raise StackError(install_advice.grafana(directory))
    command = grafana_server.command(program, directory)
    environment = grafana_server.environment()
    stack.grafana_url = launch("grafana", command, directory, port, known, "/api/health", environment, running)
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

"""The faults of `benchmarks.chaos`: what happens, how it ends, and what a viewer must say meanwhile."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from benchmarks.chaos_cluster import SeveralNodes, signal_all
from benchmarks.chaos_run import ChaosRun

Undo = Callable[[], None]
ENGINES: Final = ("own", "rllib")
_CUT_SECONDS: Final = 10.0
_CLOCK_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: In the table.
        begin: Brings it about for a worker or the node of that worker, and returns how to end it.
        expected: Pattern of what a viewer must say; `{worker}` and `{node}` are replaced.
        target: What it strikes: a worker, a node other than the head, or the run.
        engines: The engines for which the pattern holds.
        clusters: `one` or `several` nodes, or both.
        exit_code: The exit code of the run that it ends; None if the run must go on.
        breaks: Whether the cluster is of no use after it.
        alerts: The alert that must wait or fire before the fault is undone, for each engine with which it lasts long
            enough. raymon's own trainer replaces a worker that does not answer before an alert looks at it.
    """

    name: str
    begin: Callable[[ChaosRun, str], Undo]
    expected: str
    target: str = "worker"
    engines: tuple[str, ...] = ENGINES
    clusters: tuple[str, ...] = ("one", "several")
    exit_code: int | None = None
    breaks: bool = False
    alerts: Mapping[str, str] = field(default_factory=dict)


def _nothing() -> None:
    pass


def kill_worker(run: ChaosRun, worker: str) -> Undo:
    """Kill the process of a worker."""
    os.kill(run.pid(worker), signal.SIGKILL)
    return _nothing


def stop_worker(run: ChaosRun, worker: str) -> Undo:
    """Stop the process of a worker; it is continued."""
    pid = run.pid(worker)
    os.kill(pid, signal.SIGSTOP)
    return lambda: signal_all([pid], signal.SIGCONT)


def stop_for_good(run: ChaosRun, worker: str) -> Undo:
    """Stop the process of a worker; the driver has to replace it."""
    os.kill(run.pid(worker), signal.SIGSTOP)
    return _nothing


def raise_in_environment(run: ChaosRun, worker: str) -> Undo:
    """Raise an exception in a step of an environment."""
    return run.request(worker, "error")


def hang_in_environment(run: ChaosRun, worker: str) -> Undo:
    """Let a step of an environment not return, for a while."""
    return run.request(worker, "hang")


def hang_for_good(run: ChaosRun, worker: str) -> Undo:
    """Let a step of an environment never return."""
    run.request(worker, "hang")
    return _nothing


def allocate(run: ChaosRun, worker: str) -> Undo:
    """Let an environment allocate 10 MB a second, up to 600 MB."""
    return run.request(worker, "memory")


def fill_object_store(run: ChaosRun, worker: str) -> Undo:
    """Let an environment fill the object store of its node, and keep it full."""
    return run.request(worker, "store")


def kill_prometheus(run: ChaosRun, _: str) -> Undo:
    """Kill Prometheus; it is started again on the same data."""
    run.cluster.prometheus.kill()
    return run.cluster.prometheus.start


def step_clock(run: ChaosRun, _: str) -> Undo:
    """Set the clock of the viewer wrong by two minutes, and right again."""
    run.cluster.clock_offset = _CLOCK_SECONDS if run.random.random() < 0.5 else -_CLOCK_SECONDS

    def undo() -> None:
        run.cluster.clock_offset = 0.0

    return undo


def cut_link(run: ChaosRun, node: str) -> Undo:
    """Unplug a node from the network for ten seconds."""
    cut = _several(run).node(node)
    cut.cut()
    begun = time.monotonic()

    def undo() -> None:
        time.sleep(max(0.0, begun + _CUT_SECONDS - time.monotonic()))
        cut.restore()

    return undo


def kill_node(run: ChaosRun, node: str) -> Undo:
    """Kill every process of a node; another node joins later."""
    cluster = _several(run)
    cluster.node(node).kill()
    return lambda: cluster.replace(node)


def kill_raylet(run: ChaosRun, node: str) -> Undo:
    """Kill the raylet of a node."""
    return _kill_on(run, node, "raylet")


def kill_agent(run: ChaosRun, node: str) -> Undo:
    """Kill the agent of a node, which serves its metrics."""
    return _kill_on(run, node, "agent")


def _kill_on(run: ChaosRun, node: str, what: str) -> Undo:
    pids = run.cluster.named(node, what)
    assert pids, f"no {what} on node {node}"
    signal_all(pids)
    if isinstance(run.cluster, SeveralNodes):
        cluster = run.cluster
        return lambda: cluster.replace(node)
    return _nothing


def interrupt(run: ChaosRun, _: str) -> Undo:
    """Press Ctrl-C."""
    run.trainer.process.send_signal(signal.SIGINT)
    return _nothing


def terminate(run: ChaosRun, _: str) -> Undo:
    """Send SIGTERM to the driver."""
    run.trainer.process.send_signal(signal.SIGTERM)
    return _nothing


def fill_disk(run: ChaosRun, _: str) -> Undo:
    """Fill the disk that holds the run's directory; there is room again later."""
    return run.fill_disk()


def _several(run: ChaosRun) -> SeveralNodes:
    assert isinstance(run.cluster, SeveralNodes)
    return run.cluster


_STALLED: Final = r"worker {worker} stalled"
_REPLACED: Final = (
    r"^worker {worker} (restarting|dead|given_up|failing)"
    r"|replaced workers? [\d, and]*\b{worker}\b|^\w+ \[{worker}\] .*(lost|replaced|fail)"
)
_HANGS: Final = f"{_STALLED}|{_REPLACED}"
"""Where one of several environments hangs, the worker goes on with the others until it is replaced."""
_NODE_GONE: Final = r"^node_(silent|lost|drained) .*{node}\b|^problem .*{node}"
_STORE: Final = dict.fromkeys(ENGINES, "RaymonObjectStorePressure")
_MISSING: Final = dict.fromkeys(ENGINES, "RaymonMetricsMissing|RaymonWorkerDead")
"""The second where the driver has given the workers of the node up already."""
_ONE: Final = ("one",)
_SEVERAL: Final = ("several",)

FAULTS: Final = (
    Fault("worker killed (SIGKILL)", kill_worker, _REPLACED),
    Fault("worker stopped and continued", stop_worker, _STALLED, alerts={"rllib": "RaymonWorkerDead"}),
    Fault("worker stopped for good", stop_for_good, _HANGS, engines=("own",)),
    Fault("exception in an environment", raise_in_environment, _REPLACED),
    Fault("environment hangs for a while", hang_in_environment, _HANGS, alerts={"rllib": "RaymonWorkerStalled"}),
    Fault("environment hangs for good", hang_for_good, _HANGS, engines=("own",)),
    Fault("memory hog in a worker", allocate, r"^memory_growth \[{worker}\]"),
    Fault("object store full", fill_object_store, r"^object_store", alerts=_STORE),
    Fault(
        "Prometheus killed and restarted",
        kill_prometheus,
        r"^source .*Prometheus \S+ \(which does not answer",
        target="run",
    ),
    Fault("clock of the viewer set", step_clock, r"^node_clock", target="run"),
    Fault("node cut off and back", cut_link, _NODE_GONE, target="node", clusters=_SEVERAL, alerts=_MISSING),
    Fault("node lost, another joins", kill_node, _NODE_GONE, target="node", clusters=_SEVERAL),
    Fault("raylet killed, node replaced", kill_raylet, _NODE_GONE, target="node", clusters=_SEVERAL),
    Fault("metrics agent killed, node replaced", kill_agent, _NODE_GONE, target="node", clusters=_SEVERAL),
    Fault("Ctrl-C", interrupt, r"^(stopped|finished)", target="run", exit_code=130),
    Fault("SIGTERM", terminate, r"^(stopped|finished)", target="run", exit_code=143),
    Fault("disk of the records full", fill_disk, r"^failed|^printed .*cannot be written", target="run", exit_code=1),
    Fault(
        "raylet of the only node killed",
        kill_raylet,
        r"^problem|^killed|^failed|^node_lost",
        target="run",
        clusters=_ONE,
        exit_code=1,
        breaks=True,
    ),
    Fault(
        "metrics agent of the only node killed",
        kill_agent,
        r"^problem|^killed|^failed|^node_lost",
        target="run",
        clusters=_ONE,
        exit_code=1,
        breaks=True,
    ),
)

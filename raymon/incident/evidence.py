"""Collect what explains a finding, within seconds and without touching the training.

Stacks of the run's processes, Ray's view of its actors, the last minute of every figure, the ends of the logs, memory
and disk, versions. Nothing here joins the cluster as a driver. Every part is collected on its own: a part that
fails or takes too long leaves a note instead.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

import raymon
from raymon.catalog import DRIVER
from raymon.cluster import discovery
from raymon.cluster.cluster_state import ClusterState, StateFollower
from raymon.format import size
from raymon.health import Finding
from raymon.incident import groups
from raymon.live.snapshot import Snapshot
from raymon.profile.node import dump_stacks
from raymon.profile.stacks import MAIN, current_frames
from raymon.views import RunView

TOTAL_SECONDS: Final = 5.0
SERIES_SECONDS: Final = 60.0
FIND_SECONDS: Final = 5.0
MOST_PROCESSES: Final = 64
MOST_FRAMES: Final = 40
LOG_BYTES: Final = 8_192
MOST_LOGS: Final = 8
_MEMORY: Final = {"MemTotal": "memory", "MemAvailable": "memory available", "SwapFree": "swap free"}
_NOISE: Final = re.compile(
    r"\[state-dump\]|Event stats|Global stats|Queueing time|Execution time|event_loop_lag_probe|^\s*ing time:"
)
"""Lines with which Ray fills its logs every minute."""
_VERSIONS: Final = ("ray", "torch", "numpy", "gymnasium", "prometheus-client", "streamlit", "verl")


@dataclass(frozen=True, slots=True)
class LocalSession:
    """The Ray session on this machine: its folder, the addresses of the nodes that run here, its control store."""

    folder: Path
    addresses: tuple[str, ...]
    gcs_address: str = ""


def local_session(snapshot: Snapshot) -> LocalSession | None:
    """Return the session on this machine whose nodes the snapshot was scraped from, None without one."""
    urls = {target.url for target in snapshot.targets}
    nodes = [node for node in discovery.raylets() if node.metrics_url() in urls]
    if not nodes:
        return None
    here = tuple(node.node_address for node in nodes if node.session_dir == nodes[0].session_dir)
    return LocalSession(nodes[0].session_dir, here, nodes[0].gcs_address)


class Evidence:
    """Collects evidence, and follows the cluster's control store so that the causes of deaths are known at once."""

    def __init__(self, on_state: Callable[[ClusterState], None] | None = None) -> None:
        self._on_state = on_state
        self._session: LocalSession | None = None
        self._follower: StateFollower | None = None
        self._looked_at = float("-inf")

    def follow(self, snapshot: Snapshot) -> None:
        """Find the session of the snapshot on this machine, every few seconds until there is one."""
        if self._session is not None or time.monotonic() - self._looked_at < FIND_SECONDS:
            return
        self._looked_at = time.monotonic()
        self._session = local_session(snapshot)
        if self._session is not None and self._session.gcs_address:
            self._follower = StateFollower(self._session.gcs_address, on_state=self._on_state)
            self._follower.start()

    def collect(self, snapshot: Snapshot, run: RunView, finding: Finding) -> dict[str, Any]:
        """Return the evidence for a finding; see `collect`."""
        state = self._follower.state if self._follower is not None else None
        return collect(snapshot, run, finding, self._session, state)

    def close(self) -> None:
        """End the child process that asks the control store."""
        if self._follower is not None:
            self._follower.stop()


def collect(
    snapshot: Snapshot,
    run: RunView,
    finding: Finding,
    session: LocalSession | None = None,
    cluster_state: Callable[[], ClusterState] | None = None,
    seconds: float = TOTAL_SECONDS,
) -> dict[str, Any]:
    """Return the evidence for a finding as JSON data; takes at most about `seconds` and never raises."""
    began = time.monotonic()
    parts: dict[str, Callable[[], Any]] = {
        "stacks": lambda: _stacks(run, session),
        "cluster": lambda: _cluster(run, cluster_state),
        "series": lambda: _series(snapshot, run.run),
        "logs": lambda: _logs(run, finding, session),
        "machine": lambda: _machine(session),
        "versions": _versions,
    }
    evidence: dict[str, Any] = {"view": _view(run), "findings": _findings(snapshot, run)}
    pool = ThreadPoolExecutor(len(parts), thread_name_prefix="raymon-evidence")
    try:
        jobs = {name: pool.submit(part) for name, part in parts.items()}
        for name, job in jobs.items():
            try:
                evidence[name] = job.result(max(0.05, seconds - (time.monotonic() - began)))
            except Late:
                evidence[name] = {"note": f"not collected within {seconds:g} s"}
            except Exception as error:  # noqa: BLE001  # one missing part must not cost the others
                evidence[name] = {"note": f"not collected: {type(error).__name__}: {error}"}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    evidence["collected_in_seconds"] = round(time.monotonic() - began, 3)
    return evidence


def _findings(snapshot: Snapshot, run: RunView) -> list[dict[str, Any]]:
    verdict = snapshot.verdicts.get(run.run)
    return [asdict(finding) for finding in verdict.findings] if verdict else []


def _view(run: RunView) -> dict[str, Any]:
    return asdict(run) | {"return_history": ()}


def processes(run: RunView) -> dict[str, tuple[str, int]]:
    """Return name -> (node, process id) of the driver and the workers."""
    named = {f"worker {w.worker}": (w.node or "", w.pid) for w in run.workers if w.pid is not None}
    if run.driver_pid is not None:
        named = {DRIVER: (run.driver_node or "", run.driver_pid), **named}
    return named


def _stacks(run: RunView, session: LocalSession | None) -> dict[str, Any]:
    """Return the stacks of the processes on this machine, grouped by likeness."""
    here = session.addresses if session else ()
    local = {name: pid for name, (node, pid) in processes(run).items() if node in here}
    elsewhere = sorted({node for node, _ in processes(run).values()} - set(here))
    chosen = dict(list(local.items())[:MOST_PROCESSES])
    with ThreadPoolExecutor(8) as pool:
        dumps = dict(zip(chosen, pool.map(lambda pid: dump_stacks(pid, seconds=3.0), chosen.values()), strict=True))
    threads = {name: current_frames(dump) for name, dump in dumps.items()}
    main = {name: _main_frames(found) for name, found in threads.items()}
    alike = groups.grouped({name: frames for name, frames in main.items() if frames})
    return {
        "sentence": groups.sentence(alike),
        "groups": [{"processes": group.processes, "frames": group.frames[:MOST_FRAMES]} for group in alike],
        "unreadable": [name for name, dump in dumps.items() if not dump],
        "elsewhere": elsewhere,
    }


def _main_frames(threads: list[tuple[str, list[str]]]) -> list[str]:
    """Return the frames of the main thread, or of the first busy one."""
    for name, frames in threads:
        if name.startswith(MAIN):
            return frames
    return threads[0][1] if threads else []


def _cluster(run: RunView, ask: Callable[[], ClusterState] | None) -> dict[str, Any]:
    """Return what Ray says about the run's processes and about every dead actor and node."""
    if ask is None:
        return {"note": "no Ray control store is known; run raymon on a node of the cluster"}
    state = ask()
    if state.error:
        return {"note": state.error}
    pids = {pid for _, pid in processes(run).values()}
    return {
        "actors": [actor for actor in state.actors if actor["pid"] in pids or actor["state"] != "ALIVE"][-200:],
        "ended_workers": list(state.workers)[-100:],
        "nodes": list(state.nodes)[:200],
    }


def _series(snapshot: Snapshot, run: str) -> dict[str, Any]:
    """Return the last minute of every figure, of the run and of each worker."""
    history = snapshot.histories.get(run)
    if history is None or not len(history.times):
        return {"note": "no history yet"}
    begin = int(np.searchsorted(history.times, history.times[-1] - SERIES_SECONDS))
    workers = history.workers
    start = int(np.searchsorted(workers.times, history.times[-1] - SERIES_SECONDS)) if len(workers.times) else 0
    return {
        "times": _numbers(history.times[begin:]),
        "values": {name: _numbers(values[begin:]) for name, values in history.values.items()},
        "worker_times": _numbers(workers.times[start:]),
        "workers": {
            name: {
                "steps_per_second": _numbers(workers.steps_per_second[row, start:]),
                "rss_bytes": _numbers(workers.rss_bytes[row, start:]),
            }
            for row, name in list(enumerate(workers.workers))[:MOST_PROCESSES]
        },
    }


def _numbers(values: Any) -> list[float | None]:  # noqa: ANN401  # any one-dimensional array
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in values]


def _logs(run: RunView, finding: Finding, session: LocalSession | None) -> dict[str, str]:
    """Return the ends of the logs of the worker in question, of the driver and of Ray on this machine."""
    if session is None:
        return {}
    folder = session.folder / "logs"
    ids = [w.log_id for w in run.workers if w.log_id and (not finding.worker or w.worker == finding.worker)]
    names = [path for log_id in ids[:3] for path in sorted(folder.glob(f"worker-{log_id}*"))[:2]]
    names += [folder / "raylet.out", folder / "raylet.err", folder / "gcs_server.out"]
    tails = {}
    for path in names[:MOST_LOGS]:
        if text := tail(path):
            tails[path.name] = text
    return tails


def tail(path: Path, length: int = LOG_BYTES) -> str:
    """Return the end of a regular file, empty if it is none; does not follow a link and never blocks."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as log:
        status = os.fstat(log.fileno())
        if not stat.S_ISREG(status.st_mode):
            return ""
        log.seek(max(0, status.st_size - 8 * length))
        lines = log.read(8 * length).decode(errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if line.strip() and not _NOISE.search(line)]
    return "".join(kept)[-length:]


def _machine(session: LocalSession | None) -> dict[str, Any]:
    """Return load, memory and disk of this machine."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    machine: dict[str, Any] = {"host": platform.node(), "cpus": os.cpu_count(), "load in 1, 5, 15 minutes": load}
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        rows = (line.split() for line in meminfo.read_text().splitlines())
        kilobytes = {row[0].rstrip(":"): int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}
        for name, label in _MEMORY.items():
            machine[label] = size(kilobytes.get(name, 0) * 1024)
    places: Mapping[str, Path] = {"Ray's session": session.folder if session else Path("/tmp"), "the runs": Path.cwd()}  # noqa: S108
    for name, path in places.items():
        if path.exists():
            machine[f"free disk of {name}"] = size(shutil.disk_usage(path).free)
    return machine


def _versions() -> dict[str, str]:
    versions = {"raymon": raymon.__version__, "python": platform.python_version(), "system": platform.platform()}
    for name in _VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions

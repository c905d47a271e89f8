"""Collect what explains a finding, within seconds and without touching the training.

Stacks of the run's processes, Ray's view of its actors, the last minute of every figure, the ends of the logs, memory
and disk, versions. Nothing here joins the cluster as a driver. Every part is collected on its own: a part that
fails or takes too long leaves a note instead.
"""

import functools
import importlib.metadata
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

import raymon
from raymon.cluster import discovery
from raymon.cluster.cluster_state import ClusterState, StateFollower, ask
from raymon.cluster.ownership import open_trusted
from raymon.format import size
from raymon.health import Finding
from raymon.incident.deaths import Death
from raymon.incident.ended_processes import SeenProcesses, deaths
from raymon.incident.local_deaths import ProcessWatch, processes_to_watch, worker_logs
from raymon.incident.run_stacks import in_order_of_interest, stack_evidence, suspects
from raymon.live.evidence_files import EvidenceFiles, Process
from raymon.live.snapshot import Snapshot
from raymon.views import RunView

TOTAL_SECONDS: Final = 5.0
SERIES_SECONDS: Final = 60.0
FIND_SECONDS: Final = 5.0
ASK_AGAIN_SECONDS: Final = (0.02, 0.1)
"""After the end of a process, the control store is asked for its cause; it may not know it yet at the first time."""
LOG_BYTES: Final = 8_192
MOST_LOGS: Final = 8
MOST_ENDED: Final = 100
"""Processes that ended, those of the run before others."""
MOST_WORKERS: Final = 1_000
"""Workers whose view is kept."""
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


def local_session(snapshot: Snapshot, before: LocalSession | None = None) -> LocalSession | None:
    """Return the session on this machine whose nodes the snapshot was scraped from, None without one.

    It is still the one of `before` as long as a node of that one is among them.
    """
    urls = {target.url for target in snapshot.targets}
    nodes = [node for node in discovery.raylets() if node.metrics_url() in urls]
    if not nodes:
        return None
    if before is not None and any(node.session_dir == before.folder for node in nodes):
        return before
    here = tuple(node.node_address for node in nodes if node.session_dir == nodes[0].session_dir)
    return LocalSession(nodes[0].session_dir, here, nodes[0].gcs_address)


class Evidence:
    """Collects evidence, and follows the cluster's control store so that the causes of deaths are known at once.

    Args:
        on_state: Called with every answer of the control store.
        on_death: Called with the end of each process on this machine, at once.
        follow: Whether to ask the control store twice a second, from a child process; else once per incident.
        dashboard_url: The Ray Dashboard, if the user named one: serves the stacks of processes on other nodes.
    """

    def __init__(
        self,
        on_state: Callable[[ClusterState], None] | None = None,
        on_death: Callable[[Death], None] | None = None,
        follow: bool = True,
        dashboard_url: str = "",
    ) -> None:
        self._on_state, self._follow = on_state, follow
        self._files = EvidenceFiles(dashboard_url)
        self._session: LocalSession | None = None
        self._follower: StateFollower | None = None
        self._looked_at = float("-inf")
        self._on_death = on_death
        self._process_watch = ProcessWatch(self._died)
        self._seen = SeenProcesses()

    def follow(self, snapshot: Snapshot) -> None:
        """Find the session of the snapshot on this machine, every few seconds: Ray may start again. Follow its ends."""
        self._seen.add(snapshot)
        if self._on_death is not None and self._session is not None:
            self._process_watch.follow(processes_to_watch(snapshot, self._session.folder, self._session.addresses))
        if time.monotonic() - self._looked_at < FIND_SECONDS:
            return
        self._looked_at = time.monotonic()
        session = local_session(snapshot, self._session)
        if session is None or session == self._session:
            return
        self._session = session
        if self._follower is not None:
            self._follower.stop()
            self._follower = None
        if self._follow and self._session.gcs_address:
            self._follower = StateFollower(self._session.gcs_address, on_state=self._on_state)
            self._follower.start()

    def collect(self, snapshot: Snapshot, run: RunView, finding: Finding) -> dict[str, Any]:
        """Return the evidence for a finding; see `collect`."""
        state: Callable[[], ClusterState] | None = None
        if self._follower is not None:
            state = self._follower.state
        elif self._session is not None and self._session.gcs_address:
            state = functools.cache(functools.partial(ask, self._session.gcs_address, TOTAL_SECONDS))
        return collect(snapshot, run, finding, self._session, state, self._files, self._seen.of(run.run))

    def _died(self, death: Death) -> None:
        if self._on_death is not None:
            self._on_death(death)
        for seconds in ASK_AGAIN_SECONDS:
            if self._follower is not None:
                time.sleep(seconds)
                self._follower.ask_now()

    def close(self) -> None:
        """End the child process that asks the control store, and the thread that follows processes."""
        self._process_watch.close()
        if self._follower is not None:
            self._follower.stop()


def collect(
    snapshot: Snapshot,
    run: RunView,
    finding: Finding,
    session: LocalSession | None = None,
    cluster_state: Callable[[], ClusterState] | None = None,
    files: EvidenceFiles | None = None,
    earlier: Mapping[Process, str] | None = None,
    seconds: float = TOTAL_SECONDS,
) -> dict[str, Any]:
    """Return the evidence for a finding as JSON data; takes at most about `seconds` and never raises.

    Args:
        snapshot: What is known.
        run: The run that the finding is about.
        finding: The finding.
        session: The session on this machine, if there is one.
        cluster_state: Returns what the control store knows; None without one.
        files: Reads what processes left behind.
        earlier: Name of every process that the run had before.
        seconds: How long all of it may take.
    """
    began = time.monotonic()
    here = session.addresses if session else ()
    about = suspects(snapshot, run, finding)
    names = {**(earlier or {}), **{process: name for name, process in run.processes().items()}}
    parts: dict[str, Callable[[], Any]] = {
        "stacks": lambda: stack_evidence(run, about, here, cluster_state, files or EvidenceFiles()),
        "cluster": lambda: _cluster(run, names, cluster_state),
        "series": lambda: _series(snapshot, run, about),
        "logs": lambda: _logs(run, finding, session),
        "machine": lambda: _machine(session),
        "versions": _versions,
    }
    evidence: dict[str, Any] = {"view": _view(run, about), "findings": _findings(snapshot, run)}
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
    stacks = evidence["stacks"]
    evidence["hang"] = stacks.pop("hang", None)
    evidence["deaths"] = deaths(names, evidence["cluster"], stacks.pop("losses", ()), stacks.pop("failures", {}))
    evidence["collected_in_seconds"] = round(time.monotonic() - began, 3)
    return evidence


def _findings(snapshot: Snapshot, run: RunView) -> list[dict[str, Any]]:
    verdict = snapshot.verdicts.get(run.run)
    return [asdict(finding) for finding in verdict.findings] if verdict else []


def _view(run: RunView, about: Sequence[str]) -> dict[str, Any]:
    """Return what is known of the run without what is not known, and of `MOST_WORKERS` workers at most."""
    kept = set(in_order_of_interest(run, about, MOST_WORKERS))
    workers = tuple(worker for worker in run.workers if f"worker {worker.worker}" in kept or worker.pid is None)
    view: dict[str, Any] = _known(asdict(replace(run, workers=workers[:MOST_WORKERS], return_history=())))
    return view


def _known(value: Any) -> Any:  # noqa: ANN401  # any plain data
    """Return plain data without the fields that are None or empty."""
    if isinstance(value, dict):
        pairs = ((key, _known(each)) for key, each in value.items())
        return {key: each for key, each in pairs if each not in (None, "", (), {})}
    return tuple(map(_known, value)) if isinstance(value, tuple) else value


def _cluster(run: RunView, names: Collection[Process], ask: Callable[[], ClusterState] | None) -> dict[str, Any]:
    """Return what Ray says about the run's processes and about every dead actor and node."""
    if ask is None:
        return {"note": "no Ray control store is known; run raymon on a node of the cluster"}
    state = ask()
    if state.error:
        return {"note": state.error}
    pids = {pid for _, pid in run.processes().values()}
    newest = state.workers[::-1]
    own = [worker for worker in newest if (worker["node"], worker["pid"]) in names][:MOST_ENDED]
    others = [worker for worker in newest if (worker["node"], worker["pid"]) not in names]
    return {
        "actors": [actor for actor in state.actors if actor["pid"] in pids or actor["state"] != "ALIVE"][-200:],
        "ended_workers": [*others[: MOST_ENDED - len(own)][::-1], *own[::-1]],
        "nodes": list(state.nodes)[:200],
    }


def _series(snapshot: Snapshot, run: RunView, about: Sequence[str]) -> dict[str, Any]:
    """Return the last minute of every figure of the run, and steps/s and memory of the workers that are looked at."""
    history = snapshot.histories.get(run.run)
    if history is None or not len(history.times):
        return {"note": "no history yet"}
    history = history.last(SERIES_SECONDS)
    workers = history.workers
    chosen = set(in_order_of_interest(run, about))
    return {
        "times": _numbers(history.times),
        "values": {name: _numbers(values) for name, values in history.values.items()},
        "worker_times": _numbers(workers.times),
        "workers": {
            name: {
                "steps_per_second": _numbers(workers.steps_per_second[row]),
                "rss_bytes": _numbers(workers.rss_bytes[row]),
            }
            for row, name in enumerate(workers.workers)
            if f"worker {name}" in chosen
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
    names = [path for log_id in ids[:3] for path in worker_logs(folder, log_id)[:2]]
    names += [folder / "raylet.out", folder / "raylet.err", folder / "gcs_server.out"]
    tails = {}
    for path in names[:MOST_LOGS]:
        if text := tail(path):
            tails[path.name] = text
    return tails


def tail(path: Path, length: int = LOG_BYTES) -> str:
    """Return the end of a regular file of this user's or root's, empty if it is none; follows no link, never blocks."""
    try:
        with open_trusted(path) as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - 8 * length))
            lines = log.read(8 * length).decode(errors="replace").splitlines(keepends=True)
    except OSError:
        return ""
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

"""The verdicts as plain data: what `raymon top --once --json` prints."""

import math
from dataclasses import asdict
from typing import Any

from raymon.health import Finding, RunVerdict, WorkerVerdict, judged_workers, worst_first
from raymon.health.verdicts import ENDS
from raymon.html.warnings import warnings
from raymon.live.snapshot import Snapshot
from raymon.views import FlowView, NodeView, RunView, WorkerView


def report(snapshot: Snapshot, name: str = "", now: float | None = None) -> dict[str, Any]:
    """Return the verdict on a run and its workers; the same keys whatever is known, None where something is not.

    Args:
        snapshot: What was collected last.
        name: The run; the newest live one when empty.
        now: `time.monotonic()` of the report; tests set it.
    """
    elapsed = snapshot.age_seconds(now)
    view = snapshot.run(name or None)
    verdict = snapshot.verdicts.get(view.run) if view else None
    findings = verdict.findings if verdict else ()
    if view is None or verdict is None:
        view = RunView(name, data_age_seconds=snapshot.data_age_seconds)
        verdict = RunVerdict((Finding("unknown", "unknown", no_run(snapshot, name)),))
    return {
        "run": view.run or None,
        "run_state": view.state,
        "verdict": {
            "state": verdict.state,
            "severity": verdict.severity,
            "sentence": verdict.sentence,
            "advice": verdict.advice,
            "evidence": list(verdict.evidence),
            "findings": [asdict(finding) for finding in findings],
        },
        "driver": {
            "pid": view.driver_pid,
            "node": view.driver_node,
            "where": view.driver_where or None,
            "process": view.driver_process or None,
            "waits_for": list(view.driver_waits_for),
            "exit": view.driver_exit or None,
        },
        "ended": verdict.state if verdict.state in ENDS else None,
        "workers": [_worker(worker, judged, elapsed) for worker, judged in worst_first(judged_workers(view, verdict))],
        "nodes": [_node(node, elapsed) for node in view.nodes],
        "phases": {name: _rounded(ratio) for name, ratio in view.phase_ratio.items()},
        "flow": _flow(view.flow),
        "data_age_seconds": _rounded(view.data_age_seconds, elapsed),
        "source": snapshot.source,
        "problems": warnings(snapshot, elapsed),
    }


def no_run(snapshot: Snapshot, name: str) -> str:
    """Return why there is nothing to show."""
    if name and snapshot.runs:
        return f"There is no run {name!r}; there are {', '.join(run.run for run in snapshot.runs[:8])}."
    return snapshot.problem or "No run was found."


def _worker(view: WorkerView, verdict: WorkerVerdict, elapsed: float) -> dict[str, Any]:
    return {
        "worker": view.worker,
        "state": verdict.state,
        "reason": verdict.reason,
        "where": view.where or None,
        "process": view.process or None,
        "pid": view.pid,
        "node": view.node,
        "steps_per_second": _rounded(view.steps_per_second),
        "latency_seconds": {name: _rounded(view.latency_seconds.get(name)) for name in ("p50", "p95", "p99")},
        "last_progress_seconds_ago": _rounded(view.progress_age_seconds, elapsed),
        "restarts": sum(view.restarts.values()),
        "rss_bytes": None if _rounded(view.rss_bytes) is None else int(view.rss_bytes or 0),
        "policy_lag": _rounded(view.policy_lag),
        "failures_per_second": {name: _rounded(rate) for name, rate in view.failures.items()},
        "failures_total": _rounded(view.failures_total),
        "rollouts_total": _rounded(view.rollouts_total),
        "role": view.role,
        "phases": {name: _rounded(ratio) for name, ratio in view.phase_ratio.items()},
        "flow": _flow(view.flow),
    }


def _flow(view: FlowView) -> dict[str, Any]:
    """Return what is known of what flows: nothing where no language model is trained."""
    known: dict[str, Any] = {}
    for name, value in asdict(view).items():
        if isinstance(value, dict):
            known[name] = {key: _rounded(each) for key, each in value.items()}
        elif value is not None:
            known[name] = _rounded(value)
    return {name: value for name, value in known.items() if value != {}}


def _node(view: NodeView, elapsed: float) -> dict[str, Any]:
    silent = view.silent_seconds
    return {
        "address": view.address or None,
        "url": view.url,
        "silent_seconds": _rounded(silent, elapsed if silent else 0.0),
        "error": view.error,
        "listed": view.listed,
        "departure_reason": view.departure_reason or None,
        "workers": list(view.workers),
        "lost_workers": list(view.lost_workers),
        "driver": view.driver,
        "cpu_ratio": _rounded(view.cpu_ratio),
        "memory_used_bytes": _rounded(view.memory_used_bytes),
        "memory_total_bytes": _rounded(view.memory_total_bytes),
        "disk_free_bytes": _rounded(view.disk_free_bytes),
        "clock_offset_seconds": _rounded(view.clock_offset_seconds),
    }


def _rounded(value: float | None, elapsed: float = 0.0) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value + elapsed:.6g}")

"""Snapshots for tests of what is drawn: a healthy run of some workers, changed as a test wants."""

from dataclasses import replace

import numpy as np
from health_views import snapshot_of

from raymon.live.snapshot import RunHistory
from raymon.page import layout
from raymon.page.choice import Choice
from raymon.views import RunView, WorkerView

NOW = 1000.0
"""`time.monotonic()` at which the snapshots are taken."""


def worker_view(worker="0", **fields):
    """A healthy worker."""
    healthy = {
        "activity": "environment",
        "heartbeat_age_seconds": 0.5,
        "progress_age_seconds": 0.5,
        "stuck_seconds": 0.5,
        "lifecycle": "up",
        "seen_seconds": 100.0,
        "latency_seconds": {"p50": 0.1, "p95": 0.1, "p99": 0.1},
        "steps_per_second": 900.0,
        "phase_ratio": {"environment": 0.25},
        "rollouts_total": 1000.0,
    }
    return WorkerView(worker, **{**healthy, **fields})


def run_view(*workers, **fields):
    """A healthy run of some workers, two where none are given."""
    healthy = {
        "run": "r",
        "state": "training",
        "data_age_seconds": 0.5,
        "driver_heartbeat_age_seconds": 0.5,
        "exporter_age_seconds": 0.5,
        "report_seconds": 1.0,
        "steps_per_second": 1800.0,
        "started_seconds_ago": 100.0,
    }
    return RunView(workers=workers or (worker_view("0"), worker_view("1")), **{**healthy, **fields})


def history(samples=20, **values):
    """The history of a run that was sampled each second until now; values are `[samples]`."""
    times = 1e9 - np.arange(samples, dtype=float)[::-1]
    return RunHistory(times, {name: np.asarray(value, float) for name, value in values.items()})


def snapshot(*runs, histories=None, **fields):
    """A snapshot of some runs, one healthy run where none are given."""
    taken = snapshot_of(*(runs or [run_view()]), histories=histories, taken_at=1e9)
    return replace(taken, taken_monotonic=NOW, rounds=10, **fields)


def page_html(taken, elapsed=0.0, **choice):
    """The page as HTML, `elapsed` seconds after the snapshot was taken."""
    return str(layout.page(taken, Choice(**choice), now=NOW + elapsed))

"""The panel of one worker, drawn from numbers."""

from raymon.live.snapshot import snapshot_of
from raymon.page.choice import Choice
from raymon.page.context import context_of
from raymon.page.detail import detail
from raymon.views import RunView, WorkerView


def drawn(**worker):
    told = {
        "activity": "environment",
        "heartbeat_age_seconds": 0.5,
        "lifecycle": "up",
        "seen_seconds": 100.0,
        "latency_seconds": {"p99": 0.1},
        "phase_ratio": {"environment": 0.25},
        **worker,
    }
    view = RunView(
        "r",
        state="training",
        data_age_seconds=0.5,
        report_seconds=1.0,
        exporter_age_seconds=0.5,
        workers=(WorkerView("0", **told),),
    )
    return str(detail(context_of(snapshot_of([view]), Choice(worker="0"))))


def test_a_stalled_worker_spends_time_in_its_hanging_phase():
    stalled = drawn(stuck_seconds=60.0, progress_age_seconds=60.0)
    assert "environment<b>100 %</b>" in stalled
    assert "other" not in stalled.partition("Its time by phase")[2]


def test_unnamed_time_of_a_running_worker_is_other():
    running = drawn(stuck_seconds=0.5, progress_age_seconds=0.5)
    assert "environment<b>25 %</b>" in running
    assert "other<b>75 %</b>" in running

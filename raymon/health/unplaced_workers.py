"""Workers that Ray cannot place because the cluster lacks free resources."""

from collections.abc import Iterator
from typing import Final

from raymon.format import count, duration, listing
from raymon.health.thresholds import Thresholds
from raymon.health.verdicts import Finding, WorkerVerdict
from raymon.views import RunView

_MOST_RESOURCES: Final = 4
_SAME_MOMENT_SECONDS: Final = 15.0
"""The exports of a run and of Ray that show the same moment may lie so far apart."""
_LATE_SECONDS: Final = 30.0
_LATE_LEAST_SECONDS: Final = 4.0
"""Where a run has waited for its first workers for so long, a look of a few seconds suffices (`raymon top --once`)."""
_ADVICE: Final = "Add nodes, end other jobs, or ask for fewer workers{workers}."
_TOO_LARGE: Final = (
    "Ask for less for each worker (`num_cpus`, `num_gpus`, `memory`, `resources`) or group, or add larger nodes."
)


def unplaced_workers(run: RunView, workers: tuple[WorkerVerdict, ...], limits: Thresholds) -> Iterator[Finding]:
    """Yield at most one finding: the workers that wait for resources, and what is free.

    Ray's metrics say that something waits to be placed, not what. It counts for this run if the driver waits for
    workers at the same time. What waited before this run came is another run's: then its own workers have the time to
    report.
    """
    waited = run.unplaced_seconds or 0.0
    watched = waited if run.watched_seconds is None else run.watched_seconds
    others = waited > watched + _SAME_MOMENT_SECONDS
    names = [worker.worker for worker in workers if worker.state in ("restarting", "dead")]
    late = not names and (run.started_seconds_ago or 0.0) > _LATE_SECONDS
    least = min(limits.unplaced_seconds, _LATE_LEAST_SECONDS) if late else limits.unplaced_seconds
    if min(waited, watched) < (limits.startup_grace_seconds if others else least):
        return
    unseen = max(0, run.workers_by_state.get("expected", 0) - len(workers))
    if not names and not unseen:
        return
    if names:
        subject = f"Worker{'s' if len(names) > 1 else ''} {listing(names)} {'wait' if len(names) > 1 else 'waits'}"
    else:
        subject = f"{count(unseen)} worker{'s' if unseen > 1 else ''} {'wait' if unseen > 1 else 'waits'}"
    since_opened = run.watched_seconds is not None and waited > watched - 1.0
    age = f"{'at least ' if since_opened else ''}{duration(min(waited, watched))}"
    sentence = f"{subject} for resources: Ray has found no place for {age}{_free(run)}."
    advice = _ADVICE
    if run.free_resources and all(free >= total for free, total in run.free_resources.values()):
        sentence += " None of these is in use: a worker, or a placement group of several, needs more than there is."
        advice = _TOO_LARGE
    yield Finding("workers_unplaced", "warning", sentence, advice, names[0] if len(names) == 1 else "")


def _free(run: RunView) -> str:
    """Return what is free, the scarcest first."""
    scarcest = sorted(run.free_resources.items(), key=lambda item: (item[1][0] / (item[1][1] or 1.0), item[0]))
    texts = [f"{count(free)} of {count(total)} {name}" for name, (free, total) in scarcest[:_MOST_RESOURCES]]
    return f" (free: {', '.join(texts)})" if texts else ""

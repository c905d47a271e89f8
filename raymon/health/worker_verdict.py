"""The verdict on each worker: its lifecycle in the driver, then its signs of life, then its relative speed."""

from collections.abc import Iterable, Mapping, Set
from typing import Final, NamedTuple

from raymon.format import duration
from raymon.health.empty_rollouts import empty_reason, returns_nothing
from raymon.health.failing_rollouts import failing_reason, failures_per_second, has_succeeded, only_fails
from raymon.health.shares import node_of
from raymon.health.stragglers import Straggler, stragglers
from raymon.health.thresholds import THRESHOLDS, Thresholds
from raymon.health.verdicts import WorkerVerdict
from raymon.views import RunView, WorkerView

_NATIVE: Final = ("native", "native_busy")
_CAUSES: Final[Mapping[str, str]] = {
    "gone": "its process has ended, and the driver has not noticed it yet",
    "stopped": "its process is stopped (SIGSTOP, or a debugger)",
    "swapping": "its process waits for memory that was swapped out",
    "starved": "its process is starved of CPU: others take all of it",
}
RAY_DEFAULT_REPORT_SECONDS: Final = 10.0
_GAUGE_SECONDS: Final = 20.0
"""How long Ray exports the gauges of a process that has ended, at least."""
_EXPORTS: Final = 3.0


class WorkerState(NamedTuple):
    """A worker's state and the reason."""

    state: str
    reason: str


def judge_workers(
    run: RunView,
    limits: Thresholds = THRESHOLDS,
    slow_before: Set[str] = frozenset(),
    slow_lately: Set[str] = frozenset(),
    workers: Iterable[WorkerView] | None = None,
) -> tuple[WorkerVerdict, ...]:
    """Return a verdict for every worker of the run, or for some of them, in the order given.

    Workers that were slow before stay so until they are clearly below the limit, those that became so lately, and are
    not shown yet, while they are far above it.
    """
    slow = stragglers(run, limits, slow_before, slow_lately)
    judged = run.workers if workers is None else workers
    return tuple(WorkerVerdict(worker.worker, *_judge(worker, run, slow, limits)) for worker in judged)


def _judge(worker: WorkerView, run: RunView, slow: Mapping[str, Straggler], limits: Thresholds) -> WorkerState:
    return (
        _lifecycle(worker)
        or _ended(run)
        or _ended_idle(worker)
        or _never_succeeded(worker)
        or _heartbeat(worker, run, limits)
        or _failing(worker, limits)
        or _progress(worker, run, limits)
        or _first_rollout(worker)
        or _pace(worker, slow)
    )


def _lifecycle(worker: WorkerView) -> WorkerState | None:
    times = sum(worker.restarts.values())
    before = f" (replaced {times} times before)" if times else ""
    if worker.lifecycle == "given_up":
        return WorkerState("given_up", f"the driver gave up replacing it{before}")
    if worker.lifecycle == "restarting":
        return WorkerState("restarting", f"the driver lost it and is starting a replacement{before}")
    return None


def _ended(run: RunView) -> WorkerState | None:
    ended = run.ended or run.driver_process == "gone"
    return WorkerState("unknown", "the run has ended") if ended else None


def _ended_idle(worker: WorkerView) -> WorkerState | None:
    if not worker.ended_idle:
        return None
    return WorkerState("waiting", "silent since its last task: Ray ends idle processes of its pool")


def _never_succeeded(worker: WorkerView) -> WorkerState | None:
    """Return that a worker has only failed; with a constructor that raises, its process has ended too."""
    failed = worker.failures_total >= 1.0 and not has_succeeded(worker)
    return WorkerState("failing", failing_reason(worker)) if failed else None


def _heartbeat(worker: WorkerView, run: RunView, limits: Thresholds) -> WorkerState | None:
    beat = worker.heartbeat_age_seconds
    if beat is not None and _is_of_an_earlier_run(worker, run, beat):
        state = "starting" if (run.started_seconds_ago or 0.0) < limits.startup_grace_seconds else "unknown"
        return WorkerState(state, "it has not reported since the run started")
    if beat is None:
        if worker.lifecycle == "up" and min(worker.seen_seconds, run.watched_seconds or worker.seen_seconds) < (
            heartbeat_limit(run, limits)
        ):
            return WorkerState("unknown", "no heartbeat seen yet")
        if worker.lifecycle == "up":
            age = run.started_seconds_ago
            if age is not None and age < _start_seconds(run, limits):
                # Its counters may be of an earlier run of the same name.
                return WorkerState("starting", "it has not reported since the run started")
            return WorkerState("stalled", "no heartbeat since this view was opened, although the driver counts on it")
        return WorkerState("unknown", "only its counters are left, no heartbeat")
    node = node_of(worker, run)
    if node is not None and node.error and (node.silent_seconds or 0.0) > limits.node_silent_seconds / 2.0:
        return WorkerState("unknown", f"out of sight: its node has not answered for {duration(node.silent_seconds)}")
    newest = run.data_age_seconds or 0.0
    if newest > heartbeat_limit(run, limits):
        return WorkerState("unknown", f"no process of this run has reported for {duration(newest)}")
    exporter = worker.exporter_age_seconds or 0.0
    if exporter > max(limits.stale_seconds, heartbeat_limit(run, limits)):
        return WorkerState("unknown", f"its node's metrics have not changed for {duration(exporter)}")
    if exporter > limits.exporter_quiet_seconds + (run.report_seconds or 0.0):
        newest = max(newest, exporter)
    return _silence(worker, run, beat, beat - newest, limits)


def _start_seconds(run: RunView, limits: Thresholds) -> float:
    """Return how long after the start of a run a worker may not have reported; not so long once others have."""
    for worker in run.workers:
        beat = worker.heartbeat_age_seconds
        if beat is not None and has_succeeded(worker) and not _is_of_an_earlier_run(worker, run, beat):
            return min(limits.startup_grace_seconds, _GAUGE_SECONDS + _EXPORTS * (run.report_seconds or 0.0))
    return limits.startup_grace_seconds


def _is_of_an_earlier_run(worker: WorkerView, run: RunView, beat: float) -> bool:
    """Return whether a worker's last heartbeat is older than its run, which was started again under its name.

    A run that is starting has no moment of its start, and a loop without iterations never has. What was silent before
    a view was opened may be of an earlier run, for as long as a run may take to start.
    """
    age, watched = run.started_seconds_ago, run.watched_seconds or 0.0
    if worker.lifecycle != "up" or beat <= heartbeat_limit(run, THRESHOLDS):
        return False
    if age is not None:
        return age < beat
    unseen = watched < min(beat, THRESHOLDS.startup_grace_seconds)
    return run.state == "starting" and (worker.of_earlier_run or unseen)


def _silence(worker: WorkerView, run: RunView, beat: float, silence: float, limits: Thresholds) -> WorkerState | None:
    """Judge a worker without a heartbeat while others report: it is stopped, dead, starved or busy."""
    limit, native = silence_limit(worker, run, limits), is_native(worker, limits)
    if silence > limit:
        if worker.lifecycle is None and not worker.present and beat > limits.dead_seconds:
            return WorkerState("dead", f"no heartbeat for {duration(beat)}, and no driver counts on it")
        return WorkerState("stalled", f"no heartbeat for {duration(beat)}: {_silence_cause(worker, run, limits)}")
    if silence > limits.suspect_seconds + _report_seconds(run):
        if native:
            return WorkerState("suspect", f"{_native(worker)} for {duration(beat)}")
        cause = _CAUSES.get(worker.process)
        return WorkerState("suspect", f"no heartbeat for {duration(beat)}{f': {cause}' if cause else ''}")
    return None


def is_native(worker: WorkerView, limits: Thresholds = THRESHOLDS) -> bool:
    """Return whether native code keeps the interpreter: its stacks say so, or it used CPU during its last silence."""
    if worker.process in _CAUSES:
        return False
    return worker.process in _NATIVE or (worker.silence_cpu_ratio or 0.0) >= limits.native_cpu_ratio


def _native(worker: WorkerView) -> str:
    doing = "native code holds the GIL without using CPU" if worker.process == "native" else "busy in native code"
    return f"{doing}{f', in `{worker.where}`,' if worker.where else ''}"


def _silence_cause(worker: WorkerView, run: RunView, limits: Thresholds) -> str:
    if worker.process in _NATIVE:
        return _native(worker).rstrip(",")
    if cause := _CAUSES.get(worker.process):
        return cause
    if is_native(worker, limits):
        longest = duration(worker.survived_silence_seconds)
        return f"busy in native code, or stopped; its longest silence so far was {longest}"
    node = node_of(worker, run)
    if (
        node
        and node.memory_total_bytes
        and (node.memory_used_bytes or 0.0) > limits.node_memory_ratio * (node.memory_total_bytes)
    ):
        return "its node is out of memory and may be swapping"
    if node and (node.cpu_ratio or 0.0) > limits.node_cpu_ratio:
        return "its process is stopped or starved of CPU; its node's CPU is full"
    return "its process is stopped, or dead and not noticed yet, or native code holds the GIL"


def _failing(worker: WorkerView, limits: Thresholds) -> WorkerState | None:
    if only_fails(worker, limits):
        return WorkerState("failing", failing_reason(worker))
    return WorkerState("failing", empty_reason(worker)) if returns_nothing(worker, limits) else None


def _progress(worker: WorkerView, run: RunView, limits: Thresholds) -> WorkerState | None:
    if worker.activity == "waiting":
        return None
    age = worker.progress_age_seconds
    stuck = worker.stuck_seconds
    if worker.activity == "starting" or age is None:
        if stuck is not None and stuck > limits.startup_grace_seconds:
            if worker.activity == "starting" and not worker.where:  # no frame of the user's: it may wait for a call
                reason = f"no step or rollout has begun for {duration(stuck)}: nothing calls it, or it still starts"
                return WorkerState("suspect", reason)
            return WorkerState("stalled", f"alive, but it has not finished a first step for {duration(stuck)}")
        return WorkerState("starting", "it has not finished a first step yet")
    if stuck is None or failures_per_second(worker):  # a rollout that fails is a sign of life, and judged elsewhere
        return None
    still = stuck - (worker.heartbeat_age_seconds or 0.0)  # both as of its last flush: export and scrape cancel out
    if still > progress_limit(worker, run, limits):
        phase = f" in phase {worker.activity}" if worker.activity else ""
        if worker.where:
            verb = "has been busy" if worker.process == "busy" else "hangs"
            return WorkerState("stalled", f"it {verb} in `{worker.where}`, for {duration(stuck)}")
        return WorkerState("stalled", f"alive, but stuck{phase}: no step, episode or rollout for {duration(stuck)}")
    usual = usual_pause(worker, run)
    if (
        usual is not None
        and still > max(limits.suspect_seconds, limits.suspect_factor * usual) + _report_seconds(run) - 1.0
    ):
        place = f", in `{worker.where}`" if worker.where else ""
        reason = f"no step for {duration(stuck)}{place}, its longest pause was {duration(usual)}"
        return WorkerState("suspect", reason)
    return None


def _first_rollout(worker: WorkerView) -> WorkerState | None:
    """Return that nothing has succeeded yet; such a worker does not count as running."""
    if worker.rollouts_total == 0.0 and not has_succeeded(worker):
        return WorkerState("starting", "it has not finished a first rollout yet")
    return None


def _pace(worker: WorkerView, slow: Mapping[str, Straggler]) -> WorkerState:
    if worker.worker in slow:
        return WorkerState("slow", slow[worker.worker].reason)
    if worker.activity == "waiting":
        return WorkerState("waiting", "it waits for its next call")
    return WorkerState("running", f"in phase {worker.activity}" if worker.activity else "it reports progress")


def heartbeat_limit(run: RunView, limits: Thresholds = THRESHOLDS) -> float:
    """Return the silence, in seconds, beyond which a process of the run is stopped or dead.

    Until two heartbeats have shown the interval of Ray's exports, Ray's default is assumed.
    """
    return max(limits.heartbeat_stalled_seconds, limits.heartbeat_report_factor * _report_seconds(run) + 3.0)


def _report_seconds(run: RunView) -> float:
    return run.report_seconds if run.report_seconds is not None else RAY_DEFAULT_REPORT_SECONDS


def silence_limit(worker: WorkerView, run: RunView, limits: Thresholds = THRESHOLDS) -> float:
    """Return the silence beyond which one worker is stopped or dead although others report.

    Shorter where no silence was seen in a while; longer where it survived long ones in native code.
    """
    limit, survived = heartbeat_limit(run, limits), run.long_silence_seconds or 0.0
    if worker.process == "stopped":  # seen, not guessed from the silence
        return min(limit, limits.heartbeat_least_seconds + _report_seconds(run))
    if worker.process in _NATIVE:
        least = limits.native_busy_seconds if worker.process == "native_busy" else limits.native_idle_seconds
        limit = max(limit, least, limits.progress_latency_factor * (worker.survived_silence_seconds or 0.0))
    elif is_native(worker, limits):
        limit = max(limit, limits.progress_latency_factor * (worker.survived_silence_seconds or 0.0))
    elif (run.watched_seconds or 0.0) > limits.learned_seconds and _report_seconds(run) < 2.0:
        limit = min(limit, limits.heartbeat_least_seconds)
    return max(limit, limits.progress_latency_factor * survived)


def usual_pause(worker: WorkerView, run: RunView) -> float | None:
    """Return the longest pause of the worker that is normal, in seconds; None while nothing shows it.

    Its rollouts show it, or its steps where they are counted as they are taken; and pauses that the workers of the
    run survived, at least twice: all do the same work.
    """
    rollout = worker.latency_seconds.get("p99") or worker.mean_rollout_seconds  # the mean counts the running one too
    known = [seconds for seconds in (rollout, worker.longest_pause_seconds) if seconds]
    if not known and worker.role != "env" and worker.survived_pause_seconds:
        known = [worker.survived_pause_seconds]  # it records phases, but no rollouts
    if not known:
        return None
    return max(min(known), run.long_pause_seconds or 0.0)


def progress_limit(worker: WorkerView, run: RunView, limits: Thresholds = THRESHOLDS) -> float:
    """Return the seconds without progress beyond which a worker that says it samples is stalled."""
    usual = usual_pause(worker, run)
    if usual is None:  # its first rollout: nothing shows yet how long one takes
        return limits.startup_grace_seconds
    least = limits.progress_stalled_seconds
    if (run.watched_seconds or 0.0) > limits.learned_seconds:
        soonest = limits.progress_least_seconds + 2.0 * max(0.0, _report_seconds(run) - 1.0)
        least = min(least, max(soonest, 2.0 * limits.progress_latency_factor * usual))
    return max(least, _longest_pause(worker, run, usual, limits))


def _longest_pause(worker: WorkerView, run: RunView, usual: float, limits: Thresholds) -> float:
    """Return the longest pause, in seconds, that fits what was seen of the worker; of few rollouts, what all show."""
    alone = _tail_factor(worker, limits) * usual
    if not _has_few_rollouts(worker, limits):
        return alone
    peers = [peer for peer in run.workers if peer.role == worker.role and peer.latency_seconds.get("p99")]
    if sum(peer.rollouts_total or 0.0 for peer in peers) < limits.few_rollouts_count:
        return alone
    longest = max(peer.latency_seconds["p99"] for peer in peers)
    shortest = min(peer.latency_seconds.get("p50") or longest for peer in peers)
    return min(alone, _spread_factor(shortest, longest, limits) * max(longest, usual))


def _has_few_rollouts(worker: WorkerView, limits: Thresholds) -> bool:
    return worker.longest_pause_seconds is None and 0.0 < (worker.rollouts_total or 0.0) < limits.few_rollouts_count


def _tail_factor(worker: WorkerView, limits: Thresholds) -> float:
    """Return how many times its longest pause a worker may pause: more where rollouts differ in length, or are few."""
    p50, p99 = worker.latency_seconds.get("p50"), worker.latency_seconds.get("p99")
    if _has_few_rollouts(worker, limits):
        return 2.0 * limits.progress_latency_factor
    if not p50 or not p99 or (worker.longest_pause_seconds or p99) < p99:
        return limits.progress_latency_factor
    return _spread_factor(p50, p99, limits)


def _spread_factor(p50: float, p99: float, limits: Thresholds) -> float:
    return max(limits.progress_latency_factor, min(limits.longest_tail_factor, p99 / p50))

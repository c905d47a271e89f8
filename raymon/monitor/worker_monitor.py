"""`Monitor`: recording in a process that samples. It only adds numbers; the flush thread talks to Ray."""

import math
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from raymon import catalog
from raymon.monitor import identity
from raymon.monitor.accumulator import RefusedError, amount, finite
from raymon.monitor.error_details import describe_failure
from raymon.monitor.failure_classes import IN_CONSTRUCTOR, FailureClasses, is_failure
from raymon.monitor.flusher import flusher
from raymon.monitor.latency import SlidingQuantiles
from raymon.monitor.phase import Entry, SpanContext
from raymon.monitor.recorder import NANOSECOND, recording
from raymon.monitor.timed import TimedRecorder
from raymon.monitor.wall_time import Span

WINDOW_SECONDS: Final = 60.0
LAST_EPISODES: Final = 100
_FAILURE_SECONDS: Final = 1.0
"""Shortest time between two failed rollouts whose frames are kept: formatting them takes about 50 µs."""
_ACTIVITIES: Final = dict.fromkeys(catalog.ACTIVITIES)
_ROLLOUT: Final = "rollout"
"""The span of a rollout itself: its time outside phases is overhead and counts in no phase."""


class Monitor(TimedRecorder):
    """Records what one sampling process does, at well under a microsecond per step.

    Example:
        >>> import raymon
        >>> monitor = raymon.Monitor(worker=0, run="example")
        >>> with monitor.rollout():
        ...     with monitor.phase("inference"):
        ...         action = 1
        ...     with monitor.phase("environment"):
        ...         monitor.steps(1)
        >>> monitor.close()

    Recording never raises and never blocks; what cannot be recorded is dropped and counted. Until Ray is initialized,
    everything is kept. Several threads or asyncio tasks may use one monitor.

    Args:
        worker: The worker's number, from 0; by default `RAYMON_WORKER`, else the lowest free number of the run, kept
            over restarts of the actor.
        run: The run's name; by default `RAYMON_RUN`, else the run of the driver's monitor (awaited for 2 s without
            blocking), else the Ray job.
        enabled: False makes every method a no-op.
        role: The process's role, one of `catalog.ROLES`; workers are compared with those of their role.

    Raises:
        ValueError: For a worker or run that cannot be a label, or an unknown role.
    """

    PHASES = (*catalog.WORKER_PHASES, *catalog.LANGUAGE_PHASES)
    PHASE_METRIC = catalog.WORKER_PHASE

    def __init__(
        self, worker: int | None = None, run: str | None = None, enabled: bool = True, role: str = "env"
    ) -> None:
        arguments = (worker, run, enabled, role)
        super().__init__(self._named(run), identity.checked_worker(worker), enabled, arguments, role)
        self._steps = self._cell(catalog.ENV_STEPS)
        self._rollouts = self._cell(catalog.ROLLOUTS)
        self._rollout_time = self._cell(catalog.ROLLOUT_SECONDS, NANOSECOND)
        self._episodes = self._cell(catalog.EPISODES)
        self._open: dict[Span, tuple[int, int]] = {}
        self._failures = FailureClasses()
        self._failure: dict[str, Any] | None = None
        self._latency = SlidingQuantiles(WINDOW_SECONDS)
        self._returns: deque[float] = deque(maxlen=LAST_EPISODES)
        self._activity: str | None = "starting"
        self._activities = dict.fromkeys(each for each in catalog.ACTIVITIES if each not in catalog.LANGUAGE_PHASES)
        self._done: tuple[object, ...] = ()
        self._progress = time.time()
        self.introduce()
        self._serve()

    def steps(self, n: int = 1) -> None:
        """Count environment steps; `steps(0)` counts a rollout that returned nothing."""
        if n.__class__ is int and n > 0 and self.enabled:
            with self.accumulator.lock:
                self._steps.total += n
        else:
            self._checked_steps(n)

    @recording
    def _checked_steps(self, n: float) -> None:
        more = amount(n)
        if not more:
            self.count(catalog.EMPTY_ROLLOUTS)
        with self.accumulator.lock:
            self._steps.total += more

    @recording
    def episode(self, return_: float, length: float = 0) -> None:
        """Count an episode that ended.

        Args:
            return_: Its undiscounted return.
            length: Its steps; checked here, exported only by the driver (`DriverMonitor.episodes`).
        """
        finite(length)
        value = finite(return_)
        with self.accumulator.lock:
            self._episodes.total += 1
            self._returns.append(value)

    @recording
    def episodes(self, returns: Iterable[float]) -> None:
        """Count episodes that ended, by their undiscounted returns; cheaper than `episode` for each."""
        returns = list(returns)
        try:
            values = [float(value) for value in returns]
            sound = all(map(math.isfinite, values))
        except (TypeError, ValueError, OverflowError, RuntimeError):
            sound = False
        if not sound:  # the finite ones count all the same
            for value in returns:
                self.episode(value)
            return
        with self.accumulator.lock:
            self._episodes.total += len(values)
            self._returns.extend(values)

    def rollout(self, phase: str | None = None) -> "Rollout":
        """Time one rollout; between rollouts the worker counts as waiting.

        A rollout inside another of the same thread or task is part of that one. A rollout that raises counts as failed,
        by the class of its exception; a cancelled or interrupted one is not counted.

        Args:
            phase: The phase of its time outside inner phases, one of `PHASES`; None counts that time nowhere.
        """
        return Rollout(self, phase)

    def activity(self, activity: str) -> None:
        """Set the worker's activity, one of `catalog.ACTIVITIES`, until the next rollout or phase begins or ends."""
        if activity.__class__ is str and activity in _ACTIVITIES:
            self._activity = activity
        else:
            self._checked_activity(activity)

    @recording
    def _checked_activity(self, activity: str) -> None:
        if activity not in catalog.ACTIVITIES:
            raise RefusedError(f"found activity {activity!r}, expected one of {catalog.ACTIVITIES}")
        self._activity = str(activity)

    @recording
    def policy_version(self, version: int) -> None:
        """Set the version of the sampling policy, which is the number of its updates."""
        self.accumulator.set(catalog.POLICY_VERSION, {}, version)

    def elapsed(self) -> float:
        """Return the seconds since the oldest running rollout began; 0 without one."""
        with self.accumulator.lock:
            began = min((began for began, _ in self._open.values()), default=None)
            return 0.0 if began is None else (self._wall_time.settle() - began) * NANOSECOND

    @recording
    def construction_failed(self, error: BaseException) -> None:
        """Count an exception of the worker's constructor as a failed rollout and export it: the process ends next."""
        if is_failure(type(error)):
            self._count_failure(error, IN_CONSTRUCTOR)
            self._flush(settle=True)

    def progress_mark(self) -> object:
        """Return a value that changes with every step, rollout, episode and phase."""
        return self._steps.total, self._rollouts.total, self._episodes.total, self._wall_time.entered_at()

    def troubles(self) -> dict[str, Any]:
        """Return the last failed rollout; empty if none failed."""
        return {} if self._failure is None else {"failure": self._failure}

    def renew_after_fork(self) -> None:
        """In a forked child: leave the parent's counts and times to the parent."""
        super().renew_after_fork()
        self._open.clear()

    def _named(self, run: str | None) -> str | None:
        """Return the run's name if it is known from the start."""
        return identity.checked_run(run)

    def _enter_phase(self, phase: str) -> Span:
        self._activity = None
        if phase not in self._phase_cells:
            self._export_phase(phase)
        return self._wall_time.enter(phase)  # not through `super()`: it costs 5 % of a phase

    def _leave_phase(self, span: Span) -> None:
        self._activity = None
        self._wall_time.leave(span)

    def _begin_rollout(self, phase: str | None) -> Entry:
        if phase is not None and phase not in self.PHASES:
            raise RefusedError(f"found phase {phase!r}, expected one of {self.PHASES}")
        self._activity = None
        around = self._wall_time.innermost() if self._open else None
        while around is not None:
            if around in self._open:
                return (around, False) if phase is None else (self._wall_time.enter(phase), True)
            around = around.parent
        if not flusher.running:
            flusher.ensure_running()
        if phase is not None and phase not in self._phase_cells:
            self._export_phase(phase)
        with self.accumulator.lock:
            span = self._wall_time.enter(_ROLLOUT) if phase is None else self._wall_time.enter(phase, _ROLLOUT)
            self._open[span] = (span.began, span.began)
        return span, True

    def _end_rollout(self, span: Span, error: BaseException | None) -> None:
        self._activity = None
        with self.accumulator.lock:
            now = self._wall_time.leave(span)
            if span not in self._open:  # a phase of another rollout, or begun before a fork
                return
            began, credited = self._open.pop(span)
            self._rollout_time.total += now - credited
            if error is None:
                self._rollouts.total += 1
                if self._rollouts.total == 2:  # the first one paid for imports and caches: it shows no usual duration
                    self._latency = SlidingQuantiles(WINDOW_SECONDS)
                self._latency.add((now - began) * NANOSECOND, now * NANOSECOND)
            if not self._open:
                self._wall_time.idle("waiting")
        if error is not None:
            self._rollout_failed(error)

    def _rollout_failed(self, error: BaseException) -> None:
        """Count a rollout that ended with an exception, unless that ended it on purpose."""
        if is_failure(type(error)):
            self._count_failure(error)

    @recording
    def _count_failure(self, error: BaseException, where: str = "") -> None:
        self.count(catalog.ROLLOUT_FAILURES, exception=self._failures.label(type(error), where))
        if self._failure is None or time.time() - self._failure["at"] > _FAILURE_SECONDS:
            self._failure = describe_failure(error)

    def _generated(self) -> float:
        """Return the nanoseconds spent in the phase `generate` or, where that is not used, in rollouts."""
        generated, now = super()._generated(), self._wall_time.settle()
        running = sum(now - credited for _, credited in self._open.values())
        return generated or self._rollout_time.total + running

    def _collect(self) -> None:
        super()._collect()
        now = self._wall_time.settle()
        for span, (began, credited) in self._open.items():
            self._rollout_time.total += now - credited
            self._open[span] = (began, now)
        self._collect_progress()
        self._collect_activity()
        if self._returns:
            self.accumulator.set(catalog.EPISODE_RETURN, {}, sum(self._returns) / len(self._returns))
        latencies = self._latency.quantiles(catalog.QUANTILES, now * NANOSECOND)
        for quantile, seconds in zip(catalog.QUANTILES, latencies, strict=False):
            self.accumulator.set(catalog.ROLLOUT_LATENCY, {"quantile": quantile}, seconds)

    def _collect_progress(self) -> None:
        entered = self._wall_time.entered_at() if self.role != "env" else None
        done = (self._steps.total, self._rollouts.total, self._episodes.total, self._responses_counted, entered)
        if done != self._done:
            self._done, self._progress = done, time.time()
        self.accumulator.set(catalog.PROGRESS, {}, self._progress)

    def _collect_activity(self) -> None:
        passing = self._activity or self._wall_time.passing() or "waiting"
        doing = "environment" if passing == _ROLLOUT else passing
        self._activities[doing] = None
        for activity in self._activities:
            self.accumulator.set(catalog.ACTIVITY, {"activity": activity}, float(activity == doing))


class Rollout(SpanContext[Monitor]):
    """The context manager of `Monitor.rollout`."""

    __slots__ = ("_phase",)
    WHAT = "rollout"

    def __init__(self, monitor: Monitor, phase: str | None) -> None:
        self._monitor = monitor
        self._entries = []
        self._phase = phase

    def _enter(self) -> Entry:
        return self._monitor._begin_rollout(self._phase)

    def _leave(self, span: Span, error: BaseException | None) -> None:
        self._monitor._end_rollout(span, error)

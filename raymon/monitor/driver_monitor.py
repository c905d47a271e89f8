"""`DriverMonitor`: recording in the process that trains: iterations, workers, learning, the state of the run."""

import math
import os
import time
from collections import deque
from typing import Any, Final

from raymon import catalog, ray_internals
from raymon.catalog import Metric
from raymon.monitor import identity
from raymon.monitor.accumulator import LONGEST_LABEL, RefusedError, amount
from raymon.monitor.driver_samples import SampleRecorder
from raymon.monitor.error_details import MOST_LOSSES, describe_loss
from raymon.monitor.flusher import flusher
from raymon.monitor.iterations import Durations, Iteration
from raymon.monitor.object_refs import HeldRefs
from raymon.monitor.phase import Entry
from raymon.monitor.reasons import loss_reason
from raymon.monitor.recorder import NANOSECOND, complain, recording
from raymon.monitor.uncaught import note_uncaught
from raymon.monitor.wall_time import Span

_EXPORT_MARGIN_SECONDS: Final = 0.5
_OTHER: Final = "other"

_UPDATE_GAUGES: Final[dict[str, tuple[Metric, dict[str, object]]]] = {
    "policy_loss": (catalog.LOSS, {"term": "policy"}),
    "value_loss": (catalog.LOSS, {"term": "value"}),
    "entropy_loss": (catalog.LOSS, {"term": "entropy"}),
    "loss": (catalog.LOSS, {"term": "total"}),
    "kl": (catalog.KL, {}),
    "entropy": (catalog.ENTROPY, {}),
    "clip_ratio": (catalog.CLIP_RATIO, {}),
    "explained_variance": (catalog.EXPLAINED_VARIANCE, {}),
    "gradient_norm": (catalog.GRADIENT_NORM, {}),
    "learning_rate": (catalog.LEARNING_RATE, {}),
}
_DIVERGING: Final = ("policy_loss", "value_loss", "entropy_loss", "loss", "gradient_norm")
_START_AT_ZERO: Final = (
    catalog.UPDATES,
    catalog.NONFINITE_UPDATES,
    catalog.ACTOR_CALLS,
    catalog.FRAGMENTS,
    catalog.FRAGMENT_STEPS,
    catalog.FRAGMENTS_DROPPED,
    catalog.WORKER_LOSSES,
    catalog.PUT_BYTES,
)
"""Counters with all series exported from the start, so that `increase()` sees the first event."""


def _label(value: object) -> str:
    """Return a text that can be a label: the name of a class, cut if it is too long."""
    text = (value.__name__ if isinstance(value, type) else str(value)) or "none"
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 3] + "..."


class DriverMonitor(SampleRecorder):
    """Records what the driving process does.

    Example:
        >>> import raymon
        >>> driver = raymon.DriverMonitor("example", workers=2)
        >>> with driver.iteration():
        ...     with driver.phase("sample"):
        ...         driver.received(0, seconds=0.1, env_steps=128, nbytes=4096)
        ...     with driver.phase("learn"):
        ...         driver.trained(1, env_steps=128)
        ...     driver.update(loss=0.5, kl=0.01)
        >>> driver.close()

    The phases of an iteration sum to its wall time exactly; time in no phase is `other`. Recording never raises and
    never blocks; what cannot be recorded is dropped and counted.

    Args:
        run: The run's name, also for workers that do not name a run; by default `RAYMON_RUN`, else the Ray job.
        engine: The trainer in one word. For `own` (raymon's trainer), `rllib`, `verl`, `openrlhf`, `skyrl`, `nemo_rl`
            and `slime`, advice names the trainer's options.
        algorithm: Its name on the dashboard.
        sampler: The way of sampling, in one word.
        environment: The environment's id. These texts are cut after 64 characters.
        workers: Number of workers that are expected to sample.
        enabled: False makes every method a no-op.

    Raises:
        ValueError: The run cannot be a label, or the number of workers is below 0.
    """

    PHASES = (*catalog.DRIVER_PHASES, *catalog.LANGUAGE_PHASES)
    PHASE_METRIC = catalog.PHASE_SECONDS

    def __init__(
        self,
        run: str | None = None,
        engine: str = "custom",
        algorithm: str = "PPO",
        sampler: str = "",
        environment: str = "",
        workers: int = 0,
        enabled: bool = True,
    ) -> None:
        if workers < 0:
            raise ValueError(f"workers: found {workers}, expected the number of workers, 0 or more")
        made_with = (run, engine, algorithm, sampler, environment, workers, enabled)
        super().__init__(identity.checked_run(run), catalog.DRIVER, enabled, made_with, workers)
        for metric in _START_AT_ZERO:
            for label in metric.labels or ("",):
                for value in metric.values.get(label, ("",)):
                    self.accumulator.cell(metric, {label: value} if label else {})
        self._refs = HeldRefs()
        self._iterations = Durations()
        self._iterating: set[Span] = set()
        self._published_in: object = self  # no connection to Ray yet
        self._losses: deque[dict[str, Any]] = deque(maxlen=MOST_LOSSES)
        self._claim = os.urandom(8).hex()
        self._began = False
        self._iterates = False
        self._state = "starting"
        info = {"engine": engine, "algorithm": algorithm, "sampler": sampler, "environment": environment}
        self._start({label: _label(value) for label, value in info.items()})
        self._serve()
        note_uncaught(self)

    def _start(self, info: dict[str, str]) -> None:
        self.set(catalog.RUN_INFO, 1.0, **info)
        self.set(catalog.TARGET_STEPS, 0.0)
        self.set(catalog.TRAINED_STEPS, 0.0)
        self.state("starting")
        self.introduce()

    def iteration(self) -> Iteration:
        """Time one iteration of collecting and learning; if it does not raise, it counts as an update of the policy.

        An iteration inside another of the same thread or task is part of that one.
        """
        return Iteration(self)

    @recording
    def update(self, nonfinite: bool = False, **terms: float | None) -> None:
        """Set the statistics of the last update of the policy; any subset of the terms.

        In a loop without `iteration`, each call counts as an update.

        Args:
            nonfinite: Whether the loss or gradient was not finite; also detected from the terms.
            **terms: `policy_loss`, `value_loss`, `entropy_loss`, `loss`, `kl`, `entropy` (nats), `clip_ratio`,
                `explained_variance`, `gradient_norm`, `learning_rate`.
        """
        if not self._iterates:
            self._updated()
        diverged = nonfinite
        for name, value in terms.items():
            if name not in _UPDATE_GAUGES:
                self.drop("update", RefusedError(f"found term {name!r}, expected one of {tuple(_UPDATE_GAUGES)}"))
            elif value is not None and math.isfinite(value):
                self.accumulator.set(*_UPDATE_GAUGES[name], value)
            elif value is not None and name in _DIVERGING:
                diverged = True
        if diverged:
            self.count(catalog.NONFINITE_UPDATES)

    @recording
    def hold(self, ref: object, nbytes: float = 0) -> None:
        """Register an object reference that the driver keeps, with its size; the monitor does not keep it alive."""
        if not self._refs.hold(ref, amount(nbytes)):
            raise RefusedError("too many references held to keep track of")

    @recording
    def release(self, ref: object) -> None:
        """Register that the driver releases a reference; others are noticed through Ray's reference count."""
        self._refs.release(ref)

    @recording
    def worker_up(self, worker: int | str) -> None:
        """Register that a worker answers."""
        self._fleet.put(str(worker), "up")

    @recording
    def worker_lost(self, worker: int | str, reason: str | BaseException) -> None:
        """Count a worker that was lost: one of `catalog.LOSS_REASONS`, or the exception that `ray.get` raised."""
        self._losses.append(describe_loss(str(worker), reason))
        reason = loss_reason(reason)
        self._fleet.put(str(worker), "restarting")
        self.count(catalog.WORKER_LOSSES, reason=reason)
        self._cell(catalog.WORKER_RESTARTS, worker=worker, reason=reason)  # exported as 0 before the restart counts

    @recording
    def worker_restarted(self, worker: int | str, reason: str | BaseException) -> None:
        """Count a worker that was replaced and is up again; `reason` says why it was lost."""
        self.count(catalog.WORKER_RESTARTS, worker=worker, reason=loss_reason(reason))
        self._fleet.put(str(worker), "up")

    @recording
    def worker_given_up(self, worker: int | str) -> None:
        """Register that a worker is no longer restarted."""
        self._fleet.put(str(worker), "given_up")

    @recording
    def state(self, state: str) -> None:
        """Set the state of the run, one of `catalog.RUN_STATES`.

        `training` starts the clock of the run, once; the first iteration sets it too.
        """
        if state not in catalog.RUN_STATES:
            raise RefusedError(f"found state {state!r}, expected one of {catalog.RUN_STATES}")
        if state == "training" and not self._began:
            self._began = True
            self.accumulator.set(catalog.RUN_START, {}, time.time())
        self._state = state
        flusher.note_state(state)
        for each in catalog.RUN_STATES:
            self.accumulator.set(catalog.RUN_STATE, {"state": each}, float(each == state))

    def end_with(self, state: str) -> None:
        """Set the state in which an exception ends the run, unless the run has ended already."""
        if self._state not in ("finished", "stopped", "failed"):
            self.state(state)

    def close(self, wait: bool = False) -> None:
        """Flush and stop recording; the gauges vanish from the exporter within half a minute.

        Args:
            wait: Return only after Ray has exported the last state, which takes one report interval (1 s in a Ray that
                raymon started, else 10 s). Use it before `ray.shutdown()`.
        """
        connected = self.enabled and self._connected()
        super().close()
        if not connected:
            return
        try:
            identity.release_driver(str(self._run), self._claim)
        except Exception as error:  # noqa: BLE001  # Ray may go down meanwhile
            complain("the end of the run", error)
        if wait:
            time.sleep(ray_internals.report_seconds() + _EXPORT_MARGIN_SECONDS)

    def progress_mark(self) -> object:
        """Return a value that changes with every phase, iteration and fragment; None before the first."""
        counted = [self._cell(catalog.UPDATES).total]
        counted += [self._cell(catalog.FRAGMENTS, outcome=outcome).total for outcome in ("received", "trained")]
        entered = self._wall_time.entered_at()
        return None if entered is None and not any(counted) else (entered, *counted)

    def troubles(self) -> dict[str, Any]:
        """Return the workers lost last; empty if none were."""
        return {"losses": list(self._losses)} if self._losses else {}

    def _identify(self, settle: bool) -> bool:  # noqa: ARG002  # a driver names the run itself
        known = super()._identify(settle=True)
        connection = ray_internals.connection()
        if connection != self._published_in and self._run is not None:
            identity.publish_run(self._run)
            identity.claim_driver(self._run, self._claim)
            self._published_in = connection
        return known

    def _look_again(self) -> None:
        super()._look_again()
        describing = identity.describing_driver(str(self._run))
        self._describes_run = describing in (None, self._claim)
        if not self._describes_run:
            identity.log_once(
                f"raymon: a newer DriverMonitor describes the run {self._run!r}, this one only adds to its counters; "
                "if they are different runs, such as trials of Tune, give each its own name"
            )

    def _adopt(self, run: str) -> None:
        super()._adopt(run)
        identity.claim_driver(run, self._claim)

    def _updated(self) -> None:
        if self._state == "starting":
            self.state("training")
        self.count(catalog.UPDATES)
        self.accumulator.set(catalog.LAST_UPDATE, {}, time.time())

    def _begin_iteration(self) -> Entry:
        self._iterates = True
        if self._state == "starting":
            self.state("training")
        around = self._wall_time.innermost()
        while around is not None:
            if around in self._iterating:
                return around, False
            around = around.parent
        with self.accumulator.lock:
            span = self._wall_time.enter(_OTHER)
            self._iterating.add(span)
            self._iterations.begin(self._wall_time.settle() * NANOSECOND)
        return span, True

    def _end_iteration(self, span: Span, finished: bool) -> None:
        with self.accumulator.lock:
            self._wall_time.leave(span)
            self._iterating.discard(span)
            self._iterations.end(self._wall_time.settle() * NANOSECOND, finished)
        if finished:
            self._updated()

    def _collect(self) -> None:
        super()._collect()
        seconds = self._iterations.mean(self._wall_time.settle() * NANOSECOND)
        if seconds:
            self.accumulator.set(catalog.ITERATION_SECONDS, {}, seconds)
        held = self._refs.summary()
        self.accumulator.set(catalog.REFS_HELD, {}, held.number)
        self.accumulator.set(catalog.REFS_HELD_BYTES, {}, held.nbytes)
        self.accumulator.set(catalog.REFS_OLDEST, {}, held.oldest)
        self._collect_fleet()

    def _collect_fleet(self) -> None:
        for state, number in self._fleet.counts().items():
            self.accumulator.set(catalog.WORKERS, {"state": state}, number)
        for worker, state, value in self._fleet.trouble():
            self.accumulator.set(catalog.WORKER_TROUBLE, {"worker": worker, "state": state}, value)

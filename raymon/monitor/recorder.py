"""The base of both monitors: identity, the user's own metrics, export at each flush, and never raising."""

import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, ParamSpec

from raymon import catalog, ray_internals
from raymon.catalog import Metric
from raymon.monitor import export, identity, resource_usage
from raymon.monitor.accumulator import Accumulator, Cell, Key, amount
from raymon.monitor.capture import PhaseNotes
from raymon.monitor.flusher import flusher

P = ParamSpec("P")
NANOSECOND: Final = 1e-9
LOOK_SECONDS: Final = 2.0
"""How often a process with a provisional name looks for the run's, and a driver whether a newer one took over."""
_WAIT_SECONDS: Final = 0.02
"""Less than this between two flushes is the usual jitter of a scheduler."""
_logger: Final = logging.getLogger("raymon")
_complained: Final = threading.Event()


def complain(what: str, error: BaseException) -> None:
    """Log the first failure of the process; later ones are only counted."""
    if not _complained.is_set():
        _complained.set()
        _logger.warning(
            "raymon could not record something (%s: %s); training goes on, drops are counted in %s",
            what,
            error,
            catalog.RECORDING_DROPPED.name,
        )


def recording(method: Callable[P, None]) -> Callable[P, None]:
    """Make a method do nothing while recording is off, and never raise."""

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        recorder: Any = args[0]
        if recorder.enabled:
            try:
                method(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  # recording never breaks training
                recorder.drop(method.__name__, error)

    return guarded


class Recorder:
    """Identity and accumulator of one monitor, exported by the process's flush thread.

    Args:
        run: The run's name; None takes `RAYMON_RUN`, else the name of the job's driver monitor, else the Ray job.
        worker: The value of the label `worker`; None to have a number assigned.
        enabled: False makes every method a no-op.
    """

    # Python looks attributes up faster in instances of at most 30: with these, the monitors would have more.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_assigned",
        "_cpu",
        "_cpu_wait",
        "_describes_run",
        "_dropped",
        "_flushing",
        "_known",
        "_next_look",
        "_provisional",
        "_recording",
        "_run",
        "_tags",
        "_waited",
        "_waiting_since",
        "_worker",
        "accumulator",
        "enabled",
    )
    _closed = True  # until the constructor is through: a refused argument leaves nothing to flush
    _patience_seconds = 2.0
    """How long to wait for a driver's monitor to name the run before exporting under a provisional name."""

    def __init__(self, run: str | None, worker: str | None, enabled: bool) -> None:
        self.enabled = enabled
        self.accumulator = Accumulator()
        self._run = run
        self._worker = worker
        self._closed = False
        self._known = False
        self._waiting_since: float | None = None
        self._provisional = False
        self._assigned = worker is None
        self._next_look = 0.0
        self._describes_run = True
        self._flushing = threading.RLock()
        self._tags: dict[Key, dict[str, str]] = {}
        self._cpu = self._cell(catalog.CPU_SECONDS)
        self._cpu_wait: Cell | None = None
        self._waited = resource_usage.cpu_wait_seconds()
        self._recording = self._cell(catalog.RECORDING_SECONDS)
        self._dropped = self._cell(catalog.RECORDING_DROPPED)

    def _serve(self) -> None:
        """Have the flush thread export this recorder; called last in a constructor."""
        if self.enabled:
            flusher.add(self)

    @property
    def run(self) -> str | None:
        """The run's name; None for up to 2 s after Ray is up, while a driver's monitor may still name it."""
        return self._run

    @property
    def worker(self) -> str | None:
        """The label `worker`; None until one is assigned."""
        return self._worker

    @recording
    def count(self, metric: Metric, n: float = 1, **labels: object) -> None:
        """Add to your own counter, declared as `raymon.Metric(..., "counter", ...)`."""
        cell, more = self.accumulator.cell(metric, labels), amount(n)
        with self.accumulator.lock:
            cell.total += more

    @recording
    def set(self, metric: Metric, value: float, **labels: object) -> None:
        """Set your own gauge; it keeps this value until it is set again."""
        self.accumulator.set(metric, labels, value)

    @recording
    def observe(self, metric: Metric, value: float, **labels: object) -> None:
        """Observe a value in your own histogram, about once per rollout rather than once per step."""
        self.accumulator.observe(metric, labels, value)

    @recording
    def flush(self) -> None:
        """Export everything recorded so far; do nothing while Ray is not initialized."""
        self._flush(settle=True)

    @recording
    def beat(self) -> None:
        """Flush as the thread does each second: not while a driver's monitor may still name the run."""
        self._flush(settle=False)

    @recording
    def introduce(self) -> None:
        """Resolve run and worker once Ray is up, unless the flush thread is already doing so."""
        if self._connected() and self._flushing.acquire(blocking=False):
            try:
                self._identify(settle=False)
            finally:
                self._flushing.release()

    def close(self) -> None:
        """Flush and stop recording; the gauges vanish from the exporter within half a minute."""
        self.flush()
        self._closed = True
        self.enabled = False
        flusher.discard(self)

    def drop(self, what: str, error: BaseException) -> None:
        """Count an observation that could not be recorded; log the first of the process."""
        with self.accumulator.lock:
            self._dropped.total += 1
        complain(what, error)

    def progress_mark(self) -> object:
        """Return a value that changes with every progress; None if no progress is expected."""
        return None

    def troubles(self) -> dict[str, Any]:
        """Return the failures so far, ready for JSON."""
        return {}

    def start_notes(self) -> None:
        """Record each phase from now on, if the recorder has phases."""

    def end_notes(self) -> PhaseNotes | None:
        """Stop recording phases; return them, or None if there are none."""
        return None

    def renew_after_fork(self) -> None:
        """In a forked child: leave the parent's counts to the parent."""
        self._flushing = threading.RLock()
        self.accumulator.renew_after_fork()

    def _cell(self, metric: Metric, scale: float = 1.0, **labels: object) -> Cell:
        return self.accumulator.cell(metric, labels, scale)

    def _collect(self) -> None:
        """Update gauges and open spans; called under the accumulator's lock before each export."""

    def _connected(self) -> bool:
        return not self._closed and export.ray_is_up() and not flusher.lost_by_fork

    def _flush(self, settle: bool) -> None:
        if not self._connected():
            return
        with self._flushing:
            if not self._identify(settle):
                return
            if time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + LOOK_SECONDS
                try:
                    self._look_again()
                except Exception as error:  # noqa: BLE001  # the name can wait for the next look, the counts cannot
                    complain("the run's name", error)
            with self.accumulator.lock:
                self._measure_process()
                try:
                    self._collect()
                except Exception as error:  # noqa: BLE001  # one refused family must not stop the others
                    self.drop("collect", error)
                pending = self.accumulator.take()
            values = pending.values if self._describes_run else []
            self._hand_over_all(pending.increases, values, pending.observations)

    def _identify(self, settle: bool) -> bool:
        """Resolve run and worker, with `settle` without waiting for a driver; return whether they are known."""
        if self._known:
            return True
        if self._run is None:
            name = identity.resolve_run(settle or self._waited_long_enough())
            if name is None:
                return False
            self._run, self._provisional = name
            if not self._provisional:
                identity.keep_run(self._run)
        if self._worker is None:
            self._worker = identity.assign_worker(self._run)
        elif self._worker != catalog.DRIVER:
            self._reserve(self._run, self._worker)
        self._known = True
        self._note_worker()
        if self._worker != catalog.DRIVER and ray_internals.in_task_pool():
            self.count(catalog.TASK_PROCESSES)
        return True

    def _look_again(self) -> None:
        """Adopt the run's name if a driver published it after this process chose a provisional one."""
        run = identity.published_run() if self._provisional else None
        if run is not None and run != self._run:
            self._adopt(run)

    def _adopt(self, run: str) -> None:
        """Record under another run from now on: totals are exported again in full, old gauges are no longer set."""
        if self._assigned:
            self._worker = identity.assign_worker(run, preferred=self._worker)
        elif self._worker is not None and self._worker != catalog.DRIVER:
            self._reserve(run, self._worker)
        self._run, self._provisional = run, False
        self._note_worker()
        identity.keep_run(run)
        self._tags.clear()
        self.accumulator.hand_over_again()

    def _reserve(self, run: str, worker: str) -> None:
        try:
            identity.reserve_worker(run, worker)
        except Exception as error:  # noqa: BLE001  # the user chose the number: recording works without
            complain("the worker's number", error)

    def _note_worker(self) -> None:
        if self._worker is not None and self._worker != catalog.DRIVER:
            try:
                identity.note_worker(self._worker)
            except Exception as error:  # noqa: BLE001  # a process that waits for this one names its actor instead
                complain("the worker's actor", error)

    def _waited_long_enough(self) -> bool:
        if self._waiting_since is None:
            self._waiting_since = time.monotonic()
        return time.monotonic() - self._waiting_since >= self._patience_seconds

    def _measure_process(self) -> None:
        if not self._describes_run:
            return
        self._cpu.total = resource_usage.cpu_seconds()
        self._measure_waiting(resource_usage.cpu_wait_seconds())
        self._recording.total = flusher.cpu_seconds
        self.accumulator.set(catalog.HEARTBEAT, {}, time.time())
        self.accumulator.set(catalog.PROCESS_ID, {}, resource_usage.pid())
        resident = resource_usage.resident_bytes()
        if resident is not None:
            self.accumulator.set(catalog.RESIDENT_MEMORY, {}, resident)

    def _measure_waiting(self, waited: float) -> None:
        """Count how long the process has waited for a core; a process that never does exports no such series."""
        more, self._waited = waited - self._waited, waited
        if self._cpu_wait is None and more > _WAIT_SECONDS:
            self._cpu_wait = self._cell(catalog.CPU_WAIT_SECONDS)
        if self._cpu_wait is not None:
            self._cpu_wait.total += max(0.0, more)

    def _hand_over_all(
        self,
        increases: list[tuple[Key, Cell, float]],
        values: list[tuple[Key, float]],
        observations: list[tuple[Key, list[float]]],
    ) -> None:
        for key, cell, increase in increases:
            if not self._hand_over(key, increase * cell.scale):
                with self.accumulator.lock:
                    cell.handed -= increase
        for key, value in values:
            self._hand_over(key, value)
        for key, observed in observations:
            lost = sum(not self._hand_over(key, value) for value in observed)
            with self.accumulator.lock:
                self._dropped.total += lost

    def _hand_over(self, key: Key, value: float) -> bool:
        metric = self.accumulator.metrics[key[0]]
        try:
            tags = self._tags.get(key)
            if tags is None:
                tags = self._tags_of(metric, key)
                if metric.kind == "counter":
                    export.start_at_zero(metric, tags)
                self._tags[key] = tags
            export.hand_over(metric, tags, value)
        except Exception as error:  # noqa: BLE001  # whatever Ray raises, the sum waits for the next flush
            complain(metric.name, error)
            return False
        return True

    def _tags_of(self, metric: Metric, key: Key) -> dict[str, str]:
        mine = {"run": str(self._run), "worker": str(self._worker), **dict(zip(metric.labels, key[1], strict=True))}
        return {label: mine[label] for label in metric.all_labels}

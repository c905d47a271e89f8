"""The sampling workers as Ray actors: placed, started, called, watched, replaced after a pause, given up.

Runs in the driver. A worker is lost when its process dies, when its environment raises, or when it does not reply in
time. It is replaced, with a new seed, after a growing pause, until it has been replaced `max_restarts` times. A worker
for which the cluster has no CPU is waited for and does not count as lost.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import ray
from ray import exceptions

from raymon.cluster.own_node import NodeDiedError, driver_node_died, end_worker, raylet_died
from raymon.errors import UserError
from raymon.format import one_line
from raymon.monitor.reasons import loss_reason
from raymon.ppo.fragment_ledger import FragmentLedger

SlotState = Literal["placing", "starting", "idle", "busy", "pausing", "given_up"]
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_PLACING_SECONDS: Final = 8.0
"""Placing an actor takes a second or two; after this time, check the free resources."""
_LOOK_SECONDS: Final = 2.0


class PoolError(UserError):
    """No worker is left."""

    exit_code = 1


@dataclass
class Slot:
    """One worker and its present actor.

    Attributes:
        life: How often the worker was started before.
        since: When the present state began, by `perf_counter`.
        due: When a pausing worker is started again.
        reason: Why it was lost last.
        process: Node and process id of the actor, once it is placed.
        waits_for_cpu: The cluster had no CPU for the actor when it was last looked at.
    """

    worker: int
    state: SlotState = "pausing"
    actor: Any = None
    ref: Any = None
    life: int = 0
    restarts: int = 0
    since: float = 0.0
    due: float = 0.0
    reason: str = ""
    error: str = ""
    process: tuple[str, int] | None = None
    waits_for_cpu: bool = False


@dataclass
class WorkerPool:
    """All workers of a run.

    Attributes:
        make: Starts the actor of one worker in one life.
        first_life: The life the workers start with; above 0 in a resumed run.
        notices: Messages for the user that are not printed yet.
    """

    make: Callable[[int, int], Any]
    count: int
    ledger: FragmentLedger
    max_restarts: int
    worker_timeout: float
    start_timeout: float
    first_life: int = 0
    slots: list[Slot] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    _looked: float = 0.0

    def start(self) -> None:
        """Start every worker, without waiting for replies."""
        self.slots = [Slot(worker, life=self.first_life) for worker in range(self.count)]
        for slot in self.slots:
            self._launch(slot)

    def idle(self) -> list[Slot]:
        """Return the idle workers."""
        return [slot for slot in self.slots if slot.state == "idle"]

    def busy(self) -> int:
        """Return how many workers have not replied to their call yet."""
        return sum(slot.state == "busy" for slot in self.slots)

    def first_starts(self) -> bool:
        """Return whether a worker is starting for the first time."""
        starting = (slot for slot in self.slots if slot.state in ("placing", "starting"))
        return any(not slot.restarts and not slot.waits_for_cpu for slot in starting)

    def up(self) -> int:
        """Return how many workers sample or are idle."""
        return sum(slot.state in ("idle", "busy") for slot in self.slots)

    def call(self, slot: Slot, method: str, *arguments: Any) -> None:  # noqa: ANN401  # whatever the method takes
        """Call a method of an idle worker."""
        slot.ref = getattr(slot.actor, method).remote(*arguments)
        self._enter(slot, "busy")
        self.ledger.called()

    def wait(self, seconds: float, least: int = 1) -> list[Slot]:
        """Wait until `least` workers have replied, at most `seconds`; return the workers whose reply can be fetched.

        Starts replacements that are due and counts workers that take too long as lost.

        Raises:
            PoolError: Every worker has been given up, or the driver's node has died.
        """
        self._tend()
        pending = {slot.ref: slot for slot in self.slots if slot.state in ("placing", "starting", "busy")}
        if not pending:
            time.sleep(min(seconds, 0.05))
            return []
        ready, _ = ray.wait(list(pending), num_returns=min(least, len(pending)), timeout=seconds, fetch_local=True)
        if ready and len(ready) < len(pending):
            ready, _ = ray.wait(list(pending), num_returns=len(pending), timeout=0)
        slots = [pending[ref] for ref in ready]
        for slot in slots:
            if slot.state != "busy":
                self._advance(slot)
        return [slot for slot in slots if slot.state == "busy"]

    def fetch(self, slot: Slot) -> Any:  # noqa: ANN401  # whatever the method returns
        """Return a worker's reply; None if the call failed, after which the worker counts as lost."""
        try:
            reply = ray.get(slot.ref)
        except exceptions.RayError as error:
            self.lose(slot, loss_reason(error), _first_line(error))
            return None
        slot.ref = None
        self._enter(slot, "idle")
        return reply

    def lose(self, slot: Slot, reason: str, error: str = "") -> None:
        """Count a worker as lost, end its process and plan its replacement."""
        self._kill(slot, by_signal=reason == "timeout" or raylet_died())
        slot.reason, slot.error = reason, error
        self.ledger.lost(slot.worker, reason)
        if slot.restarts >= self.max_restarts:
            slot.state = "given_up"
            self.ledger.give_up(slot.worker)
            self.notices.append(f"worker {slot.worker} given up after {slot.restarts} restarts: {error or reason}")
            return
        pause = min(_FIRST_PAUSE_SECONDS * 2.0**slot.restarts, _LONGEST_PAUSE_SECONDS) if slot.restarts else 0.0
        slot.state, slot.due = "pausing", time.perf_counter() + pause
        self.notices.append(f"worker {slot.worker} lost ({reason}): {error or 'no further details'}")

    def end(self, seconds: float) -> None:
        """Let the workers flush and end within `seconds`, then kill the rest."""
        closing = [slot.actor.close.remote() for slot in self.slots if slot.state == "idle"]
        if closing:
            with contextlib.suppress(exceptions.RayError):
                ray.wait(closing, num_returns=len(closing), timeout=seconds)
        for slot in self.slots:
            self._kill(slot)

    def _enter(self, slot: Slot, state: SlotState) -> None:
        slot.state, slot.since = state, time.perf_counter()

    def _launch(self, slot: Slot) -> None:
        slot.actor = self.make(slot.worker, slot.life)
        slot.ref, slot.process = slot.actor.placed.remote(), None
        self._enter(slot, "placing")

    def _advance(self, slot: Slot) -> None:
        """Handle the reply of a worker that was placed or has started."""
        try:
            reply = ray.get(slot.ref)
        except exceptions.RayError as error:
            self.lose(slot, loss_reason(error), _first_line(error))
            return
        if slot.state == "placing":
            slot.process, slot.ref, slot.waits_for_cpu = reply, slot.actor.start.remote(), False
            self._enter(slot, "starting")
            return
        slot.ref = None
        self._enter(slot, "idle")
        if slot.reason:
            self.ledger.restarted(slot.worker, slot.reason)
        else:
            self.ledger.monitor.worker_up(slot.worker)

    def _tend(self) -> None:
        now = time.perf_counter()
        self._look_for_cpus(now)
        for slot in self.slots:
            waited = now - slot.since
            if slot.state == "pausing" and now >= slot.due:
                slot.restarts += 1
                slot.life += 1
                self._launch(slot)
            elif slot.state == "busy" and waited > self.worker_timeout:
                if not ray.wait([slot.ref], timeout=0)[0]:
                    self.lose(slot, "timeout", f"no reply for {waited:.0f} s")
            elif slot.state in ("placing", "starting") and waited > self.start_timeout and not slot.waits_for_cpu:
                self.lose(slot, "timeout", f"did not start within {self.start_timeout:.0f} s")
        if self.slots and all(slot.state == "given_up" for slot in self.slots):
            raise PoolError(f"every worker has been given up; the last error: {self.slots[-1].error}")

    def _look_for_cpus(self, now: float) -> None:
        """Check whether workers that are not placed yet wait for a CPU; add one notice."""
        placing = [slot for slot in self.slots if slot.state == "placing" and now - slot.since > _PLACING_SECONDS]
        if not placing or now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        if driver_node_died():
            raise NodeDiedError("`raymon train --resume` continues from the last checkpoint")
        sentence = missing_cpus([slot.worker for slot in placing])
        if sentence and not any(slot.waits_for_cpu for slot in placing):
            self.notices.append(sentence)
        for slot in placing:
            if slot.waits_for_cpu and not sentence:
                slot.since = now  # its start time-out begins now
            slot.waits_for_cpu = bool(sentence)

    def _kill(self, slot: Slot, by_signal: bool = False) -> None:
        """Kill an actor, on this node by a signal as well if it is stopped or its raylet dead: it cannot obey Ray."""
        slot.ref = None
        if slot.actor is None:
            return
        with contextlib.suppress(exceptions.RayError, ValueError):
            ray.kill(slot.actor)
        if by_signal and slot.process is not None and slot.process[0] == ray.get_runtime_context().get_node_id():
            end_worker(slot.process[1])
        slot.actor = None


def missing_cpus(workers: list[int]) -> str:
    """Return a sentence if the cluster has no free CPU for workers that are not placed; empty if it has one."""
    free, total = (resources.get("CPU", 0.0) for resources in (ray.available_resources(), ray.cluster_resources()))
    if free >= 1.0:
        return ""
    numbers = ", ".join(map(str, workers[:8])) + (", …" if len(workers) > 8 else "")
    needed = f"{len(workers)} CPUs, one each for workers" if len(workers) > 1 else "a CPU for worker"
    return (
        f"waiting for {needed} {numbers}: the Ray cluster has {total:g}, all in use; "
        "add nodes, end another job, or take fewer --workers"
    )


def _first_line(error: Exception) -> str:
    """Return the cause of an error as one printable line, without Ray's traceback."""
    cause = error.cause if isinstance(error, exceptions.RayTaskError) else None
    if cause is not None:
        return one_line(f"{type(cause).__name__}: {cause}"[:500])
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    marked = [line for line in lines if "Error: " in line]
    return one_line((marked or lines or [type(error).__name__])[-1 if marked else 0][:300])

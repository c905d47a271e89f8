"""The workers as Ray actors: started, called, watched, replaced with back-off, given up. Runs in the driver.

A worker is lost when its process dies, when its environment raises, or when it does not answer for too long. It is
replaced, with a new seed, after a growing pause, until it has been replaced `max_restarts` times.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import ray
from ray import exceptions

from raymon.errors import UserError
from raymon.monitor.reasons import loss_reason
from raymon.ppo.ledger import Ledger

State = Literal["starting", "idle", "busy", "pausing", "given_up"]
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0


class FleetError(UserError):
    """No worker is left."""

    exit_code = 1


@dataclass
class Slot:
    """One worker and the actor that plays it now.

    Attributes:
        life: How often the worker was started before.
        since: When the present state began, by `perf_counter`.
        due: When a pausing worker is started again.
        reason: Why it was lost last.
        process: Node and process id of the actor, once it has answered.
    """

    worker: int
    state: State = "pausing"
    actor: Any = None
    ref: Any = None
    life: int = 0
    restarts: int = 0
    since: float = 0.0
    due: float = 0.0
    reason: str = ""
    error: str = ""
    process: tuple[str, int] | None = None


@dataclass
class Fleet:
    """All workers of a run.

    Attributes:
        make: Starts the actor of one worker in one life.
        first_life: The life the workers start with; above 0 in a resumed run.
    """

    make: Callable[[int, int], Any]
    count: int
    ledger: Ledger
    max_restarts: int
    worker_timeout: float
    start_timeout: float
    first_life: int = 0
    slots: list[Slot] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start every worker; they answer later."""
        self.slots = [Slot(worker, life=self.first_life) for worker in range(self.count)]
        for slot in self.slots:
            self._launch(slot)

    def idle(self) -> list[Slot]:
        """Return the workers that can be given work."""
        return [slot for slot in self.slots if slot.state == "idle"]

    def busy(self) -> int:
        """Return how many workers have been given work and have not answered."""
        return sum(slot.state == "busy" for slot in self.slots)

    def starting(self, first: bool = False) -> bool:
        """Tell whether a worker is starting (for the first time)."""
        return any(slot.state == "starting" and not (first and slot.restarts) for slot in self.slots)

    def up(self) -> int:
        """Return how many workers are at work or ready for it."""
        return sum(slot.state in ("idle", "busy") for slot in self.slots)

    def call(self, slot: Slot, method: str, *arguments: Any) -> None:  # noqa: ANN401  # whatever the method takes
        """Give a worker work."""
        slot.ref = getattr(slot.actor, method).remote(*arguments)
        slot.state, slot.since = "busy", time.perf_counter()
        self.ledger.called()

    def wait(self, seconds: float, least: int = 1) -> list[Slot]:
        """Wait until `least` workers have answered, at most `seconds`; return those whose answer can be fetched.

        Starts replacements that are due and loses workers that take too long.

        Raises:
            FleetError: Every worker has been given up.
        """
        self._tend()
        pending = {slot.ref: slot for slot in self.slots if slot.state in ("starting", "busy")}
        if not pending:
            time.sleep(min(seconds, 0.05))
            return []
        ready, _ = ray.wait(list(pending), num_returns=min(least, len(pending)), timeout=seconds, fetch_local=True)
        if ready and len(ready) < len(pending):
            ready, _ = ray.wait(list(pending), num_returns=len(pending), timeout=0)
        answered = []
        for slot in (pending[ref] for ref in ready):
            if slot.state == "starting":
                self._greet(slot)
            else:
                answered.append(slot)
        return answered

    def fetch(self, slot: Slot) -> Any:  # noqa: ANN401  # whatever the method returns
        """Return a worker's answer; None when it failed, the worker then being lost."""
        try:
            answer = ray.get(slot.ref)
        except exceptions.RayError as error:
            self.lose(slot, loss_reason(error), _first_line(error))
            return None
        slot.ref, slot.state, slot.since = None, "idle", time.perf_counter()
        return answer

    def lose(self, slot: Slot, reason: str, error: str = "") -> None:
        """Book a worker as lost, end its process and plan its replacement."""
        self._kill(slot, by_signal=reason == "timeout")
        slot.reason, slot.error = reason, error
        self.ledger.lost(slot.worker, reason)
        if slot.restarts >= self.max_restarts:
            slot.state = "given_up"
            self.ledger.give_up(slot.worker)
            self.notices.append(f"worker {slot.worker} given up after {slot.restarts} restarts: {error or reason}")
            return
        pause = min(_FIRST_PAUSE_SECONDS * 2.0**slot.restarts, _LONGEST_PAUSE_SECONDS) if slot.restarts else 0.0
        slot.state, slot.due = "pausing", time.perf_counter() + pause
        self.notices.append(f"worker {slot.worker} lost ({reason}): {error or 'no more is known'}")

    def end(self, seconds: float) -> None:
        """Let the workers flush and end, at most `seconds`, then kill what is left."""
        closing = [slot.actor.close.remote() for slot in self.slots if slot.state == "idle"]
        if closing:
            with contextlib.suppress(exceptions.RayError):
                ray.wait(closing, num_returns=len(closing), timeout=seconds)
        for slot in self.slots:
            self._kill(slot)

    def _launch(self, slot: Slot) -> None:
        slot.actor = self.make(slot.worker, slot.life)
        slot.ref = slot.actor.ready.remote()
        slot.state, slot.since, slot.process = "starting", time.perf_counter(), None

    def _greet(self, slot: Slot) -> None:
        try:
            slot.process = ray.get(slot.ref)
        except exceptions.RayError as error:
            self.lose(slot, loss_reason(error), _first_line(error))
            return
        slot.ref, slot.state, slot.since = None, "idle", time.perf_counter()
        if slot.reason:
            self.ledger.restarted(slot.worker, slot.reason)
        else:
            self.ledger.monitor.worker_up(slot.worker)

    def _tend(self) -> None:
        now = time.perf_counter()
        for slot in self.slots:
            if slot.state == "pausing" and now >= slot.due:
                slot.restarts += 1
                slot.life += 1
                self._launch(slot)
            elif slot.state == "busy" and now - slot.since > self.worker_timeout:
                if not ray.wait([slot.ref], timeout=0)[0]:
                    self.lose(slot, "timeout", f"no answer for {now - slot.since:.0f} s")
            elif slot.state == "starting" and now - slot.since > self.start_timeout:
                self.lose(slot, "timeout", f"did not start within {self.start_timeout:.0f} s")
        if self.slots and all(slot.state == "given_up" for slot in self.slots):
            raise FleetError(f"every worker has been given up; the last error: {self.slots[-1].error}")

    def _kill(self, slot: Slot, by_signal: bool = False) -> None:
        """End an actor. A stopped process cannot answer Ray's request to die: one on this node gets a signal too."""
        slot.ref = None
        if slot.actor is None:
            return
        with contextlib.suppress(exceptions.RayError, ValueError):
            ray.kill(slot.actor)
        if by_signal and slot.process is not None and slot.process[0] == ray.get_runtime_context().get_node_id():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(slot.process[1], signal.SIGKILL)
        slot.actor = None


def _first_line(error: Exception) -> str:
    """Return the sentence that tells what happened, without Ray's traceback."""
    cause = error.cause if isinstance(error, exceptions.RayTaskError) else None
    if cause is not None:
        return f"{type(cause).__name__}: {cause}".splitlines()[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    marked = [line for line in lines if "Error: " in line]
    return (marked or lines or [type(error).__name__])[-1 if marked else 0][:300]

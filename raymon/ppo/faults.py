"""Injected faults, for tests and demonstrations: `--inject "slow worker=1 factor=5 after=20s"`.

Worker faults act inside the environments' step, where real problems arise; driver faults act in the training loop.
`after` counts from the start of training. A fault that ends a worker acts in its first life only, or in the first
`times` lives, so that the replacement can work. Imported in workers: no torch, no Ray.
"""

import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from numpy.typing import NDArray

from raymon.envs import ThreadedVector
from raymon.envs.vector import Step, Vector
from raymon.errors import UserError

T = TypeVar("T")

WORKER_FAULTS: Final = ("slow", "hang", "crash", "env-error", "leak")
DRIVER_FAULTS: Final = ("ref-leak", "slow-learner", "nan-loss")
_SECONDS: Final = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0}
_DEFAULTS: Final[dict[str, dict[str, float]]] = {
    "slow": {"factor": 5.0},
    "hang": {"times": 1},
    "crash": {"times": 1},
    "env-error": {"times": 1},
    "leak": {"mb": 10.0},
    "ref-leak": {"mb": 1.0},
    "slow-learner": {"factor": 3.0},
    "nan-loss": {"times": 1},
}


class FaultError(UserError):
    """A fault that cannot be parsed."""


class InjectedError(RuntimeError):
    """Raised by an environment for `--inject env-error`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: One of `WORKER_FAULTS` or `DRIVER_FAULTS`.
        worker: The worker; None means every worker, or is meaningless for driver faults.
        after: Seconds of training before it begins.
        until: Seconds it lasts; infinite by default.
        strength: `factor` of slow and slow-learner, `mb` per second of leak and ref-leak, `times` of the others.
    """

    kind: str
    worker: int | None
    after: float
    until: float
    strength: float

    def active(self, elapsed: float) -> bool:
        """Return whether the fault is active `elapsed` seconds into training."""
        return self.after <= elapsed < self.after + self.until


def parse_fault(text: str) -> Fault:
    """Parse `kind key=value …`; raise `FaultError`, which lists the choices."""
    kind, *pairs = text.split() or [""]
    if kind not in _DEFAULTS:
        raise FaultError(f"--inject {text!r}: unknown fault {kind!r}; expected one of {', '.join(_DEFAULTS)}")
    ((strength_name, strength),) = _DEFAULTS[kind].items()
    known = {"after": 0.0, "for": float("inf"), strength_name: strength}
    if kind in WORKER_FAULTS:
        known["worker"] = -1.0
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if key not in known or not equals:
            raise FaultError(f"--inject {text!r}: found {pair!r}, expected {', '.join(f'{k}=…' for k in known)}")
        known[key] = _number(text, pair, value, seconds=key in ("after", "for"))
    worker = int(known.get("worker", -1.0))
    if known[strength_name] <= 0 or (kind in ("slow", "slow-learner") and known[strength_name] < 1):
        raise FaultError(f"--inject {text!r}: {strength_name} must be above 0, a factor at least 1")
    return Fault(kind, worker if worker >= 0 else None, known["after"], known["for"], known[strength_name])


def _number(text: str, pair: str, value: str, seconds: bool) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]*)", value)
    if match is None or match[2] not in (_SECONDS if seconds else ("", "mb")):
        raise FaultError(f"--inject {text!r}: found {pair!r}, expected a number" + (" of seconds, as 20s" * seconds))
    return float(match[1]) * (_SECONDS[match[2]] if seconds else 1.0)


def of_worker(faults: Sequence[Fault], worker: int, restarts: int, elapsed: float) -> tuple[Fault, ...]:
    """Return the faults of a worker, given its restarts and the `elapsed` seconds of training at its start.

    A fault that ended an earlier life of the worker does not act again, unless `times` says so.
    """
    mine = [f for f in faults if f.kind in WORKER_FAULTS and f.worker in (None, worker)]
    return tuple(f for f in mine if f.kind in ("slow", "leak") or restarts < f.strength or elapsed < f.after)


def with_faults(vector: Vector, faults: Sequence[Fault], elapsed: float) -> Vector:
    """Return the vector environment with faults injected, `elapsed` seconds into training."""
    if not faults:
        return vector
    trouble = Trouble(faults, elapsed)
    if isinstance(vector, ThreadedVector):
        vector.around = trouble.around
        return vector
    return FaultyVector(vector, trouble)


class Trouble:
    """The faults of one worker, injected around its steps."""

    def __init__(self, faults: Sequence[Fault], elapsed: float) -> None:
        self._faults = faults
        self._began = time.perf_counter() - elapsed
        self._leaked: list[bytearray] = []

    def around(self, step: Callable[[], T]) -> T:
        """Take a step with the faults that are due."""
        elapsed = time.perf_counter() - self._began
        due = [fault for fault in self._faults if fault.active(elapsed)]
        began = time.perf_counter()
        for fault in due:
            self._strike(fault, elapsed)
        result = step()
        for fault in due:
            if fault.kind == "slow":
                time.sleep((fault.strength - 1.0) * (time.perf_counter() - began))
        return result

    def _strike(self, fault: Fault, elapsed: float) -> None:
        if fault.kind == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.kind == "env-error":
            raise InjectedError("the environment failed because of --inject env-error")
        elif fault.kind == "hang":
            time.sleep(1e9)
        elif fault.kind == "leak":
            due_bytes = int(fault.strength * 1e6 * (elapsed - fault.after))
            if (missing := due_bytes - sum(map(len, self._leaked))) > 100_000:
                self._leaked.append(bytearray(os.urandom(1)) * missing)


class FaultyVector:
    """A lock-step vector environment with injected faults."""

    def __init__(self, inner: Vector, trouble: Trouble) -> None:
        self._inner, self._trouble = inner, trouble
        self.num_envs = inner.num_envs
        self.single_observation_space = inner.single_observation_space
        self.single_action_space = inner.single_action_space

    def reset(self, *, seed: int | None = None) -> tuple[NDArray[Any], dict[str, Any]]:
        """Reset the environments, without faults."""
        return self._inner.reset(seed=seed)

    def step(self, actions: NDArray[Any]) -> Step:
        """Step the environments with the faults that are due."""
        return self._trouble.around(lambda: self._inner.step(actions))

    def close(self) -> None:
        """Close the environments."""
        self._inner.close()

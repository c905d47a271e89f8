"""Run one harness over many inputs and hold each input to a bound of CPU time, memory, errors and log messages.

An input is numbered: its random numbers depend on the harness, the seed and that number alone. What a harness keeps
between inputs (a collector that sees one page after another) lives for one block of inputs, so that an input can be
repeated together with those of its block before it.
"""

import contextlib
import logging
import resource
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import Final

from raymon.errors import UserError

BLOCK: Final = 50
"""Inputs that share the state of a harness."""
MOST_CPU_SECONDS: Final = 2.0
"""CPU time that one input may take."""
MOST_GROWTH_BYTES: Final = 256 * 1024 * 1024
"""Growth of the largest resident memory that one input may cause."""
MOST_FAILURES: Final = 20
"""A harness ends after so many failures; further ones rarely say anything new."""

Check = Callable[[Random], None]
"""Makes one input from random numbers, feeds it to the parser and checks what comes out; raises where it is wrong."""


class TooSlow(BaseException):
    """An input took more than `MOST_CPU_SECONDS`. Not an `Exception`, so that no parser takes it for its own."""


@dataclass(frozen=True, slots=True)
class Harness:
    """One parser of data from outside.

    Attributes:
        name: As the command line names it.
        parser: What is fed, in words.
        begin: Prepares a block of inputs in an empty folder and returns the check.
        errors: The documented errors of the parser besides `UserError`.
        cost: How much longer an input takes than with most harnesses; of many inputs, a costly one gets fewer.
    """

    name: str
    parser: str
    begin: Callable[[Path], Check]
    errors: tuple[type[Exception], ...] = ()
    cost: float = 1.0


@dataclass(frozen=True, slots=True)
class Failure:
    """One input that broke an invariant."""

    harness: str
    seed: int
    number: int
    reason: str

    def __str__(self) -> str:
        return f"python -m fuzz --harness {self.harness} --seed {self.seed} --only {self.number}\n{self.reason}"


@dataclass(slots=True)
class Outcome:
    """What a harness went through.

    Attributes:
        refused: Inputs that ended in a documented error; the others were accepted.
        slowest_seconds: Longest CPU time of one input.
        growth_bytes: Growth of the largest resident memory over all inputs.
    """

    harness: str
    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest_seconds: float = 0.0
    growth_bytes: int = 0
    failures: list[Failure] = field(default_factory=list)


def run(harness: Harness, numbers: Sequence[int], seed: int, folder: Path) -> Outcome:
    """Feed the inputs of some numbers to a harness; `folder` is an empty folder that it may use."""
    outcome = Outcome(harness.name)
    began, before = time.perf_counter(), _peak_bytes()
    check: Check | None = None
    with _strict() as logged:
        for number in numbers:
            if check is None or number % BLOCK == 0:
                check = harness.begin(folder)
            _feed(harness, check, number, seed, outcome, logged)
            if len(outcome.failures) >= MOST_FAILURES:
                break
    outcome.seconds = time.perf_counter() - began
    outcome.growth_bytes = _peak_bytes() - before
    return outcome


def block_of(number: int) -> range:
    """Return the inputs to feed for the state in which an input was fed, itself included."""
    return range(number - number % BLOCK, number + 1)


def _feed(harness: Harness, check: Check, number: int, seed: int, outcome: Outcome, logged: list[str]) -> None:
    random = Random(f"{harness.name}:{seed}:{number}")  # noqa: S311  # repeatable, not secret
    logged.clear()
    memory, cpu, reason = _peak_bytes(), time.process_time(), ""
    try:
        with _cpu_limit(MOST_CPU_SECONDS):
            check(random)
    except (UserError, *harness.errors) as error:
        outcome.refused += 1
        if not str(error).strip():
            reason = f"{type(error).__name__} without a message"
    except (Exception, TooSlow):  # noqa: BLE001  # every other error is what fuzzing looks for
        reason = traceback.format_exc()
    spent, growth = time.process_time() - cpu, _peak_bytes() - memory
    if not reason and logged:
        reason = "logged an exception:\n" + logged[0]
    if not reason and growth > MOST_GROWTH_BYTES:
        reason = f"memory grew by {growth / 1e6:.0f} MB"
    if reason:
        outcome.failures.append(Failure(harness.name, seed, number, reason))
    outcome.inputs += 1
    outcome.slowest_seconds = max(outcome.slowest_seconds, spent)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def _cpu_limit(seconds: float) -> Iterator[None]:
    """Raise `TooSlow` in the main thread once it has used that much CPU time."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise TooSlow(f"more than {seconds:g} s of CPU time")

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


class _Collecting(logging.Handler):
    """Keeps the exceptions that raymon caught and logged: the fallback worked, the bug is there all the same."""

    def __init__(self, kept: list[str]) -> None:
        super().__init__()
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[0]:
            self._kept.append("".join(traceback.format_exception(*record.exc_info)))


@contextlib.contextmanager
def _strict() -> Iterator[list[str]]:
    """Yield the exceptions that are logged meanwhile; warnings are errors, and nothing is printed."""
    kept: list[str] = []
    handler, logger = _Collecting(kept), logging.getLogger("raymon")
    propagate, hook = logger.propagate, threading.excepthook
    threading.excepthook = lambda ended: kept.append(
        f"a thread ended with {ended.exc_type.__name__}: {ended.exc_value}"
    )
    logger.addHandler(handler)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield kept
    finally:
        logger.propagate, threading.excepthook = propagate, hook
        logger.removeHandler(handler)

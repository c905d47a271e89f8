"""What `instrument` records of a class, and one call of a method that it has wrapped."""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from raymon.monitor.worker_monitor import Monitor

Steps = Callable[[Any], int] | int | None
Episodes = Callable[[Any], Iterable[tuple[float, float]]] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to record of a class; see `instrument`.

    Attributes:
        inherited: The plan is that of a base class, whose method a derived class overrides. Such a method counts its
            result only if the base's own method, called inside it, counts nothing.
    """

    methods: tuple[str, ...]
    steps: Steps
    episodes: Episodes
    phase: str
    worker: str | None
    run: str | None
    enabled: bool
    role: str = "env"
    inherited: bool = False


class InstrumentedCall:
    """One call of an instrumented method: a rollout and the counts derived from its result.

    An instrumented method may call another one, or itself through `super()`: what the outer call counts, the inner one
    does not count again.
    """

    __slots__ = ("_counted_inside", "_monitor", "_open", "_outer", "_plan", "_rollout")

    def __init__(self, monitor: Monitor, plan: Plan) -> None:
        self._monitor = monitor
        self._plan = plan
        self._rollout = monitor.rollout(plan.phase)
        self._open: bool = True
        self._counted_inside: set[str] = set()
        self._outer: InstrumentedCall | None = _call.get()
        while self._outer is not None and not self._outer._open:  # a task outlives the call it was started in
            self._outer = self._outer._outer

    def __enter__(self) -> "InstrumentedCall":
        _call.set(self)
        self._rollout.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rollout.__exit__(kind, error, trace)
        self._open = False
        if _call.get() is self:
            _call.set(self._outer)

    def count(self, result: object) -> None:
        """Count steps and episodes of a result; a counting function that fails counts as a drop and never raises."""
        plan, monitor = self._plan, self._monitor
        try:
            if plan.steps is not None and self._counts("steps"):
                monitor.steps(plan.steps(result) if callable(plan.steps) else plan.steps)
            if plan.episodes is not None and self._counts("episodes"):
                for return_, length in plan.episodes(result):
                    monitor.episode(return_, length)
        except Exception as error:  # noqa: BLE001  # recording never breaks training
            monitor.drop("instrument", error)

    def _counts(self, what: str) -> bool:
        """Return whether this call counts the steps or episodes of its result, rather than a call around or in it."""
        if self._plan.inherited and what in self._counted_inside:
            return False
        outer = self._outer
        while outer is not None:
            if outer._open and outer._monitor is self._monitor and getattr(outer._plan, what) is not None:
                if not outer._plan.inherited:
                    return False
                outer._counted_inside.add(what)
            outer = outer._outer
        return True


_call: Final[ContextVar[InstrumentedCall | None]] = ContextVar("raymon_call", default=None)

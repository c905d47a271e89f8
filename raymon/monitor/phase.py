"""The context managers of monitors: a phase, and what it shares with a rollout and an iteration."""

from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from raymon.monitor.accumulator import RefusedError
from raymon.monitor.wall_time import Span, entered

Stayed = tuple[Span, bool]
"""A span, and whether it was opened by this stay: one inside another of its kind is part of that one."""


class Guarded(Protocol):
    """What every context manager needs of the monitor it belongs to."""

    enabled: bool

    def drop(self, what: str, error: BaseException) -> None:
        """Count an observation that could not be recorded."""


class Phased(Guarded, Protocol):
    """What a phase needs of it."""

    def _enter_phase(self, phase: str) -> Span: ...

    def _leave_phase(self, span: Span) -> None: ...


M = TypeVar("M", bound=Guarded)
S = TypeVar("S", bound="Stay[Any]")


class Stay(Generic[M]):
    """A context manager that may be kept: entered again, also inside itself or by several threads at once."""

    __slots__ = ("_monitor", "_stays")
    WHAT: ClassVar[str]

    def __init__(self, monitor: M) -> None:
        self._monitor = monitor
        self._stays: list[Stayed] = []

    def __enter__(self: S) -> S:
        if self._monitor.enabled:
            try:
                self._stays.append(self._enter())
            except Exception as error:  # noqa: BLE001  # recording never breaks training
                self._monitor.drop(self.WHAT, error)
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if self._stays:
            try:
                stay = self._stays[0] if len(self._stays) == 1 else self._innermost()
                self._stays.remove(stay)
                if stay[1]:
                    self._leave(stay[0], error)
            except Exception as own:  # noqa: BLE001  # recording never breaks training
                self._monitor.drop(self.WHAT, own)

    def _innermost(self) -> Stayed:
        """Return what this thread or task entered last; where it entered nothing, what anybody did."""
        stays = list(self._stays)
        for span in entered():
            for stay in reversed(stays):
                if stay[0] is span:
                    return stay
        return stays[-1]

    def _enter(self) -> Stayed:
        raise NotImplementedError

    def _leave(self, span: Span, error: BaseException | None) -> None:
        raise NotImplementedError


class Phase(Stay[Phased]):
    """One stay in a phase; an unknown phase is dropped and counted, the body runs all the same."""

    __slots__ = ("_allowed", "_phase")
    WHAT = "phase"

    def __init__(self, monitor: Phased, phase: str, allowed: tuple[str, ...]) -> None:
        super().__init__(monitor)
        self._phase = phase
        self._allowed = allowed

    def _enter(self) -> Stayed:
        if self._phase not in self._allowed:
            raise RefusedError(f"found phase {self._phase!r}, expected one of {self._allowed}")
        return self._monitor._enter_phase(self._phase), True

    def _leave(self, span: Span, error: BaseException | None) -> None:  # noqa: ARG002  # its time counts either way
        self._monitor._leave_phase(span)

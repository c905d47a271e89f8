"""Context managers of monitors: phases, and the base that rollouts and iterations share with them."""

from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from raymon.monitor.accumulator import RefusedError
from raymon.monitor.wall_time import Span, entered

Entry = tuple[Span, bool]
"""A span, and whether this entry opened it; one inside another of its kind is part of that one."""


class Guarded(Protocol):
    """What every context manager needs from its monitor."""

    enabled: bool

    def drop(self, what: str, error: BaseException) -> None:
        """Count an observation that could not be recorded."""


class Phased(Guarded, Protocol):
    """What a phase needs from its monitor."""

    def _enter_phase(self, phase: str) -> Span: ...

    def _leave_phase(self, span: Span) -> None: ...


M = TypeVar("M", bound=Guarded)
S = TypeVar("S", bound="SpanContext[Any]")


class SpanContext(Generic[M]):
    """A reusable context manager: it may be entered again, also inside itself or by several threads at once."""

    __slots__ = ("_entries", "_monitor")
    WHAT: ClassVar[str]

    def __init__(self, monitor: M) -> None:
        self._monitor = monitor
        self._entries: list[Entry] = []

    def __enter__(self: S) -> S:
        if self._monitor.enabled:
            try:
                self._entries.append(self._enter())
            except Exception as error:  # noqa: BLE001  # recording never breaks training
                self._monitor.drop(self.WHAT, error)
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        if self._entries:
            try:
                entry = self._entries[0] if len(self._entries) == 1 else self._innermost()
                self._entries.remove(entry)
                if entry[1]:
                    self._leave(entry[0], error)
            except Exception as own:  # noqa: BLE001  # recording never breaks training
                self._monitor.drop(self.WHAT, own)

    def _innermost(self) -> Entry:
        """Return the last entry of this thread or task; without one, the last entry of any."""
        entries = list(self._entries)
        for span in entered():
            for entry in reversed(entries):
                if entry[0] is span:
                    return entry
        return entries[-1]

    def _enter(self) -> Entry:
        raise NotImplementedError

    def _leave(self, span: Span, error: BaseException | None) -> None:
        raise NotImplementedError


class Phase(SpanContext[Phased]):
    """Times a phase. An unknown phase is dropped and counted; the body runs all the same."""

    __slots__ = ("_allowed", "_phase")
    WHAT = "phase"

    def __init__(self, monitor: Phased, phase: str, allowed: tuple[str, ...]) -> None:
        self._monitor = monitor
        self._entries = []
        self._phase = phase
        self._allowed = allowed

    def _enter(self) -> Entry:
        if self._phase not in self._allowed:
            raise RefusedError(f"found phase {self._phase!r}, expected one of {self._allowed}")
        return self._monitor._enter_phase(self._phase), True

    def _leave(self, span: Span, error: BaseException | None) -> None:  # noqa: ARG002  # its time counts either way
        self._monitor._leave_phase(span)

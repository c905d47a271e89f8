"""The context manager of `phase`, of the worker's monitor and of the driver's."""

from typing import Protocol, Self

from raymon.monitor.ledger import RefusedError
from raymon.monitor.timeline import Span


class Phased(Protocol):
    """What a phase needs of the monitor it belongs to."""

    enabled: bool

    def drop(self, what: str, error: BaseException) -> None:
        """Count an observation that could not be recorded."""

    def _enter_phase(self, phase: str) -> Span: ...

    def _leave_phase(self, span: Span) -> None: ...


class Phase:
    """One stay in a phase; an unknown phase is dropped and counted, the body runs all the same."""

    __slots__ = ("_allowed", "_monitor", "_phase", "_span")

    def __init__(self, monitor: "Phased", phase: str, allowed: tuple[str, ...]) -> None:
        self._monitor = monitor
        self._phase = phase
        self._allowed = allowed
        self._span: Span | None = None

    def __enter__(self) -> Self:
        monitor = self._monitor
        if monitor.enabled:
            try:
                if self._phase not in self._allowed:
                    raise RefusedError(f"found phase {self._phase!r}, expected one of {self._allowed}")
                self._span = monitor._enter_phase(self._phase)
            except Exception as error:  # noqa: BLE001  # recording never breaks training
                monitor.drop("phase", error)
        return self

    def __exit__(self, *_: object) -> None:
        if self._span is not None:
            try:
                self._monitor._leave_phase(self._span)
            except Exception as error:  # noqa: BLE001  # recording never breaks training
                self._monitor.drop("phase", error)

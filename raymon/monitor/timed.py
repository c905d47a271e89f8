"""What both monitors share beyond recording: the phases their time goes into, being pickled, being forgotten."""

from typing import ClassVar

from raymon.catalog import Metric
from raymon.monitor.capture import PhaseNotes
from raymon.monitor.ledger import RefusedError, amount
from raymon.monitor.phase import Phase
from raymon.monitor.recorder import NANOSECOND, Recorder, recording
from raymon.monitor.timeline import Span, Timeline


class TimedRecorder(Recorder):
    """A recorder whose time is divided into phases; a subclass says which, and the counter they are counted in."""

    PHASES: ClassVar[tuple[str, ...]]
    PHASE_METRIC: ClassVar[Metric]

    def __init__(self, run: str | None, worker: str | None, enabled: bool, made_with: tuple[object, ...]) -> None:
        super().__init__(run, worker, enabled)
        self._made_with = made_with
        cells = {phase: self._cell(self.PHASE_METRIC, NANOSECOND, phase=phase) for phase in self.PHASES}
        self._timeline = Timeline(cells, self.ledger.lock)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), self._made_with)

    def __del__(self) -> None:
        if not self._closed:
            self.flush()

    def phase(self, phase: str) -> Phase:
        """Time a part of the work, one of `PHASES`; inner phases are not counted in the outer."""
        return Phase(self, phase, self.PHASES)

    @recording
    def add_phase(self, phase: str, seconds: float) -> None:
        """Count time of a phase that was measured elsewhere; inside an open phase it is taken from that one."""
        if phase not in self.PHASES:
            raise RefusedError(f"found phase {phase!r}, expected one of {self.PHASES}")
        self._timeline.add(phase, round(amount(seconds) / NANOSECOND))

    def start_notes(self) -> None:
        """Note each phase from now on: a capture begins."""
        self._timeline.start_notes()

    def end_notes(self) -> PhaseNotes | None:
        """Note no more; return what was noted, None when nothing was asked for."""
        return self._timeline.end_notes()

    def renew_after_fork(self) -> None:
        """In a forked child: leave to the parent what the parent counted and timed."""
        super().renew_after_fork()
        self._timeline.renew_after_fork(self.ledger.lock)

    def _enter_phase(self, phase: str) -> Span:
        return self._timeline.enter(phase)

    def _leave_phase(self, span: Span) -> None:
        self._timeline.leave(span)

"""A recorder with phases: the part that both monitors share, with pickling and closing."""

import time
from collections.abc import Iterable
from typing import ClassVar, Final

from raymon import catalog
from raymon.catalog import Metric
from raymon.monitor.accumulator import RefusedError, amount
from raymon.monitor.capture import PhaseNotes
from raymon.monitor.latency import SlidingQuantiles
from raymon.monitor.phase import Phase
from raymon.monitor.recorder import NANOSECOND, Recorder, recording
from raymon.monitor.wall_time import Span, WallTime

_WINDOW_SECONDS: Final = 60.0
_TAIL_RATIO: Final = 0.03
_FEWEST_RESPONSES: Final = 4
"""A smaller batch has no tail."""


class TimedRecorder(Recorder):
    """A recorder that divides its time into phases; a subclass names them and their counter."""

    PHASES: ClassVar[tuple[str, ...]]
    PHASE_METRIC: ClassVar[Metric]

    def __init__(
        self, run: str | None, worker: str | None, enabled: bool, made_with: tuple[object, ...], role: str = "env"
    ) -> None:
        if role not in catalog.ROLES:
            raise ValueError(f"role: found {role!r}, expected one of {', '.join(catalog.ROLES)}")
        super().__init__(run, worker, enabled)
        self._made_with = made_with
        self._phase_cells = {
            phase: self._cell(self.PHASE_METRIC, NANOSECOND, phase=phase)
            for phase in self.PHASES
            if phase not in catalog.LANGUAGE_PHASES
        }
        self._wall_time = WallTime(self._phase_cells, self.accumulator.lock)
        self._response_lengths = SlidingQuantiles(_WINDOW_SECONDS)
        self._responses_counted = 0
        self._generated_before = 0.0
        self.role = role
        if role != "env":
            self.set(catalog.ROLE, 1.0, role=role)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), self._made_with)

    def __del__(self) -> None:
        if not self._closed:
            self.flush()

    def phase(self, phase: str) -> Phase:
        """Time a phase, one of `PHASES`; time in an inner phase does not count in the outer one."""
        return Phase(self, phase, self.PHASES)

    @recording
    def add_phase(self, phase: str, seconds: float) -> None:
        """Add time of a phase that was measured elsewhere; inside an open phase it is subtracted from that one."""
        if phase not in self.PHASES:
            raise RefusedError(f"found phase {phase!r}, expected one of {self.PHASES}")
        if phase not in self._phase_cells:
            self._export_phase(phase)
        self._wall_time.add(phase, round(amount(seconds) / NANOSECOND))

    def start_notes(self) -> None:
        """Record each phase from now on: a capture begins."""
        self._wall_time.start_notes()

    def end_notes(self) -> PhaseNotes | None:
        """Stop recording phases; return them, or None if no capture runs."""
        return self._wall_time.end_notes()

    def renew_after_fork(self) -> None:
        """In a forked child: leave the parent's counts and times to the parent."""
        super().renew_after_fork()
        self._wall_time.renew_after_fork(self.accumulator.lock)

    @recording
    def responses(self, lengths: Iterable[int], prompt_tokens: int = 0, truncated: int = 0, aborted: int = 0) -> None:
        """Count the responses of one batch of generation.

        Args:
            lengths: Tokens of each response, truncated and aborted ones included.
            prompt_tokens: Tokens of all their prompts.
            truncated: Responses that ended at the length limit.
            aborted: Responses that were abandoned.
        """
        tokens = [amount(length) for length in lengths]
        if truncated + aborted > len(tokens):
            raise RefusedError(f"found {truncated} truncated and {aborted} aborted of {len(tokens)} responses")
        self.count(catalog.TOKENS, amount(prompt_tokens), direction="in")
        self.count(catalog.TOKENS, sum(tokens), direction="out")
        ends = {"complete": len(tokens) - truncated - aborted, "truncated": truncated, "aborted": aborted}
        for end, number in ends.items():
            self.count(catalog.RESPONSES, number, end=end)
        self._count_tail(sorted(tokens))
        now = time.perf_counter()
        with self.accumulator.lock:
            generated = self._generated()
            self._cell(catalog.GENERATION_SECONDS, NANOSECOND).total += generated - self._generated_before
            self._generated_before = generated
            self._responses_counted += len(tokens)
            for length in tokens:
                self._response_lengths.add(length, now)

    def _generated(self) -> float:
        """Return the nanoseconds spent in the phase `generate` so far; called under the accumulator's lock."""
        self._wall_time.settle()
        cell = self._phase_cells.get("generate")
        return cell.total if cell else 0.0

    def _count_tail(self, tokens: list[float]) -> None:
        """Count for how long, in tokens, only the last responses of a batch were running; `tokens` is sorted.

        A batch without a tail counts its length alone: where nothing else is counted, the tail is not known.
        """
        if len(tokens) < _FEWEST_RESPONSES:
            if tokens:
                self.count(catalog.GENERATION_LENGTH, tokens[-1], part="body")
            return
        last = max(1, round(_TAIL_RATIO * len(tokens)))
        tail = tokens[-1] - tokens[-1 - last]
        self.count(catalog.GENERATION_LENGTH, tokens[-1] - tail, part="body")
        self.count(catalog.GENERATION_LENGTH, tail, part="tail")
        self.count(catalog.TAIL_RESPONSES, last)

    @recording
    def groups(self, number: int, without_signal: int = 0) -> None:
        """Count groups of responses to one prompt, and the groups in which all rewards are equal."""
        self.count(catalog.GROUPS, number - without_signal, signal="yes")
        self.count(catalog.GROUPS, without_signal, signal="no")

    @recording
    def buffer(self, depth: int, capacity: int = 0, oldest_seconds: float | None = None) -> None:
        """Set the number of samples in the buffer, its capacity (0: no limit) and the age of the oldest sample."""
        self.accumulator.set(catalog.BUFFER_DEPTH, {}, depth)
        self.accumulator.set(catalog.BUFFER_CAPACITY, {}, capacity)
        if oldest_seconds is not None or not depth:
            self.accumulator.set(catalog.BUFFER_OLDEST, {}, time.time() - (oldest_seconds or 0.0) if depth else 0.0)

    @recording
    def weights_synced(self, seconds: float, nbytes: float = 0) -> None:
        """Count one synchronization of weights, with its duration and size; its phase is `weight_sync`."""
        self.count(catalog.WEIGHT_SYNCS)
        self.count(catalog.WEIGHT_SYNC_SECONDS, amount(seconds))
        self.count(catalog.WEIGHT_SYNC_BYTES, amount(nbytes))

    def _collect(self) -> None:
        lengths = self._response_lengths.quantiles(catalog.QUANTILES, time.perf_counter())
        for quantile, length in zip(catalog.QUANTILES, lengths, strict=False):
            self.accumulator.set(catalog.RESPONSE_LENGTH, {"quantile": quantile}, length)

    def _export_phase(self, phase: str) -> None:
        """Export a phase of language-model training from its first use on; other runs have no series for it."""
        self._phase_cells[phase] = self._cell(self.PHASE_METRIC, NANOSECOND, phase=phase)

    def _enter_phase(self, phase: str) -> Span:
        if phase not in self._phase_cells:
            self._export_phase(phase)
        return self._wall_time.enter(phase)

    def _leave_phase(self, span: Span) -> None:
        self._wall_time.leave(span)

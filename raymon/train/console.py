"""The terminal during training: a live display on a terminal, a line every few seconds in a log."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any, Final, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raymon.format import duration, plain
from raymon.ppo.fragment_ledger import FragmentLedger
from raymon.train.progress import Progress

_DRAW_SECONDS: Final = 0.25
_LINE_SECONDS: Final = 5.0
_PHASE_COLOURS: Final = {
    "sample": "white",
    "inference": "cyan",
    "transfer": "blue",
    "weights": "magenta",
    "learn": "green",
    "checkpoint": "yellow",
    "log": "bright_black",
    "other": "red",
}


class Terminal:
    """A standard output that survives a closed pipe or terminal: what cannot be written is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write as the stream does."""
        with self._surviving():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush as the stream does."""
        with self._surviving():
            self._stream.flush()

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        try:
            yield
        except OSError:  # so that buffered text is dropped too, now and at exit
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever a stream has
        return getattr(self._stream, name)


class Screen:
    """Shows progress at most a few times a second; notices are printed above it."""

    def __init__(self, title: str, console: Console) -> None:
        self._title, self._console = title, console
        self._live = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
        self._drawn = time.perf_counter()
        self._phases: dict[str, float] = {}

    def __enter__(self) -> "Screen":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a notice."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def update(
        self, progress: Progress, phases: dict[str, float], up: int, workers: int, ledger: FragmentLedger
    ) -> None:
        """Add one update's phase seconds; draw if the last drawing is old enough."""
        for name, seconds in phases.items():
            self._phases[name] = self._phases.get(name, 0.0) + seconds
        now = time.perf_counter()
        if now - self._drawn < (_DRAW_SECONDS if self._live is not None else _LINE_SECONDS):
            return
        self._drawn = now
        self.draw(progress, up, workers, ledger)
        self._phases = {name: seconds / 2 for name, seconds in self._phases.items()}

    def draw(self, progress: Progress, up: int, workers: int, ledger: FragmentLedger) -> None:
        """Draw now."""
        if self._live is not None:
            self._live.update(self._display(progress, up, workers, ledger), refresh=True)
        else:
            self.say(self._line(progress, up, workers, ledger))

    def _line(self, progress: Progress, up: int, workers: int, ledger: FragmentLedger) -> str:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self._shares() if share >= 0.005)
        return (
            f"{_steps(progress)} steps · {progress.steps_per_second():,.0f} steps/s · "
            f"ETA {duration(progress.eta_seconds())} · return {plain(progress.return_mean())} · "
            f"workers {up}/{workers}{_problems(ledger)} · {shares}"
        )

    def _display(self, progress: Progress, up: int, workers: int, ledger: FragmentLedger) -> Group:
        table = Table.grid(padding=(0, 2))
        for _ in range(2):
            table.add_column(style="bright_black")
            table.add_column()
        mean = progress.return_mean()
        table.add_row("steps", _steps(progress), "steps/s", f"{progress.steps_per_second():,.0f}")
        table.add_row("elapsed", duration(progress.seconds()), "ETA", duration(progress.eta_seconds()))
        table.add_row(
            "return", f"{plain(mean)} (last {len(progress.returns)} episodes)", "updates", f"{progress.update:,}"
        )
        table.add_row("workers", f"{up} of {workers} up", "fragments", f"{ledger.trained:,} used{_problems(ledger)}")
        bar = ProgressBar(total=1.0, completed=1.0 - progress.remaining(), width=60)
        line = Table.grid()  # a bar alone does not end its line
        line.add_row(bar)
        return Group(Text(self._title, style="bold"), line, table, self._phase_text())

    def _phase_text(self) -> Text:
        text = Text("time  ", style="bright_black")
        for name, share in self._shares():
            if share >= 0.005:
                text.append(f"{name} {share:.0%}  ", style=_PHASE_COLOURS.get(name, ""))
        return text

    def _shares(self) -> list[tuple[str, float]]:
        total = sum(self._phases.values())
        return [(name, self._phases.get(name, 0.0) / total) for name in _PHASE_COLOURS] if total > 0 else []


def _steps(progress: Progress) -> str:
    target = progress.target()
    return f"{progress.env_steps:,} of {target:,}" if target else f"{progress.env_steps:,}"


def _problems(ledger: FragmentLedger) -> str:
    parts = []
    if dropped := sum(ledger.dropped.values()):
        parts.append(f"{dropped} dropped")
    if ledger.restarts:
        parts.append(f"{ledger.restarts} restarts")
    if ledger.given_up:
        parts.append(f"{len(ledger.given_up)} given up")
    return f" ({', '.join(parts)})" if parts else ""

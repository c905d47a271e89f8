"""Sentences in the terminal: code in them is bold instead of between backticks where the terminal has styles."""

from dataclasses import dataclass, field
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from raymon.html.markup import clean, code_parts

_CODE: Final = "bold not dim"


@dataclass(frozen=True, slots=True)
class Prose:
    """A sentence from outside with code between backticks, drawn as plain text and never as markup.

    Attributes:
        text: The sentence.
        style: Of what is not code.
        before: What stands before it on its line.
    """

    text: str
    style: str = ""
    before: Text = field(default_factory=Text)

    def _drawn(self, console: Console) -> Text:
        drawn = self.before.copy()
        if console.color_system is None:  # a pipe or a terminal without styles: backticks tell where code ends
            return drawn.append(clean(self.text), self.style)
        for number, part in enumerate(code_parts(self.text)):
            drawn.append(part, _CODE if number % 2 else self.style)
        return drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._drawn(console)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._drawn(console))

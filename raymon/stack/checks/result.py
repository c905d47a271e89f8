"""What a check finds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from raymon.stack.checks.situation import Situation

State = Literal["ok", "problem", "unknown", "absent"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Attributes:
        state: `ok`; `problem`; `unknown` when it cannot be told; `absent` when the part is not used here.
        evidence: What was seen, one sentence or a few.
        mend: The command or setting that mends it, empty when nothing is to be done.
    """

    state: State
    evidence: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One question, asked of the situation."""

    name: str
    question: str
    ask: "Callable[[Situation], Finding]"


@dataclass(frozen=True, slots=True)
class Result:
    """A check with its finding, as printed and as `--json` gives it."""

    check: str
    question: str
    state: State
    evidence: str
    mend: str


def ok(evidence: str) -> Finding:
    """Return a finding that all is well."""
    return Finding("ok", evidence)


def problem(evidence: str, mend: str) -> Finding:
    """Return a finding that something is wrong."""
    return Finding("problem", evidence, mend)


def unknown(evidence: str, mend: str = "") -> Finding:
    """Return a finding that it cannot be told."""
    return Finding("unknown", evidence, mend)


def absent(evidence: str, mend: str = "") -> Finding:
    """Return a finding that the part is not used here."""
    return Finding("absent", evidence, mend)

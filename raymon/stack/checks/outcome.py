"""A check and its outcome."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from raymon.stack.checks.inspection import Inspection, ServiceAddress

CheckState = Literal["ok", "problem", "unknown", "absent"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one check.

    Attributes:
        state: `ok`; `problem`; `unknown` when it cannot be determined; `absent` when the part is not used here.
        evidence: What was seen, one sentence or a few.
        mend: The command or setting that fixes it, empty when nothing needs to be done.
    """

    state: CheckState
    evidence: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One question and the function that answers it."""

    name: str
    question: str
    ask: "Callable[[Inspection], Outcome]"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check with its outcome, as printed and as `--json` gives it."""

    check: str
    question: str
    state: CheckState
    evidence: str
    mend: str


def ok(evidence: str, mend: str = "") -> Outcome:
    """Return that all is well, perhaps with an advice."""
    return Outcome("ok", evidence, mend)


def problem(evidence: str, mend: str) -> Outcome:
    """Return that something is wrong."""
    return Outcome("problem", evidence, mend)


def unknown(evidence: str, mend: str = "") -> Outcome:
    """Return that it cannot be determined."""
    return Outcome("unknown", evidence, mend)


def absent(evidence: str, mend: str = "") -> Outcome:
    """Return that the part is not used here."""
    return Outcome("absent", evidence, mend)


def no_answer(service: "ServiceAddress", program: str, why: str, without: str) -> Outcome:
    """Return that no server answers: a problem if its address was named, else `without` says what works without it."""
    if not service.named:
        return absent(f"None at {service.url}: {without}", "raymon up")
    mend = "raymon up" if service.by == "raymon up" else f"correct {service.by}, or start one: raymon up"
    return problem(f"{service.url} ({service.by}) does not answer as {program}: {why}.", mend)

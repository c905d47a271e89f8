"""The workers that a driver lost, from what it wrote down about each: when, why, and what Ray said of their end.

    >>> worker_losses([{"worker": "3", "at": 5.0, "reason": "killed", "signal": "SIGKILL"}])[0].detail
    'SIGKILL'

The records come from a file (`raymon.monitor.error_details.describe_loss`), which is trusted no more than other input.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from raymon.catalog import LOSS_REASONS
from raymon.format import one_line
from raymon.monitor.frames import Frame, Stack, first_place
from raymon.views import WorkerLoss

MOST_LOSSES: Final = 10
"""Of one run, the newest; a driver keeps as many."""
MOST_FRAMES: Final = 8
_LONGEST_TEXT: Final = 600
_LONGEST_DETAIL: Final = 400

Entry = Mapping[str, Any]


def worker_losses(entries: Iterable[Entry]) -> tuple[WorkerLoss, ...]:
    """Return the losses in a driver's records, oldest first; records without a worker or a moment are left out."""
    losses = []
    for entry in entries:
        worker, at, reason = text_of(entry.get("worker")), entry.get("at"), text_of(entry.get("reason"))
        if worker and isinstance(at, float) and math.isfinite(at):
            reason = reason if reason in LOSS_REASONS else "unknown"
            losses.append(WorkerLoss(worker, at, reason, one_line(explanation(entry), _LONGEST_DETAIL)))
    return tuple(losses[-MOST_LOSSES:])


def lost_because(reason: str, explained: str) -> str:
    """Return that a worker was lost, for what reason and how it ended, as a clause."""
    return f"lost ({reason}): {explained}" if explained else f"lost ({reason})"


def explanation(loss: Entry) -> str:
    """Return how a lost worker ended: Ray's words or the exception, exit code and signal; empty if not known."""
    sentence = error_sentence(loss)
    detail = text_of(loss.get("exit_detail")) or ("" if sentence == loss.get("reason") else sentence)
    code, signal = loss.get("exit_code"), text_of(loss.get("signal"))
    ends = f"exit code {code}" if isinstance(code, int) and f"code {code}" not in detail else ""
    return "; ".join(part for part in (detail, ends, "" if signal in detail else signal) if part)


def error_sentence(error: Entry) -> str:
    """Return class, message and first place in the user's own code of an exception; empty if it has neither."""
    exception, message = text_of(error.get("exception")), text_of(error.get("message"))
    frames = frames_of(error)
    place = first_place([Stack("", tuple(frames))]) if frames else ""
    text = f"{exception}: {message}" if exception and message else exception or message
    return text + (f", in `{place}`" if place and text else "")


def frames_of(error: Entry) -> list[Frame]:
    """Return the frames of an exception, outermost first; none if they are not frames."""
    try:
        frames = [Frame(str(each[0]), str(each[1]), int(each[2])) for each in error.get("frames")]  # type: ignore[union-attr]
    except (TypeError, ValueError, IndexError, KeyError):
        return []
    return frames[-MOST_FRAMES:]


def text_of(value: object) -> str:
    """Return text from outside as one printable line; empty for anything else."""
    return one_line(value, _LONGEST_TEXT) if isinstance(value, str) else ""

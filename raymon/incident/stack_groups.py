"""Group the stacks of many processes by likeness: a hang shows as the process that differs from the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from raymon.format import listing
from raymon.profile.stacks import Place, place

COMPARED_FRAMES: Final = 4
"""Processes are alike if their innermost frames, this many, are in the same functions."""


@dataclass(frozen=True, slots=True)
class StackGroup:
    """Processes with like stacks; `frames` are those of the first process, innermost first."""

    processes: tuple[str, ...]
    frames: tuple[str, ...]

    @property
    def innermost(self) -> Place:
        """Return the function and file of the innermost frame."""
        return place(self.frames[0]) if self.frames else Place("no frame", "")


def grouped(stacks: Mapping[str, Sequence[str]]) -> list[StackGroup]:
    """Return the groups of processes, the smallest first.

    Args:
        stacks: Name of the process -> frames of its main thread such as `recv (my_env.py:88)`, innermost first.
    """
    by_place: dict[tuple[Place, ...], list[str]] = {}
    for process, frames in stacks.items():
        by_place.setdefault(tuple(place(frame) for frame in frames[:COMPARED_FRAMES]), []).append(process)
    groups = [StackGroup(tuple(names), tuple(stacks[names[0]])) for names in by_place.values()]
    return sorted(groups, key=lambda group: len(group.processes))


def sentence(groups: Sequence[StackGroup]) -> str:
    """Return one sentence: "7 of 8 processes are in get (worker.py); worker 3 is in recv (my_env.py)."."""
    total = sum(len(group.processes) for group in groups)
    if not total:
        return "No stack could be read."
    parts = []
    for group in sorted(groups, key=lambda group: -len(group.processes)):
        if len(group.processes) > 2 or (len(group.processes) == total and total > 1):
            subject = f"{len(group.processes)} of {total} processes are"
        else:
            subject = f"{listing(group.processes)} {'is' if len(group.processes) == 1 else 'are'}"
        parts.append(f"{subject} in {group.innermost}")
    text = "; ".join(parts[:6]) + "."
    return text[:1].upper() + text[1:]

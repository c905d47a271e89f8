"""From where the processes of a run stand to the one that hangs, and whom the others wait for: pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from raymon.catalog import DRIVER
from raymon.format import duration, listing
from raymon.incident.processes import Standing

MOST_CULPRITS: Final = 4
_PREFER: Final = ("stopped", "gone", "native", "disk", "python")
_HOW: Final = {
    "stopped": "its process was stopped by a signal",
    "gone": "its process is gone",
    "native": "native code holds the interpreter's lock",
    "disk": "the kernel waits for a disk or a device",
}
_CHILD_CALLS: Final = ("subprocess", "Popen", "communicate", "wait", "run", "call", "poll", "read")


@dataclass(frozen=True, slots=True)
class Hang:
    """Which processes hang.

    Attributes:
        processes: The culprits, such as `worker 3`; processes that merely wait for them are not among them.
        where: Frame in which the first one hangs; empty if unknown.
        sentence: All of it in words.
    """

    processes: tuple[str, ...]
    where: str
    sentence: str


def hang(standings: Mapping[str, Standing], suspects: Sequence[str], now: float) -> Hang | None:
    """Return what hangs; None if nothing is known to.

    Args:
        standings: Name of each process and what it is doing.
        suspects: The processes that the verdict is about; empty for the whole run.
        now: Wall-clock seconds.
    """
    waits = {name: _reached(standings, name) for name in standings}
    if ring := tuple(name for name in standings if name in waits[name]):
        return _ring(standings, ring)
    starts = [name for name in suspects if name in standings] or [name for name in standings if standings[name].stuck]
    ends = dict.fromkeys(end for name in starts for end in (name, *waits[name]) if not waits[end])
    stuck = sorted((name for name in ends if standings[name].stuck), key=lambda n: _PREFER.index(standings[n].state))
    if not stuck:
        return None
    culprits = tuple(stuck[:MOST_CULPRITS])
    sentences = [_hangs(name, standings[name], now) for name in culprits]
    where = next((standings[name].where for name in culprits if standings[name].where), "")
    waiting = [name for name in standings if name not in culprits and set(waits[name]) & set(culprits)]
    if not where and not waiting and standings.get(DRIVER, Standing()).stuck and DRIVER not in culprits:
        where = standings[DRIVER].where  # a dead process has no frame; what waits for what it made has one
        sentences.append(_hangs(DRIVER, standings[DRIVER], now))
    if waiting:
        place = standings[waiting[0]].where
        at = f" in `{place}`" if place and len(waiting) == 1 else ""
        verb, them = "wait" if len(waiting) > 1 else "waits", "them" if len(culprits) > 1 else "it"
        sentences.append(f"{_subject(listing(waiting))} {verb} for {them}{at}.")
    return Hang(culprits, where, " ".join(sentences))


def _reached(standings: Mapping[str, Standing], name: str) -> dict[str, None]:
    """Return every stuck process that one waits for, directly or not."""
    reached: dict[str, None] = {}
    path = [name]
    while path:
        for other in standings[path.pop()].waits_for:
            if other in standings and standings[other].stuck and other not in reached:
                reached[other] = None
                path.append(other)
    return reached


def _ring(standings: Mapping[str, Standing], ring: tuple[str, ...]) -> Hang:
    places = [f"{_subject(name)} in `{standings[name].where}`" for name in ring if standings[name].where]
    return Hang(
        ring,
        standings[ring[0]].where,
        f"{_subject(listing(ring))} wait for each other" + (f": {'; '.join(places)}." if places else "."),
    )


def _hangs(name: str, standing: Standing, now: float) -> str:
    place = f" in `{standing.where}`" if standing.where else ""
    lasts = f", for {duration(now - standing.silent_since)}" if standing.silent_since is not None else ""
    if standing.state == "gone":
        return f"{_subject(name)} is gone: there is no such process."
    how = f": {_HOW[standing.state]}" if standing.state in _HOW else ""
    if standing.child and any(word in standing.where for word in _CHILD_CALLS):
        how += f"; its child process is {standing.child}"
    if standing.waits_for:
        how += f"; it waits for {listing(standing.waits_for)}"
    return f"{_subject(name)} hangs{place}{lasts}{how}."


def _subject(text: str) -> str:
    return "The driver" + text[6:] if text.startswith("driver") else text[:1].upper() + text[1:]

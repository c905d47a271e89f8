"""Why processes of a run ended or failed, by worker: from the driver, from Ray and from the workers themselves.

The process id of a replaced worker is known only to whoever saw it run, so a watch remembers the processes it has seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from raymon.catalog import DRIVER
from raymon.live.evidence_files import Process
from raymon.live.snapshot import Snapshot
from raymon.live.worker_losses import error_sentence, explanation, frames_of, lost_because, text_of

MOST_REMEMBERED: Final = 20_000
MOST_DEATHS: Final = 100

Entry = Mapping[str, Any]


@dataclass(slots=True)
class SeenProcesses:
    """Remembers which worker of which run each process was, the last `MOST_REMEMBERED` of them."""

    _names: dict[tuple[str, Process], str] = field(default_factory=dict)

    def add(self, snapshot: Snapshot) -> None:
        """Take in the processes of every run."""
        for run in snapshot.runs:
            self._names |= {(run.run, process): name for name, process in run.processes().items()}
        for oldest in list(self._names)[: max(0, len(self._names) - MOST_REMEMBERED)]:
            del self._names[oldest]

    def of(self, run: str) -> dict[Process, str]:
        """Return the name (`driver`, `worker 3`) of every process that was seen in a run."""
        return {process: name for (of, process), name in list(self._names.items()) if of == run}


def deaths(
    names: Mapping[Process, str], cluster: Entry, losses: Sequence[Entry], failures: Mapping[str, Entry]
) -> list[dict[str, Any]]:
    """Return the ends and errors of the processes of a run as JSON data, those of one worker next to each other.

    Args:
        names: Name of every process that the run ever had.
        cluster: The part `cluster` of an incident.
        losses: What the driver wrote about the workers it lost (`raymon.monitor.error_details.describe_loss`).
        failures: Name of a process to its last failed rollout.
    """
    entries = [*_lost(losses), *_ended(names, cluster), *_failed(failures)][:MOST_DEATHS]
    return sorted(entries, key=lambda entry: (entry["worker"], entry["at"] or 0.0))


def _lost(losses: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    for loss in losses:
        reason, explained = text_of(loss.get("reason")) or "unknown", explanation(loss)
        code = loss.get("exit_code") if isinstance(loss.get("exit_code"), int) else None
        about = {"kind": "lost", "worker": text_of(loss.get("worker")), "sentence": lost_because(reason, explained)}
        yield {**_error(loss), **about, "exit_code": code, "signal": text_of(loss.get("signal"))}


def _ended(names: Mapping[Process, str], cluster: Entry) -> Iterator[dict[str, Any]]:
    known = set()
    for entry in cluster.get("ended_workers", ()):
        name = names.get((entry["node"], entry["pid"]))
        if name is not None and entry["exit"]:
            known.add(entry["pid"])
            yield _end(name, entry, entry["ended_at"], entry["exit"])
    for entry in cluster.get("actors", ()):
        name = names.get((entry["node"], entry["pid"]))
        if name is not None and entry["state"] == "DEAD" and entry["cause"] and entry["pid"] not in known:
            yield _end(name, entry, None, entry["cause"])


def _end(name: str, process: Entry, at: float | None, detail: str) -> dict[str, Any]:
    about = {"kind": "ended", "worker": _label(name), "at": at, "pid": process["pid"], "node": process["node"]}
    return {**about, "sentence": text_of(detail)}


def _failed(failures: Mapping[str, Entry]) -> Iterator[dict[str, Any]]:
    for name, failure in failures.items():
        yield {**_error(failure), "kind": "failed", "worker": _label(name)}


def _error(error: Entry) -> dict[str, Any]:
    """Return an exception as JSON data; what the frames or the text are not is left out."""
    frames, at = frames_of(error), error.get("at")
    return {
        "at": at if isinstance(at, float) else None,
        "exception": text_of(error.get("exception")),
        "message": text_of(error.get("message")),
        "frames": [f"{frame.function} ({Path(frame.file).name}:{frame.line})" for frame in reversed(frames)],
        "sentence": error_sentence(error),
    }


def _label(name: str) -> str:
    return name if name == DRIVER else name.removeprefix("worker ")

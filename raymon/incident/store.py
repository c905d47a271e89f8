"""Incidents on disk: `runs/<run>/incidents/<time>-<code>/`, bounded in number and size."""

import contextlib
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from raymon.errors import UserError
from raymon.format import LATEST
from raymon.html.markup import clean
from raymon.incident.schema import shaped

FOLDER: Final = "incidents"
DATA: Final = "incident.json"
REPORT: Final = "report.html"
MOST_INCIDENTS: Final = 50
"""Incidents kept per run; further ones are counted by the watcher and not written."""
MOST_BYTES: Final = 2_000_000
"""Largest `incident.json` and `report.html` that are written."""
LARGE_PARTS: Final = ("logs", "series", "stacks", "view", "cluster")
"""Parts that are left out of an incident that is too large, in this order."""
SAME_CAUSE_SECONDS: Final = 60.0
"""A second watcher leaves a cause alone that another one has written this recently."""
_NAME: Final = re.compile(r"\d{8}-\d{6}-[a-z_]+(-[\w.-]+)?")


class IncidentError(UserError):
    """An incident that is not there or cannot be read."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident as stored.

    Attributes:
        folder: Its folder.
        run: Name of the run.
        code: Code of the finding that opened it.
        worker: The worker it is about, empty for several or the whole run.
        sentence: The finding in words.
        opened_at: Wall-clock seconds.
        closed_at: Wall-clock seconds at which the finding was gone; None while it lasts.
        data: Everything that was collected; see `docs/incidents.md`.
    """

    folder: Path
    run: str
    code: str
    worker: str
    sentence: str
    opened_at: float
    closed_at: float | None
    data: Mapping[str, Any]

    @property
    def hang(self) -> str:
        """Return which process hangs and where, in words; empty if that is unknown."""
        hang = self.data.get("hang")
        return clean(hang.get("sentence", "")) if isinstance(hang, dict) else ""


def folder_name(run: str) -> str:
    """Return the name of a run's directory: the run's name without characters that a path cannot hold."""
    return re.sub(r"[^\w.-]+", "-", run).lstrip(".")[:100] or "run"


@dataclass(frozen=True, slots=True)
class IncidentStore:
    """The incidents of all runs below one directory, `runs` by default."""

    root: Path = Path("runs")

    def of(self, run: str) -> Path:
        """Return the folder of the run's incidents; it may not exist."""
        return self.root / folder_name(run) / FOLDER

    def create(self, run: str, code: str, worker: str, now: float) -> Path | None:
        """Create the folder of a new incident.

        Returns:
            None if the run has `MOST_INCIDENTS` already, or if another watcher has just written the same cause.

        Raises:
            IncidentError: If the folder cannot be created.
        """
        suffix = f"-{folder_name(worker)}" if worker else ""
        name = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{code}{suffix}"
        parent = self.of(run)
        try:
            parent.mkdir(parents=True, exist_ok=True)
            existing = [path for path in parent.iterdir() if _NAME.fullmatch(path.name)]
            same = [path for path in existing if path.name[16:] == name[16:]]
            recent = any(now - path.stat().st_mtime < SAME_CAUSE_SECONDS and not _closed(path) for path in same)
            if len(existing) >= MOST_INCIDENTS or recent:
                return None
            (parent / name).mkdir()
        except FileExistsError:
            return None
        except OSError as error:
            raise IncidentError(
                f"cannot write incidents to {parent}: {error.strerror}; name a directory with --root"
            ) from error
        return parent / name

    def write(self, folder: Path, data: Mapping[str, Any], report: str) -> None:
        """Write an incident whole or not at all; the largest parts are dropped until it fits into `MOST_BYTES`."""
        kept = dict(data)
        content = json.dumps(kept, indent=1, default=str)
        for part in LARGE_PARTS:
            if len(content) <= MOST_BYTES:
                break
            kept[part] = {"note": f"left out: the incident has more than {MOST_BYTES} bytes"}
            content = json.dumps(kept, indent=1, default=str)
        for name, text in ((REPORT, report), (DATA, content)):
            draft = folder / f".{name}.{os.getpid()}"
            try:
                draft.write_text(text, encoding="utf-8")
                draft.replace(folder / name)
            except OSError as error:
                with contextlib.suppress(OSError):
                    draft.unlink()
                raise IncidentError(f"cannot write {folder / name}: {error.strerror}") from error

    def list(self, run: str | None = None) -> list[Incident]:
        """Return the incidents, newest first; unreadable ones are left out."""
        parents = [self.of(run)] if run else sorted(self.root.glob(f"*/{FOLDER}"))
        incidents = []
        for parent in parents:
            for path in parent.glob("*") if parent.is_dir() else ():
                with contextlib.suppress(IncidentError):
                    incidents.append(load(path))
        return sorted(incidents, key=lambda incident: -incident.opened_at)


def _closed(folder: Path) -> bool:
    with contextlib.suppress(IncidentError):
        return load(folder).closed_at is not None
    return False


def _moment(value: object) -> float:
    if not isinstance(value, int | float) or not abs(value) <= LATEST:  # also what is not a number
        raise ValueError(f"{str(value)[:40]!r} is no moment in Unix seconds")
    return float(value)


def load(folder: Path) -> Incident:
    """Read one incident; raises `IncidentError` for anything that is not one."""
    path = folder / DATA
    try:
        if path.stat().st_size > 2 * MOST_BYTES:
            raise IncidentError(f"{path} is larger than any incident that raymon writes")
        data = shaped(json.loads(path.read_text(encoding="utf-8")))
        closed = data.get("closed_at")
        return Incident(
            folder,
            run=clean(data["run"]),
            code=clean(data["code"]),
            worker=clean(data["worker"]),
            sentence=clean(data["sentence"]),
            opened_at=_moment(data["opened_at"]),
            closed_at=None if closed is None else _moment(closed),
            data=data,
        )
    except OSError as error:
        raise IncidentError(f"{path} cannot be read: {error.strerror}; name the folder of an incident") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IncidentError(f"{path} is not an incident: {type(error).__name__}: {clean(error)}") from error

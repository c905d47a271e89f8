"""The run's directory: configuration, one line per update as JSON and CSV, TensorBoard events, the summary."""

import contextlib
import csv
import dataclasses
import errno
import fcntl
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, TextIO

from raymon.errors import UserError
from raymon.train import checkpoint, option_files
from raymon.train.options import Config, ConfigError

PROGRESS: Final = "progress.jsonl"
TABLE: Final = "progress.csv"
SUMMARY: Final = "summary.json"
_DISK_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


class RecordsError(UserError):
    """The records of a run cannot be written any more."""

    exit_code = 1


@contextlib.contextmanager
def writing(path: Path, advice: str) -> Iterator[None]:
    """Turn the error of a full or broken disk into one sentence about the records at `path`.

    Raises:
        RecordsError: With the advice, in place of such an `OSError`.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise RecordsError(f"{path} cannot be written any more: {error.strerror}; {advice}") from error


def new_name(env: str) -> str:
    """Return a name made from the environment's id, the time, and chance, since runs may begin in the same second."""
    plain = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in env).strip("-._")
    return f"{plain or 'run'}-{datetime.now().astimezone():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


class RunDirectory:
    """Writes a run's records, opened for a new run or for one that goes on; no two processes write the same ones.

    Args:
        config: Says where, and is written there.
        resumed: The counters of the checkpoint that the run goes on from.

    Raises:
        ConfigError: It holds another run, or another process writes it, or it cannot be written.
    """

    def __init__(self, config: Config, resumed: Mapping[str, Any] | None = None) -> None:
        events = _event_writer() if config.tensorboard else None
        self.path = config.runs / config.name
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._progress: TextIO = (self.path / PROGRESS).open("a+")
            try:
                self._take_over(config, resumed)
            except BaseException:
                self._progress.close()
                raise
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written: {error}; choose another --runs") from error
        self._table: TextIO | None = None
        self._rows: Any = None
        self._events = None
        if events is not None:
            purged = resumed["env_steps"] + 1 if resumed is not None else None
            self._events = events(str(self.path / "tensorboard"), purge_step=purged)

    def _take_over(self, config: Config, resumed: Mapping[str, Any] | None) -> None:
        """Lock the directory and store this run's configuration; the lock lasts as long as its file is open."""
        try:
            fcntl.flock(self._progress, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another process is writing {self.path}; wait for its end, or take another --name"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # some network file systems know no locks
                raise
        if resumed is None and (self._progress.tell() or (self.path / checkpoint.FILE_NAME).exists()):
            raise ConfigError(f"{self.path} holds a run already; take another --name, or --resume {self.path}")
        # This file used for another run gives its settings, not this run's past.
        option_files.save(dataclasses.replace(config, resume=None), self.path / "config.yaml")
        if resumed is not None:
            (self.path / SUMMARY).unlink(missing_ok=True)
            _cut_after(self._progress, self.path / TABLE, resumed["update"])

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one update's row to all records; a number that is not finite becomes null."""
        clean = {key: _finite(value) for key, value in row.items()}
        self._progress.write(json.dumps(clean) + "\n")
        flat = {
            f"{key}_{inner}" if isinstance(value, dict) else key: number
            for key, value in clean.items()
            for inner, number in (value.items() if isinstance(value, dict) else [("", value)])
        }
        if self._table is None:
            self._open_table(list(flat))
        self._rows.writerow(flat)
        if self._events is not None:
            for key, value in flat.items():
                if isinstance(value, int | float) and key not in ("update", "env_steps"):
                    self._events.add_scalar(f"raymon/{key}", value, int(clean["env_steps"]))

    def _open_table(self, columns: list[str]) -> None:
        path = self.path / TABLE
        if path.exists() and path.stat().st_size:
            with path.open(newline="") as file:
                columns = next(csv.reader(file))
            self._table = path.open("a", newline="")
            self._rows = csv.DictWriter(self._table, columns, restval="", extrasaction="ignore")
        else:
            self._table = path.open("w", newline="")
            self._rows = csv.DictWriter(self._table, columns, restval="", extrasaction="ignore")
            self._rows.writeheader()

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        for file in (self._progress, self._table, self._events):
            if file is not None:
                file.flush()

    def sync(self) -> None:
        """Put the rows onto the disk: a checkpoint of later updates must never survive them."""
        self.flush()
        os.fsync(self._progress.fileno())

    def summarize(self, summary: Mapping[str, Any]) -> None:
        """Write the summary atomically; a full disk leaves no empty one."""
        clean = {key: _finite(value) for key, value in summary.items()}
        with checkpoint.replacing(self.path / SUMMARY) as file:
            file.write(f"{json.dumps(clean, indent=2)}\n".encode())

    def close(self) -> None:
        """Close every file."""
        for file in (self._progress, self._table, self._events):
            if file is not None:
                file.close()


def _finite(value: Any) -> Any:  # noqa: ANN401  # JSON data of any depth
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value


def _cut_after(progress: TextIO, table: Path, update: int) -> None:
    """Remove the rows of updates after the checkpoint's, which are made again, and a last line that was cut off."""
    progress.seek(0)
    progress.truncate(_length(progress.read().splitlines(keepends=True), lambda line: _update_of(line) <= update))
    if table.exists():
        with table.open("r+", newline="") as file:
            header, *lines = file.read().splitlines(keepends=True) or [""]
            columns = header.strip().split(",")
            whole = [line for line in lines if line.endswith("\n") and line.count(",") + 1 == len(columns)]
            at = columns.index("update") if "update" in columns else 0
            kept = _length(whole, lambda line: line.split(",")[at].isdigit() and int(line.split(",")[at]) <= update)
            file.truncate(len(header.encode()) + kept)


def _length(lines: Sequence[str], wanted: Callable[[str], bool]) -> int:
    """Return the bytes up to the first line that is not wanted."""
    return sum(len(line.encode()) for line in takewhile(wanted, lines))


def _update_of(line: str) -> float:
    try:
        return float(json.loads(line)["update"]) if line.endswith("\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf


def _event_writer() -> Any:  # noqa: ANN401  # torch's writer has no usable type
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise ConfigError(f"--tensorboard needs a package: pip install 'raymon-rl[tensorboard]' ({error})") from error
    return SummaryWriter

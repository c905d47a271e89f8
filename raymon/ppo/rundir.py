"""The run's directory: configuration, one line per update as JSON and CSV, TensorBoard events, the summary."""

import csv
import json
import math
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

from raymon.ppo import config as configuration
from raymon.ppo.config import Config, ConfigError

PROGRESS: Final = "progress.jsonl"
TABLE: Final = "progress.csv"
SUMMARY: Final = "summary.json"


def new_name(env: str) -> str:
    """Return a name made from the environment's id and the time."""
    plain = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in env).strip("-._")
    return f"{plain or 'run'}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


class RunDirectory:
    """Writes a run's records, opened for a new run or for one that goes on."""

    def __init__(self, config: Config, resumed_update: int | None = None) -> None:
        self.path = config.runs / config.name
        if resumed_update is None and (self.path / PROGRESS).exists():
            raise ConfigError(f"{self.path} holds a run already; take another --name, or --resume {self.path}")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            configuration.save(config, self.path / "config.yaml")
            if resumed_update is not None:
                _cut_after(self.path, resumed_update)
            self._progress: TextIO = (self.path / PROGRESS).open("a")
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written: {error}; choose another --runs") from error
        self._table: TextIO | None = None
        self._rows: Any = None
        self._events = _event_writer(self.path) if config.tensorboard else None

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

    def summarize(self, summary: Mapping[str, Any]) -> None:
        """Write the summary."""
        clean = {key: _finite(value) for key, value in summary.items()}
        (self.path / SUMMARY).write_text(json.dumps(clean, indent=2) + "\n")

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


def _cut_after(folder: Path, update: int) -> None:
    """Remove the rows of updates after the checkpoint's, which are made again, and a last line that was cut off."""
    progress, table = folder / PROGRESS, folder / TABLE
    if progress.exists():
        kept = [line for line in progress.read_text().splitlines() if _update_of(line) <= update]
        _replace(progress, kept)
    if table.exists() and (lines := table.read_text().splitlines()):
        column = lines[0].split(",").index("update")
        kept = [line for line in lines[1:] if _is_until(line.split(","), column, update, lines[0].count(",") + 1)]
        _replace(table, [lines[0], *kept])


def _update_of(line: str) -> float:
    try:
        return float(json.loads(line)["update"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _is_until(cells: list[str], column: int, update: int, width: int) -> bool:
    return len(cells) == width and cells[column].isdigit() and int(cells[column]) <= update


def _replace(path: Path, lines: list[str]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("".join(f"{line}\n" for line in lines))
    temporary.replace(path)


def _event_writer(folder: Path) -> Any:  # noqa: ANN401  # torch's writer has no usable type
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise ConfigError(f"--tensorboard needs a package: pip install 'raymon-rl[tensorboard]' ({error})") from error
    return SummaryWriter(str(folder / "tensorboard"))

"""Checkpoints: one npz file of plain arrays and JSON, replaced atomically, read without running anything in it."""

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from raymon.errors import UserError
from raymon.ppo.normalize import Moments, Normalizer
from raymon.ppo.policy import ModelSpec, model_spec_from

FORMAT: Final = "raymon-checkpoint"
VERSION: Final = 1
FILE_NAME: Final = "checkpoint.npz"


class CheckpointError(UserError):
    """A file that is no checkpoint, or a broken one."""


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on.

    Attributes:
        config: The run's options as plain data.
        model: The networks' shape.
        arrays: `weights` and the optimiser's state.
        normalizer: The totals of observations and rewards.
        rng: State of the learner's random numbers.
        counters: `update`, `env_steps`, `time_seconds`, `lives` and the last 100 episodes.
    """

    config: dict[str, Any]
    model: ModelSpec
    arrays: dict[str, NDArray[Any]]
    normalizer: Normalizer
    rng: dict[str, Any]
    counters: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write the file beside its name, onto the disk, and rename it: readers see the old or the new one."""
        meta = {
            "format": FORMAT,
            "version": VERSION,
            "config": self.config,
            "model": self.model.as_json(),
            "rng": self.rng,
            "counters": self.counters,
        }
        arrays = dict(self.arrays)
        for name, moments in (("observations", self.normalizer.observations), ("rewards", self.normalizer.rewards)):
            if moments is not None:
                arrays[f"normalizer_{name}"] = np.stack([np.full_like(moments.mean, moments.rows), *moments[1:]])
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, meta=np.array(json.dumps(meta)), **arrays)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def find(path: Path) -> Path:
    """Return the checkpoint file for a run's directory or a file; raises `CheckpointError` when there is none."""
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(f"found no checkpoint at {file}; expected a run's directory or a {FILE_NAME}")
    return file


def load(path: Path) -> Checkpoint:
    """Read a checkpoint from a run's directory or a file.

    Raises:
        CheckpointError: There is none, it is cut off or damaged, or something else wrote it.
    """
    file = find(path)
    try:
        if not zipfile.is_zipfile(file):  # numpy would take it for a pickle, and say how to load that
            raise zipfile.BadZipFile("it is no zip archive")
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        meta = json.loads(str(arrays.pop("meta")))
        found = (meta["format"], meta["version"])
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{file} is no checkpoint of raymon, or is cut off ({type(error).__name__}: {error}); "
            "expected a file that `raymon train` wrote"
        ) from error
    if found != (FORMAT, VERSION):
        raise CheckpointError(f"{file} is {found[0]} version {found[1]}, expected {FORMAT} version {VERSION}")
    return _build(file, meta, arrays)


def _build(file: Path, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Checkpoint:
    try:
        model = model_spec_from(meta["model"])
        normalizer = Normalizer.fresh(model.observation_size, observations=False, rewards=False)
        for name in ("observations", "rewards"):
            if (moments := arrays.pop(f"normalizer_{name}", None)) is not None:
                setattr(normalizer, name, Moments(float(moments[0, 0]), moments[1], moments[2]))
        if arrays["weights"].shape != (model.size(),):
            raise CheckpointError(
                f"{file} holds {arrays['weights'].shape[0]} weights, its model has {model.size()}: it is damaged"
            )
        return Checkpoint(meta["config"], model, arrays, normalizer, meta["rng"], meta["counters"])
    except (KeyError, TypeError, IndexError) as error:
        raise CheckpointError(f"{file} lacks or garbles {error}; it was written by something else") from error

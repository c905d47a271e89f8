"""Checkpoints: one npz file of plain arrays and JSON, replaced atomically; reading one runs no code in it.

A checkpoint may come from a stranger. Nothing in it is decompressed, and every announced size is compared with the
bytes that are there before memory is allocated.
"""

import contextlib
import json
import math
import os
import re
import shlex
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from raymon.errors import UserError
from raymon.format import one_line
from raymon.ppo.normalize import Moments, Normalizer
from raymon.ppo.policy import ModelSpec, model_spec_from

FORMAT: Final = "raymon-checkpoint"
VERSION: Final = 1
FILE_NAME: Final = "checkpoint.npz"
_MAX_ARRAYS: Final = 16
_NUMBER_OR_BOOLEAN: Final = re.compile(r"true|false|-?[0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_LARGEST_MOMENT: Final = 1e38
"""Workers get mean and deviation as 32-bit numbers."""
_COUNTERS: Final = ("update", "env_steps", "time_seconds", "episodes", "nonfinite_updates", "life")


class CheckpointError(UserError):
    """A file that is not a checkpoint, or a damaged one."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run needs to continue.

    Attributes:
        config: The run's options as plain data.
        model: The networks' shape.
        arrays: `weights` and the optimizer's state.
        normalizer: The totals of observations and rewards.
        rng: State of the learner's random number generator.
        counters: `update`, `env_steps`, `time_seconds`, `life` and the last 100 episodes.
    """

    config: dict[str, Any]
    model: ModelSpec
    arrays: dict[str, NDArray[Any]]
    normalizer: Normalizer
    rng: dict[str, Any]
    counters: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write the file atomically: readers see the old or the new one."""
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
        with replacing(path) as file:
            np.savez(file, allow_pickle=False, meta=np.array(json.dumps(meta)), **arrays)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that takes the name `path` once it is completely on the disk, and is removed after an error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_env(path: Path, env: str) -> None:
    """Raise `CheckpointError` if the environment that a checkpoint names may import a module or open a file or server.

    Words as arguments may: `xml_file=/path`, `env_id=module:Id-v0`. Numbers and booleans do not.
    """
    name, _, arguments = env.partition("?")
    values = [pair.partition("=")[2] for pair in arguments.split("&") if pair]
    if ":" in name or not all(map(_NUMBER_OR_BOOLEAN.fullmatch, values)):
        raise CheckpointError(
            f"{path} was trained in {one_line(env)}, which can import code, open a file or connect to a server; if you "
            f"trust it, repeat it: --env {shlex.quote(one_line(env))}"
        )


def find(path: Path) -> Path:
    """Return the checkpoint file for a run's directory or a file; raises `CheckpointError` if there is none."""
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(f"found no checkpoint at {file}; expected a run's directory or a {FILE_NAME}")
    return file


def load(path: Path) -> Checkpoint:
    """Read a checkpoint from a run's directory or a file.

    Raises:
        CheckpointError: There is none, it is truncated or damaged, or something else wrote it.
    """
    file = find(path)
    try:
        arrays = _read_arrays(file)
        meta = json.loads(str(arrays.pop("meta")))
        kind = (meta["format"], meta["version"])
        if kind != (FORMAT, VERSION):
            raise CheckpointError(f"{file} is {kind[0]} version {kind[1]}, expected {FORMAT} version {VERSION}")
        return _build(meta, arrays)
    except CheckpointError:
        raise
    except Exception as error:  # numpy, zipfile and json raise a dozen kinds of errors for damaged files
        raise CheckpointError(
            f"{file} is not a checkpoint of raymon, or is truncated ({type(error).__name__}: {str(error)[:200]}); "
            "expected a file that `raymon train` wrote"
        ) from error


def _read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    available = file.stat().st_size
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > _MAX_ARRAYS:
            raise ValueError(f"it holds {len(members)} arrays, expected at most {_MAX_ARRAYS}")
        arrays = {}
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > available:
                raise ValueError("it holds compressed data")
            with archive.open(member) as stream:
                arrays[member.filename.removesuffix(".npy")] = _read_array(stream, member.file_size)
    return arrays


def _read_array(stream: IO[bytes], size: int) -> NDArray[Any]:
    """Read one array of an npz archive, whose member has `size` bytes."""
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("it holds an array in another format than numpy writes for plain ones")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in "fU" or fortran_order or len(shape) > 2 or any(length < 0 for length in shape):
        raise ValueError(f"it holds an array of {dtype} {shape}")
    announced = math.prod(shape) * dtype.itemsize
    if announced > size:
        raise ValueError(f"it announces an array of {announced} bytes in {size}")
    content = stream.read(announced)
    return np.frombuffer(bytearray(content), dtype).reshape(shape)


def _build(meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Checkpoint:
    """Check every part and put them together; raises any error for a damaged one."""
    model = model_spec_from(meta["model"])
    normalizer = Normalizer.fresh(model.observation_size, observations=False, rewards=False)
    for name, width in (("observations", model.observation_size), ("rewards", 1)):
        if (moments := arrays.pop(f"normalizer_{name}", None)) is not None:
            if moments.shape != (3, width):
                raise ValueError(f"normalizer_{name} has the shape {moments.shape}, expected {(3, width)}")
            if (
                not (np.abs(moments) < _LARGEST_MOMENT).all() or (moments[[0, 2]] < 0).any()
            ):  # also what is not a number
                raise ValueError(f"normalizer_{name} holds numbers that cannot be totals")
            setattr(normalizer, name, Moments(float(moments[0, 0]), moments[1], moments[2]))
    for name in ("weights", "adam_exp_avg", "adam_exp_avg_sq"):
        if arrays[name].shape != (model.size(),) or arrays[name].dtype != np.float32:
            raise ValueError(f"{name} has the shape {arrays[name].shape}, the model has {model.size()} weights")
    if arrays["adam_step"].shape != ():
        raise ValueError(f"adam_step has the shape {arrays['adam_step'].shape}")
    np.random.default_rng().bit_generator.state = meta["rng"]
    counters = meta["counters"]
    numbers = [*(counters[name] for name in _COUNTERS), *counters["returns"], *counters["lengths"]]
    if not all(type(number) in (int, float) and 0 <= abs(number) < 2**63 for number in numbers):
        raise ValueError("its counters are not all numbers")
    if not isinstance(meta["config"], dict) or not isinstance(meta["config"].get("env"), str):
        raise ValueError("its options name no environment")
    return Checkpoint(meta["config"], model, arrays, normalizer, meta["rng"], counters)

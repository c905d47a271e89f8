"""Checkpoints: round trip, the format of 0.1.0, and files that are damaged, foreign or hostile."""

import contextlib
import dataclasses
import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROOT

from raymon.ppo.actions import ActionSpec
from raymon.ppo.normalize import Moments, Normalizer, moments_of
from raymon.ppo.policy import ModelSpec
from raymon.train import checkpoint
from raymon.train.checkpoint import Checkpoint, CheckpointError

COUNTERS = {
    "update": 7,
    "env_steps": 70,
    "time_seconds": 1.5,
    "episodes": 1,
    "nonfinite_updates": 0,
    "life": 0,
    "returns": [1.5],
    "lengths": [10],
}
RELEASE = ROOT / "tests" / "data" / "release-0.1.0"


@pytest.fixture
def saved():
    model = ModelSpec(3, ActionSpec("box", (1,), low=(-1.0,), high=(1.0,)), (4,))
    normalizer = Normalizer.fresh(3, observations=True, rewards=True)
    rng = np.random.default_rng(1)
    normalizer.add(moments_of(rng.normal(size=(50, 3))), moments_of(rng.normal(size=(50, 1))))
    names = ("weights", "adam_exp_avg", "adam_exp_avg_sq")
    arrays = {name: rng.normal(size=model.size()).astype(np.float32) for name in names}
    arrays["adam_step"] = np.array(3.0, np.float32)
    return Checkpoint({"env": "x"}, model, arrays, normalizer, dict(rng.bit_generator.state), COUNTERS)


def test_everything_comes_back(saved, tmp_path):
    saved.save(tmp_path / checkpoint.FILE_NAME)
    loaded = checkpoint.load(tmp_path)
    assert (loaded.config, loaded.model, loaded.counters) == (saved.config, saved.model, saved.counters)
    for name, array in saved.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
    np.testing.assert_allclose(loaded.normalizer.scaling().mean, saved.normalizer.scaling().mean)
    assert loaded.normalizer.rewards.rows == 50
    rng = np.random.default_rng()
    rng.bit_generator.state = loaded.rng
    expected = np.random.default_rng()
    expected.bit_generator.state = saved.rng
    assert rng.random() == expected.random()


def test_a_write_that_fails_leaves_the_old_file(saved, tmp_path, monkeypatch):
    path = tmp_path / checkpoint.FILE_NAME
    saved.save(path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        dataclasses.replace(saved, counters={**COUNTERS, "update": 8}).save(path)
    assert checkpoint.load(path).counters["update"] == 7
    assert [entry.name for entry in tmp_path.iterdir()] == [checkpoint.FILE_NAME]


def truncated(path, saved):
    saved.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def empty(path, _):
    path.write_bytes(b"")


def text(path, _):
    path.write_text("not a checkpoint")


def other_arrays(path, _):
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))


def other_format(path, _):
    with path.open("wb") as file:
        np.savez(file, meta=np.array(json.dumps({"format": "theirs", "version": 9})))


def shortened_weights(path, saved):
    dataclasses.replace(saved, arrays={**saved.arrays, "weights": np.zeros(3, np.float32)}).save(path)


def compressed(path, saved):
    """16 MB of zeros in 16 kB, where the weights should be."""
    with path.open("wb") as file:
        np.savez_compressed(file, meta=np.array("{}"), weights=np.zeros(1 << 22, np.float32))


def announced(path, saved):
    """A header that announces 4 TB."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.npy", content.getvalue())


def nested_json(path, saved):
    with path.open("wb") as file:
        np.savez(file, meta=np.array("[" * 100_000))


def impossible_totals(path, saved):
    rows, mean, squares = saved.normalizer.observations
    saved.normalizer.observations = Moments(rows, mean + 1e300, squares)
    saved.save(path)


def wrong_meta(**changes):
    def spoil(path, saved):
        dataclasses.replace(saved, **changes).save(path)

    return spoil


WRONG = [
    wrong_meta(counters={**COUNTERS, "update": "many"}),
    wrong_meta(counters={"update": 1}),
    wrong_meta(counters={**COUNTERS, "returns": [[1]]}),
    wrong_meta(rng={"bit_generator": "PCG64", "state": {}}),
    wrong_meta(config=[]),
    wrong_meta(config={"env": 3}),
    wrong_meta(model=ModelSpec(3, ActionSpec("box", (1,)), (4.5,))),
    wrong_meta(model=ModelSpec(3, ActionSpec("box", (1,), low=("a",), high=(1.0,)), (4,))),
    wrong_meta(model=ModelSpec(3, ActionSpec("text", (1,)), (4,))),
    wrong_meta(model=ModelSpec(3, ActionSpec("box", (1,)), (1 << 62,))),
]
SPOILT = [
    truncated,
    empty,
    text,
    other_arrays,
    other_format,
    shortened_weights,
    compressed,
    announced,
    nested_json,
    impossible_totals,
]


@pytest.mark.parametrize("spoil", [*SPOILT, *WRONG])
def test_a_spoilt_or_foreign_file_is_one_clear_error(spoil, saved, tmp_path):
    path = tmp_path / checkpoint.FILE_NAME
    spoil(path, saved)
    with pytest.raises(CheckpointError, match=checkpoint.FILE_NAME) as refused:
        checkpoint.load(path)
    assert "pickle" not in str(refused.value), "the message does not suggest unsafe loading"


@pytest.mark.parametrize(
    ("model", "part"),
    [
        (ModelSpec(3, ActionSpec("box", (1,)), (1,) * 65), "65 hidden layers"),
        (ModelSpec(3, ActionSpec("discrete", (1,) * 65_537), (1,)), "more than 65536 components"),
    ],
)
def test_sizes_are_bounded_before_they_are_used(model, part, saved, tmp_path):
    path = tmp_path / checkpoint.FILE_NAME
    wrong_meta(model=model)(path, saved)
    with pytest.raises(CheckpointError, match=part):
        checkpoint.load(path)


def test_every_truncation_is_an_error_and_not_something_else(saved, tmp_path):
    path = tmp_path / checkpoint.FILE_NAME
    saved.save(path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            checkpoint.load(path)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


def test_a_pickle_inside_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bomb.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "bomb.npz")
    with (tmp_path / "object.npz").open("wb") as file:
        np.savez(file, meta=np.array([Bomb()], dtype=object))
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "object.npz")
    assert not (tmp_path / "exploded").exists()


def test_a_missing_file_says_what_was_expected(tmp_path):
    with pytest.raises(CheckpointError, match="expected a run's directory"):
        checkpoint.load(tmp_path)


def test_a_checkpoint_of_0_1_0_loads():
    saved = checkpoint.load(RELEASE)
    assert saved.model.hidden == (8,)
    assert saved.counters["env_steps"] == 1723
    assert saved.normalizer.observations is not None


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 20_000), st.binary(min_size=1, max_size=8))
def test_any_damage_is_one_sentence(tmp_path_factory, position, content):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    whole = bytearray((RELEASE / checkpoint.FILE_NAME).read_bytes())
    start = position % len(whole)
    whole[start : start + len(content)] = content
    path.write_bytes(whole)
    with contextlib.suppress(CheckpointError):
        checkpoint.load(path)

"""RLlib's checkpoints in a run directory."""

from types import SimpleNamespace

import pytest

from raymon.train import rllib_engine


def test_checkpoint_that_does_not_fit_leaves_the_last_one_and_nothing_else(tmp_path):
    def save_to_path(folder, complete=True):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "state.pkl").write_text("half")
        if not complete:
            raise OSError(28, "No space left on device")

    rllib_engine._save(SimpleNamespace(save_to_path=save_to_path), SimpleNamespace(path=tmp_path))
    broken = SimpleNamespace(save_to_path=lambda folder: save_to_path(folder, complete=False))
    with pytest.raises(OSError, match="No space"):
        rllib_engine._save(broken, SimpleNamespace(path=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["rllib-checkpoint"]

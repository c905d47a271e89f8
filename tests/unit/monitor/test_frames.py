"""Whose code a frame is."""

from pathlib import Path

import pytest

import raymon
from raymon.monitor import frames

PACKAGE = Path(raymon.__file__).parent


@pytest.mark.parametrize("part", ["monitor", "rllib"])
def test_recording_is_not_the_users_code(part):
    files = sorted((PACKAGE / part).rglob("*.py"))
    assert files
    assert [str(file) for file in files if frames.is_users(str(file))] == []


@pytest.mark.parametrize("file", ["/home/me/trainer/env.py", "/work/raymon/train/trainer.py"])
def test_trainers_are_the_users_code(file):
    assert frames.is_users(file)

"""Options: two file formats, one sentence for every wrong file, and what a checkpoint may decide."""

import contextlib
import dataclasses
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROOT

from raymon import cli
from raymon.errors import UserError
from raymon.train import checkpoint, command, option_files, options
from raymon.train.checkpoint import CheckpointError
from raymon.train.evaluate import Evaluation
from raymon.train.options import Config, ConfigError
from raymon.train.ppo_engine import model_for

RELEASE = ROOT / "tests" / "data" / "release-0.1.0"


def test_options_survive_both_file_formats(tmp_path):
    config = Config(hidden=(32,), inject=("crash worker=0",), learning_rate=1e-4, target_kl=0.02, runs=Path('x "y"'))
    for name in ("options.yaml", "options.toml"):
        option_files.save(config, tmp_path / name)
        assert option_files.load(tmp_path / name) == config
        assert command.parse(["--config", str(tmp_path / name), "--seed", "9"]).seed == 9


@pytest.mark.parametrize(
    "text",
    [
        "nonsense: 1",
        "workers: many",
        "- 1",
        "workers: [",
        "seed: true",
        "stop_at_return: high",
        "hidden: [1, a]",
        "1: 2",
        "total_seconds: 2001-99-99",
        "sampler: {a: 1}",
        "name: [" + "[" * 3000,
        'address: "a\\0b"',
    ],
)
def test_a_wrong_options_file_is_one_sentence(text, tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"options\.yaml"):
        option_files.load(path)


def test_an_alias_bomb_is_refused_at_once(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{name}: &{name} [{', '.join([f'*{chr(ord(name) - 1)}'] * 9)}]" for name in "bcdefghi"]
    path = tmp_path / "options.yaml"
    path.write_text("\n".join(lines))
    began = time.perf_counter()
    with pytest.raises(ConfigError, match="alias"):
        option_files.load(path)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("text", ["[" * 30_000, "{a: " * 10_000, "? " * 30_000, "- " * 30_000])
def test_deep_nesting_is_refused_at_once(text, tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text(f"name: {text}" if text[0] in "[{" else text)
    began = time.process_time()
    with pytest.raises(ConfigError, match="16 deep"):
        option_files.load(path)
    assert time.process_time() - began < 1


def test_networks_that_no_machine_holds_are_refused():
    with pytest.raises(ConfigError, match="expected at most 100,000,000"):
        model_for(Config(env="CartPole-v1", hidden=(60_000, 60_000)))
    with pytest.raises(ConfigError, match="at most 64 sizes"):
        Config(hidden=(8,) * 65).check()


def test_an_escape_in_the_name_of_an_environment_reaches_no_terminal():
    assert "\x1b" not in Evaluation("a\x1b[2J", 1, False, [1.0], [1]).sentence()


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3)
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([field.name for field in dataclasses.fields(Config)]), VALUES, max_size=3))
def test_any_values_are_accepted_or_refused(plain):
    with contextlib.suppress(UserError):
        option_files.from_plain(yaml.safe_load(yaml.safe_dump(plain)), "here").check()


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ([], (14_000_000, 120.0)),
        (["--total-env-steps", "500"], (500, None)),
        (["--total-seconds", "5"], (None, 5.0)),
        (["--total-env-steps", "500", "--total-seconds", "5"], (500, 5.0)),
        (["--resume", str(RELEASE)], (1500, None)),
    ],
)
def test_limits_end_a_run(arguments, limits):
    config = command.parse(arguments)
    assert (config.max_env_steps, config.max_seconds) == limits


def changed_checkpoint(path, **changes):
    """Copy the run of 0.1.0 with other options in its checkpoint, as a stranger could."""
    shutil.copytree(RELEASE, path)
    saved = checkpoint.load(path)
    dataclasses.replace(saved, config={**saved.config, **changes}).save(path / checkpoint.FILE_NAME)
    return path


def test_a_checkpoint_decides_hyperparameters_only(tmp_path):
    hostile = {
        "address": "203.0.113.1:6379",
        "stack": True,
        "inject": ["crash"],
        "ray_temp_dir": "/tmp/theirs",
        "page_port": 81,
        "runs": "/tmp/elsewhere",
        "clip": 0.3,
    }
    path = changed_checkpoint(tmp_path / "run", **hostile)
    config = command.parse(["--resume", str(path)])
    assert (config.clip, config.hidden, config.env) == (0.3, (8,), "CartPole-v1")
    usual = Config(resume=path)
    for name in options.HOST_OPTIONS:
        assert getattr(config, name) == getattr(usual, name), name
    own = tmp_path / "own.yaml"
    option_files.save(Config(page_port=9000, clip=0.1), own)
    config = command.parse(["--resume", str(path), "--config", str(own)])
    assert (config.page_port, config.clip) == (9000, 0.3)


def test_every_option_is_decided_by_a_checkpoint_or_by_the_user():
    fields = {field.name for field in dataclasses.fields(Config)}
    assert fields == options.CHECKPOINT_OPTIONS | options.HOST_OPTIONS
    assert not options.CHECKPOINT_OPTIONS & options.HOST_OPTIONS


def test_a_checkpoint_starts_no_thousand_processes(tmp_path):
    path = changed_checkpoint(tmp_path / "run", workers=5000)
    with pytest.raises(CheckpointError, match="repeat --workers 5000"):
        command.parse(["--resume", str(path)])
    assert command.parse(["--resume", str(path), "--workers", "5000"]).workers == 5000


def test_arguments_of_a_checkpoints_environment_are_numbers(tmp_path):
    env = "LunarLander-v3?continuous=true&gravity=-8.5e0&wind=3"
    path = changed_checkpoint(tmp_path / "run", env=env)
    assert command.parse(["--resume", str(path)]).env == env


@pytest.mark.parametrize(
    "env",
    [
        "os:Thing-v0",
        "zmq://203.0.113.1:5555",
        "os:Thing-v0?a=1",
        "GymV26Environment-v0?env_id=os:Thing-v0",
        "Ant-v5?frame_skip=5&xml_file=/path",
        "Ant-v5?xml_file=..",
        "Ant-v5?a=[1]",
    ],
)
def test_code_and_servers_of_a_checkpoint_must_be_typed(tmp_path, env, capsys):
    path = changed_checkpoint(tmp_path / "run", env=env)
    with pytest.raises(CheckpointError, match="repeat it: --env"):
        command.parse(["--resume", str(path)])
    assert command.parse(["--resume", str(path), "--env", env]).env == env
    assert command.parse(["--resume", str(path), f"--env={env}"]).env == env
    assert cli.main(["evaluate", str(path)]) == 2
    assert "repeat it: --env" in capsys.readouterr().err


def test_a_run_of_0_1_0_is_evaluated_and_resumed(tmp_path, capsys):
    path = tmp_path / "release-0.1.0"
    shutil.copytree(RELEASE, path)
    assert cli.main(["evaluate", str(path), "--episodes", "2", "--as-json"]) == 0
    assert json.loads(capsys.readouterr().out)["trained_env_steps"] == 1723
    before = checkpoint.load(path).arrays["weights"]
    assert cli.main(["train", "--resume", str(path), "--total-env-steps", "2500", "--exit-when-done"]) == 0
    rows = [json.loads(line) for line in (path / "progress.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["env_steps"] >= 2500
    assert not np.array_equal(checkpoint.load(path).arrays["weights"], before)

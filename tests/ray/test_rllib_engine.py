"""`raymon train --engine rllib`: the same options, environments and records."""

import json
import subprocess
import sys

import pytest
from support import Command, short_folder

from raymon import cli

RESTORE = """
import pathlib, sys
from ray.rllib.core.rl_module.rl_module import RLModule
learner = pathlib.Path(sys.argv[1]) / "learner_group" / "learner"
module = RLModule.from_checkpoint(learner / "rl_module" / "default_policy")
print(module.action_space.n)
"""


def test_it_trains_and_writes_the_same_records(tmp_path):
    with (
        short_folder() as temporary,
        Command(
            "train",
            "--engine",
            "rllib",
            "--env",
            "CartPole-v1?max_episode_steps=100",
            "--total-env-steps",
            "600",
            "--workers",
            "1",
            "--envs-per-worker",
            "4",
            "--fragment-steps",
            "32",
            "--minibatch",
            "1000",
            "--epochs",
            "1",
            "--no-page",
            "--no-dashboard",
            "--exit-when-done",
            "--name",
            "engine",
            "--ray-temp-dir",
            str(temporary),
            cwd=tmp_path,
        ) as command,
    ):
        assert command.wait(280) == 0, command.text()
        assert "update 1" in command.text()
        assert "\nfinished: " in command.text()
        restored = subprocess.run(
            [sys.executable, "-c", RESTORE, str(tmp_path / "runs/engine/rllib-checkpoint")],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert restored.stdout.split() == ["2"], restored.stderr
    folder = tmp_path / "runs" / "engine"
    rows = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["env_steps"] >= 600
    assert {"policy", "value", "total"} == set(rows[-1]["loss"])
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["engine"], summary["state"], summary["updates"]) == ("rllib", "finished", len(rows))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--inject", "crash worker=0"], "--inject works with --engine own only"),
        (["--env", "zmq://127.0.0.1:5555"], "takes gymnasium ids"),
    ],
)
def test_unsupported_rllib_options_are_refused(options, said, capsys):
    assert cli.main(["train", "--engine", "rllib", *options]) == 2
    assert said in capsys.readouterr().err

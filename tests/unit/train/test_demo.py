"""`raymon demo`: every scene is one the trainer accepts, and one of them is played."""

import json

import pytest
from support import ROOT, Command, poll, short_folder

from raymon.ppo.faults import DRIVER_FAULTS, WORKER_FAULTS
from raymon.train import command
from raymon.train.demo import SCENES, main, train_arguments


def test_every_fault_of_the_trainer_has_a_scene():
    assert set(SCENES) == {*WORKER_FAULTS, *DRIVER_FAULTS, "none"}


@pytest.mark.parametrize("fault", SCENES)
def test_every_scene_is_accepted_by_the_trainer(fault):
    config = command.parse(train_arguments(fault, 20.0, ["--no-page", "--workers", "3"]))
    config.check()
    assert config.workers == 3  # what the user gives wins
    assert not config.page
    assert [f.kind for f in config.faults] == ([] if fault == "none" else [fault])
    assert all(f.after == 20.0 for f in config.faults)
    assert config.total_env_steps >= 900_000


def test_wrong_use_is_told(capsys):
    for arguments, part in ((["--fault", "gremlins"], "invalid choice: 'gremlins'"), (["--after", "-3"], "0 or more")):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert part in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(scene.look.split()[0] in shown for scene in SCENES.values())


def test_the_crash_scene_is_played_to_its_end():
    with short_folder() as folder:
        options = [
            "--fault",
            "crash",
            "--after",
            "1",
            "--no-page",
            "--no-dashboard",
            "--name",
            "d",
            "--workers",
            "2",
            "--total-env-steps",
            "1000000000",
            "--runs",
            str(folder / "runs"),
            "--ray-temp-dir",
            str(folder / "ray"),
        ]
        with Command("demo", *options, cwd=ROOT) as demo:
            poll(lambda: demo.text().count("worker 1 lost (killed)") >= 3, 200, "three losses")
            demo.interrupt()
            assert demo.wait(60) == 130, demo.text()
            text = demo.text()
        summary = json.loads((folder / "runs/d/summary.json").read_text())
    assert "From 1 seconds on: worker 1 is killed three times" in text
    assert summary["ledger"]["losses"] == {"killed": 3}
    assert summary["ledger"]["restarts"] in (2, 3)
    assert summary["ledger"]["balanced"]

"""`raymon demo`: every scene is one the trainer accepts."""

import pytest

from raymon.ppo.faults import DRIVER_FAULTS, WORKER_FAULTS
from raymon.train import command
from raymon.train.demo import DEMONSTRATIONS, main, train_arguments


def test_every_fault_of_the_trainer_has_a_scene():
    assert set(DEMONSTRATIONS) == {*WORKER_FAULTS, *DRIVER_FAULTS, "none"}


@pytest.mark.parametrize("fault", DEMONSTRATIONS)
def test_every_scene_is_accepted_by_the_trainer(fault):
    config = command.parse(train_arguments(fault, 20.0, ["--no-page", "--workers", "3"]))
    config.check()
    assert config.workers == 3  # what the user gives wins
    assert not config.page
    assert [f.kind for f in config.faults] == ([] if fault == "none" else [fault])
    assert all(f.after == 20.0 for f in config.faults)
    assert config.total_env_steps >= 900_000


def test_wrong_use_is_explained(capsys):
    for arguments, part in ((["--fault", "gremlins"], "invalid choice: 'gremlins'"), (["--after", "-3"], "0 or more")):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert part in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(scene.look.split()[0] in shown for scene in DEMONSTRATIONS.values())

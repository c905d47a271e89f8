"""`raymon evaluate` on checkpoints that `raymon train` wrote."""

import json

import numpy as np
import pytest

from raymon import cli
from raymon.train import checkpoint
from raymon.train.evaluate import Player, play


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A CartPole run in this process, good enough to beat chance by far."""
    folder = tmp_path_factory.mktemp("evaluate")
    options = [
        "--env",
        "CartPole-v1",
        "--workers",
        "0",
        "--sampler",
        "sync",
        "--total-env-steps",
        "150000",
        "--seed",
        "3",
        "--no-page",
        "--exit-when-done",
        "--runs",
        str(folder),
        "--name",
        "cart",
    ]
    assert cli.main(["train", *options]) == 0
    return folder / "cart"


def evaluate(capsys, *arguments):
    capsys.readouterr()
    code = cli.main(["evaluate", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_statistics_are_those_of_the_episodes(run, capsys):
    code, out, _ = evaluate(capsys, run, "--episodes", 11, "--as-json")
    assert code == 0
    result = json.loads(out)
    returns = np.array(result["returns"])
    assert result["episodes"] == len(returns) == len(result["lengths"]) == 11
    assert result["returns"] == result["lengths"]  # CartPole pays 1 a step: the reset step is neither paid nor counted
    assert result["return_mean"] == pytest.approx(returns.mean())
    assert result["return_std"] == pytest.approx(returns.std())
    assert (result["return_min"], result["return_max"]) == (returns.min(), returns.max())
    assert result["return_median"] == pytest.approx(np.median(returns))
    assert result["return_mean"] > 150  # chance makes about 22
    assert result["trained_env_steps"] >= 150_000


def test_the_same_seed_gives_the_same_episodes(run, capsys):
    outputs = [
        evaluate(capsys, run / "checkpoint.npz", "--episodes", 5, "--seed", seed, "--sample", "--as-json")[1]
        for seed in (1, 1, 2)
    ]
    assert outputs[0] == outputs[1] != outputs[2]


def test_the_sentence_names_environment_steps_and_statistics(run, capsys):
    code, out, _ = evaluate(capsys, run, "--episodes", 3)
    assert code == 0
    for part in ("CartPole-v1", "3 episodes with most likely actions", "return", "min", "median", "max"):
        assert part in out


@pytest.mark.parametrize("name", ["episode.gif", "episode.mp4"])
def test_an_episode_is_recorded_as_video(run, capsys, tmp_path, name):
    import imageio.v3 as imageio

    code, out, _ = evaluate(capsys, run, "--episodes", 1, "--max-steps", 60, "--render", tmp_path / name)
    assert code == 0
    assert name in out
    frames = (
        imageio.imread(tmp_path / name, index=None)
        if name.endswith("gif")
        else imageio.imread(tmp_path / name, plugin="pyav")
    )
    assert 10 < len(frames) <= 61
    assert frames.shape[1:] == (200, 300, 3)
    assert np.ptp(frames[0]) > 100  # something is drawn
    assert (frames != frames[0]).any()  # and it moves
    assert (tmp_path / name).stat().st_size < 300_000


def test_short_episodes_are_not_favoured():
    class Uneven:
        """Environment 0 plays episodes of 1 step, environment 1 of 10; each step pays 1."""

        num_envs = 2

        def reset(self):
            self.count = np.zeros(2, int)
            self.over = np.zeros(2, bool)
            return np.zeros((2, 1), np.float32), {}

        def step(self, actions):
            self.count = np.where(self.over, 0, self.count + 1)
            rewards = np.where(self.over, 0.0, 1.0)
            self.over = (self.count == [1, 10]) & ~self.over
            return np.zeros((2, 1), np.float32), rewards, self.over, np.zeros(2, bool), {}

    class Anyone:
        def act(self, observations):
            return np.zeros(len(observations))

    returns, lengths = play(Anyone(), Uneven(), 4, 1000)
    assert sorted(returns) == sorted(map(float, lengths)) == [1.0, 1.0, 10.0, 10.0]
    assert sorted(play(Anyone(), Uneven(), 3, 5)[1]) == [1, 1, 5]


def test_observations_are_normalised_as_in_training(run):
    saved = checkpoint.load(run)
    player = Player(saved, False, 1)
    tilted = np.array([[0.0, 0.0, 0.05, 0.3], [0.0, 0.0, -0.05, -0.3]], np.float32)
    assert player.act(tilted).tolist() == [1, 0]  # push to the side the pole falls to
    from raymon.ppo.normalize import Moments, Normalizer

    mirrored = Normalizer(Moments(10.0, tilted[0] * 2, np.full(4, 10.0)), None, 4)
    saved = checkpoint.Checkpoint(saved.config, saved.model, saved.arrays, mirrored, saved.rng, saved.counters)
    assert Player(saved, False, 1).act(tilted).tolist() == [0, 0]


def test_evaluation_errors_say_what_to_do(run, capsys, tmp_path):
    (tmp_path / "cut.npz").write_bytes((run / "checkpoint.npz").read_bytes()[:3000])
    cases = [
        ([tmp_path / "missing"], "found no checkpoint"),
        ([tmp_path / "cut.npz"], "not a checkpoint of raymon, or is truncated"),
        ([run, "--env", "Acrobot-v1"], "observations of 6 entries"),
        ([run, "--env", "CartPole-v7"], "unknown environment 'CartPole-v7'; nearest: CartPole-v1"),
        ([run, "--episodes", 0], "expected at least 1"),
        ([run, "--render", tmp_path / "film.avi"], "ends in .gif or .mp4"),
        ([run, "--render", tmp_path / "no/film.gif"], "there is no folder"),
    ]
    for arguments, part in cases:
        code, out, err = evaluate(capsys, *arguments)
        assert (code, out) == (2, ""), arguments
        assert part in err
        assert err.startswith("raymon evaluate: ")
        assert "Traceback" not in err


def test_an_environment_that_cannot_render_is_refused(tmp_path, capsys):
    options = [
        "--env",
        "raymon/Simulated-v0?low_seconds=0&high_seconds=0",
        "--workers",
        "0",
        "--sampler",
        "sync",
        "--total-env-steps",
        "2000",
        "--no-page",
        "--exit-when-done",
        "--runs",
        str(tmp_path),
        "--name",
        "s",
    ]
    assert cli.main(["train", *options]) == 0
    code, _, err = evaluate(capsys, tmp_path / "s", "--episodes", 1, "--render", tmp_path / "film.gif")
    assert code == 2
    assert "which can draw nothing, expected rgb_array" in err

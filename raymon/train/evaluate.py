"""`raymon evaluate`: play episodes with a checkpoint's policy, print statistics of their returns, record a video.

Needs neither Ray nor torch. Exit codes: 0 played, 2 wrong use or a checkpoint or environment that cannot be used.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gymnasium
import numpy as np
import tyro
from numpy.typing import NDArray

from raymon.envs import EnvError, make_vector
from raymon.envs.make import make_single, split_arguments
from raymon.envs.remote import SCHEME
from raymon.envs.spaces import action_form, observation_form
from raymon.envs.vector import Vector
from raymon.format import one_line
from raymon.ppo.actions import Floats, action_spec
from raymon.ppo.policy import Policy
from raymon.train import checkpoint, video
from raymon.train.checkpoint import Checkpoint
from raymon.train.video import VideoError

_AT_ONCE: Final = 8
_USUAL_RATE: Final = 30.0


@dataclass(frozen=True)
class EvaluateOptions:
    """Play episodes with a trained policy and print the statistics of their returns."""

    path: tyro.conf.Positional[Path]
    """A run's directory or a checkpoint file."""
    episodes: int = 20
    """How many episodes to play."""
    seed: int = 1_000_003
    """Seed of environments and actions; training is unlikely to use the default."""
    sample: bool = False
    """Sample actions as in training, instead of taking the most likely one."""
    env: str = ""
    """Play in another environment with the same spaces; empty takes the one it was trained in."""
    render: Path | None = None
    """Record one more episode to a .gif or .mp4 file."""
    max_steps: int = 100_000
    """Cut an episode after this many steps; the environment's next one continues from there."""
    as_json: bool = False
    """Print the result as one JSON object."""


@dataclass(frozen=True)
class Evaluation:
    """The episodes of one evaluation."""

    env: str
    trained_env_steps: int
    sampled: bool
    returns: list[float]
    lengths: list[int]

    def as_plain(self) -> dict[str, Any]:
        """Return statistics and all returns as plain data."""
        returns = np.array(self.returns)
        return {
            "env": self.env,
            "trained_env_steps": self.trained_env_steps,
            "sampled": self.sampled,
            "episodes": len(self.returns),
            "return_mean": float(returns.mean()),
            "return_std": float(returns.std()),
            "return_min": float(returns.min()),
            "return_median": float(np.median(returns)),
            "return_max": float(returns.max()),
            "length_mean": float(np.mean(self.lengths)),
            "returns": self.returns,
            "lengths": self.lengths,
        }

    def sentence(self) -> str:
        """Return the statistics as text."""
        plain = self.as_plain()
        return (
            f"{one_line(self.env)}, trained for {self.trained_env_steps:,} steps, {plain['episodes']} episodes with "
            f"{'sampled' if self.sampled else 'most likely'} actions\n"
            f"return {plain['return_mean']:,.1f} ± {plain['return_std']:,.1f}  (min {plain['return_min']:,.1f}, "
            f"median {plain['return_median']:,.1f}, max {plain['return_max']:,.1f}), "
            f"length {plain['length_mean']:,.1f}"
        )


class Player:
    """A checkpoint's policy as a function from observations to actions."""

    def __init__(self, saved: Checkpoint, sample: bool, seed: int) -> None:
        self.model = saved.model
        self._policy = Policy(saved.model)
        self._policy.load(saved.arrays["weights"])
        self._scaling = saved.normalizer.scaling()
        self._rng = np.random.default_rng(seed) if sample else None

    def act(self, observations: Floats) -> NDArray[Any]:
        """Return actions for the environments' observations `[N, D]`."""
        seen = observations if self._scaling is None else self._scaling.apply(observations)
        head = self._policy.head(seen, np.empty((len(seen), self.model.head_size), np.float32))
        if self._rng is None:
            actions = self._policy.mode(head)
        else:
            actions = self._policy.choose(head, self._policy.noise(self._rng, (len(seen),)))
        return self.model.actions.to_environment(actions)


def main(arguments: list[str]) -> int:
    """Run `raymon evaluate`."""
    options = tyro.cli(EvaluateOptions, args=arguments, prog="raymon evaluate")
    result = evaluate(options)
    print(json.dumps(result.as_plain()) if options.as_json else result.sentence())
    if options.render is not None and not options.as_json:
        print(f"video of one episode in {options.render}")
    return 0


def evaluate(options: EvaluateOptions) -> Evaluation:
    """Play the episodes and return their statistics.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        EnvError: The environment cannot be used or does not fit the checkpoint.
        VideoError: The video cannot be recorded.
    """
    if options.episodes < 1 or options.max_steps < 1:
        raise EnvError(f"found {options.episodes} episodes of {options.max_steps} steps, expected at least 1 of each")
    if options.render is not None:
        video.check(options.render)
    saved = checkpoint.load(options.path)
    env = options.env or saved.config["env"]
    if not options.env:
        checkpoint.check_env(options.path, env)
    camera = with_pictures(env) if options.render is not None else None
    player = Player(saved, options.sample, options.seed)
    at_once = 1 if env.startswith(SCHEME) else min(_AT_ONCE, options.episodes)
    vector = make_vector(env, at_once, seed=options.seed, worker=0)
    try:
        _check_fit(env, vector, saved)
        returns, lengths = play(player, vector, options.episodes, options.max_steps)
    finally:
        vector.close()
    if options.render is not None and camera is not None:
        frames = watch(player, camera, options.seed, options.max_steps)
        video.write(options.render, frames, float(camera.metadata.get("render_fps", _USUAL_RATE)))
    return Evaluation(env, int(saved.counters["env_steps"]), options.sample, returns, lengths)


def _check_fit(env: str, vector: Vector, saved: Checkpoint) -> None:
    size = int(vector.single_observation_space.shape[0])
    actions = action_spec(vector.single_action_space, saved.model.actions.bounds)
    if size != saved.model.observation_size or actions != saved.model.actions:
        raise EnvError(
            f"{env} has observations of {size} entries and actions {actions.sizes}; the checkpoint expects "
            f"{saved.model.observation_size} and {saved.model.actions.sizes}: name the environment it was trained in"
        )


def play(player: Player, vector: Vector, episodes: int, max_steps: int) -> tuple[list[float], list[int]]:
    """Play episodes and return their returns and lengths.

    Each environment plays a fixed number of episodes: taking those that end first would favour short ones.
    """
    count = vector.num_envs
    left = np.array([episodes // count + (number < episodes % count) for number in range(count)])
    observations, _ = vector.reset()
    totals, lengths, resetting = np.zeros(count), np.zeros(count, np.int64), np.zeros(count, bool)
    finished: list[tuple[float, int]] = []
    while left.any():
        observations, rewards, terminated, truncated, _ = vector.step(player.act(observations))
        totals += rewards
        lengths += ~resetting
        resetting = terminated | truncated
        for number in np.flatnonzero(resetting | (lengths >= max_steps)):
            if left[number]:
                finished.append((float(totals[number]), int(lengths[number])))
                left[number] -= 1
            totals[number], lengths[number] = 0.0, 0
    return [total for total, _ in finished], [length for _, length in finished]


def with_pictures(env_id: str) -> gymnasium.Env[Any, Any]:
    """Make an environment that renders images; raise `VideoError` if it cannot."""
    if env_id.startswith(SCHEME):
        raise VideoError(
            f"found --render with {env_id}, expected an environment of this process: remote ones send no images"
        )
    for kind in ("VIDEO", "AUDIO"):  # pygame renders into memory, without screen or sound
        os.environ.setdefault(f"SDL_{kind}DRIVER", "dummy")
    name, arguments = split_arguments(env_id)
    plain = make_single(name, arguments)
    modes = plain.metadata.get("render_modes", [])
    plain.close()  # type: ignore[no-untyped-call]  # not annotated in gymnasium
    if "rgb_array" not in modes:
        raise VideoError(f"found --render with {env_id}, which can draw {modes or 'nothing'}, expected rgb_array")
    return make_single(name, {**arguments, "render_mode": "rgb_array"})


def watch(player: Player, env: gymnasium.Env[Any, Any], seed: int, max_steps: int) -> list[NDArray[np.uint8]]:
    """Play one episode and return its frames; raise `VideoError`."""
    observe, act = observation_form(env.observation_space), action_form(env.action_space)
    try:
        seen, _ = env.reset(seed=seed)
        frames: list[Any] = [env.render()]
        for _ in range(max_steps):
            action = act.split(player.act(observe.row(seen)[np.newaxis]))[0]
            seen, _, terminated, truncated, _ = env.step(action)
            frames.append(env.render())
            if terminated or truncated:
                break
    except Exception as error:
        raise VideoError(f"the episode cannot be recorded: {type(error).__name__}: {error}") from error
    finally:
        env.close()  # type: ignore[no-untyped-call]  # not annotated in gymnasium
    return frames

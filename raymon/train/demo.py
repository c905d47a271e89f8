"""`raymon demo`: a small run with one injected fault, so that page and dashboards show what trouble looks like.

A table of faults to options of `raymon train`, which does the rest; options given here are handed on and win.
"""

import argparse
from typing import Final, NamedTuple


class Scene(NamedTuple):
    """One demonstration.

    Attributes:
        inject: The fault, without its beginning; empty for none.
        look: What there is to see, and where.
        options: Options of `raymon train` beyond the usual ones.
    """

    inject: str
    look: str
    options: tuple[str, ...] = ()


# Sleeping environments leave the machine free, so that only the injected trouble shows; five minutes of them.
_SIMULATED: Final = (
    "--env",
    "raymon/Simulated-v0?low_seconds=0.005&high_seconds=0.015",
    "--workers",
    "4",
    "--envs-per-worker",
    "8",
    "--fragment-steps",
    "32",
    "--total-env-steps",
    "900000",
)
_CARTPOLE: Final = ("--env", "CartPole-v1", "--workers", "2", "--total-env-steps", "20000000")

SCENES: Final = {
    "none": Scene("", "nothing is wrong: the picture to compare the others with", _SIMULATED),
    "slow": Scene(
        "slow worker=1 factor=5", "worker 1 turns slow: its rollouts take five times as long as the others'", _SIMULATED
    ),
    "hang": Scene(
        "hang worker=1",
        "worker 1 stands still and turns stalled; after 30 seconds it is replaced",
        (*_SIMULATED, "--worker-timeout", "30"),
    ),
    "crash": Scene(
        "crash worker=1 times=3", "worker 1 is killed three times, counted and replaced; the others go on", _SIMULATED
    ),
    "env-error": Scene(
        "env-error worker=1 times=3", "the environment of worker 1 raises; the worker is replaced", _SIMULATED
    ),
    "leak": Scene("leak worker=1 mb=10", "the memory of worker 1 grows by 10 MB a second", _SIMULATED),
    "ref-leak": Scene(
        "ref-leak mb=2", "the driver keeps object references: held bytes and the age of the oldest grow", _SIMULATED
    ),
    "slow-learner": Scene(
        "slow-learner factor=5",
        "learning takes most of the time, the workers wait: the learner is the limit",
        _CARTPOLE,
    ),
    "nan-loss": Scene(
        "nan-loss times=5", "losses that are not finite: those updates are skipped and counted", _CARTPOLE
    ),
}


def main(arguments: list[str]) -> int:
    """Run `raymon demo`; the exit code is that of the training run."""
    parser = argparse.ArgumentParser(
        prog="raymon demo",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Start a small run with one injected fault, to see on page and dashboards what trouble looks like.",
        epilog="\n".join(
            [
                "faults:",
                *(f"  {name:<13} {scene.look}" for name, scene in SCENES.items()),
                "",
                "Every other option goes to raymon train, for example --page-port 8600, --stack or --sampler sync.",
            ]
        ),
    )
    parser.add_argument("--fault", choices=tuple(SCENES), default="slow", help="what goes wrong (default: %(default)s)")
    parser.add_argument("--after", type=float, default=20.0, help="seconds of training before it does (default: 20)")
    options, rest = parser.parse_known_args(arguments)
    if not 0 <= options.after < float("inf"):
        parser.error(f"found --after {options.after}, expected seconds, 0 or more")
    from raymon.train import command

    scene = SCENES[options.fault]
    begins = f" From {options.after:g} seconds on" if scene.inject else ""
    print(f"raymon demo: {options.fault}.{begins or ' Look'}: {scene.look}.", flush=True)
    return command.main(train_arguments(options.fault, options.after, rest))


def train_arguments(fault: str, after: float, rest: list[str]) -> list[str]:
    """Return the arguments of `raymon train` for a fault; `rest` comes last and therefore wins."""
    scene = SCENES[fault]
    inject = ("--inject", f"{scene.inject} after={after:g}s") if scene.inject else ()
    return [*scene.options, *inject, *rest]

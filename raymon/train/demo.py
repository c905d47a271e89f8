"""`raymon demo`: a small run with one injected fault, to show what a problem looks like on page and dashboards.

It maps faults to options of `raymon train`; the user's own options are passed on and take precedence.
"""

import argparse
from typing import Final, NamedTuple


class Demonstration(NamedTuple):
    """One demonstration.

    Attributes:
        inject: The fault without `after`; empty for none.
        look: What to look at.
        options: Further options of `raymon train`.
    """

    inject: str
    look: str
    options: tuple[str, ...] = ()


# Environments that sleep leave the machine idle, so that only the injected fault shows; for five minutes.
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

DEMONSTRATIONS: Final = {
    "none": Demonstration("", "no fault, to compare the others with", _SIMULATED),
    "slow": Demonstration(
        "slow worker=1 factor=5", "worker 1 is slow: its rollouts take five times as long as the others'", _SIMULATED
    ),
    "hang": Demonstration(
        "hang worker=1",
        "worker 1 hangs and becomes stalled; after 30 seconds it is replaced",
        (*_SIMULATED, "--worker-timeout", "30"),
    ),
    "crash": Demonstration(
        "crash worker=1 times=3", "worker 1 is killed three times and replaced; the others continue", _SIMULATED
    ),
    "env-error": Demonstration(
        "env-error worker=1 times=3", "the environment of worker 1 raises; the worker is replaced", _SIMULATED
    ),
    "leak": Demonstration("leak worker=1 mb=10", "the memory of worker 1 grows by 10 MB a second", _SIMULATED),
    "ref-leak": Demonstration(
        "ref-leak mb=2", "the driver keeps object references: held bytes and the age of the oldest grow", _SIMULATED
    ),
    "slow-learner": Demonstration(
        "slow-learner factor=5",
        "learning takes most of the time, the workers wait: the learner is the limit",
        _CARTPOLE,
    ),
    "nan-loss": Demonstration(
        "nan-loss times=5", "losses that are not finite: those updates are skipped and counted", _CARTPOLE
    ),
}


def main(arguments: list[str]) -> int:
    """Run `raymon demo`; the exit code is that of the training run."""
    parser = argparse.ArgumentParser(
        prog="raymon demo",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Start a small run with one injected fault, to see it on the status page and dashboards.",
        epilog="\n".join(
            [
                "faults:",
                *(f"  {name:<13} {demonstration.look}" for name, demonstration in DEMONSTRATIONS.items()),
                "",
                "Every other option goes to raymon train, for example --page-port 8600, --stack or --sampler sync.",
            ]
        ),
    )
    parser.add_argument(
        "--fault", choices=tuple(DEMONSTRATIONS), default="slow", help="the fault (default: %(default)s)"
    )
    parser.add_argument("--after", type=float, default=20.0, help="seconds of training before the fault (default: 20)")
    options, rest = parser.parse_known_args(arguments)
    if not 0 <= options.after < float("inf"):
        parser.error(f"found --after {options.after}, expected seconds, 0 or more")
    from raymon.train import command

    demonstration = DEMONSTRATIONS[options.fault]
    begins = f" From {options.after:g} seconds on" if demonstration.inject else ""
    print(f"raymon demo: {options.fault}.{begins or ' Look'}: {demonstration.look}.", flush=True)
    return command.main(train_arguments(options.fault, options.after, rest))


def train_arguments(fault: str, after: float, rest: list[str]) -> list[str]:
    """Return the arguments of `raymon train` for a fault; `rest` comes last and takes precedence."""
    demonstration = DEMONSTRATIONS[fault]
    inject = ("--inject", f"{demonstration.inject} after={after:g}s") if demonstration.inject else ()
    return [*demonstration.options, *inject, *rest]

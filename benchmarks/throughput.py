"""Measures raymon's training speed on CartPole-v1, including learning, and the cost of recording.

python -m benchmarks.throughput                  # rates, seconds to 475, recording on and off in pairs
python -m benchmarks.throughput --scaling        # workers and environments per worker, shares of the wall time
python -m benchmarks.throughput --steps 100000 --rounds 1   # a quick look
"""

import argparse
from typing import Any

from benchmarks.training import FAST, WIDE, machine, median, steady_rate, train

SOLVED = 475.0


def rates(steps: int, rounds: int) -> None:
    """Print the rate of each setting; median over the rounds."""
    print("| setting | env steps/s | learn | sample | other | mean return |\n|---|---|---|---|---|---|")
    slow = max(1000, steps // 200)
    settings: dict[str, tuple[dict[str, Any], int]] = {
        "async, 2 x 32": (FAST, steps),
        "async, 2 x 128": (WIDE, steps),
        "sync, 2 x 32": ({**FAST, "sampler": "sync"}, steps),
        "step, 4 x 1": ({"workers": 4, "sampler": "step", "fragment-steps": 64, "minibatch": 256}, slow),
    }
    for name, (setting, target) in settings.items():
        runs = [train({**setting, "seed": seed, "total-env-steps": target})[0] for seed in range(1, rounds + 1)]
        rate = median([steady_rate(run) for run in runs])
        learn, sample = (median([share(run, phase) for run in runs]) for phase in ("learn", "sample"))
        returned = median([run["return_mean"] for run in runs])
        print(f"| {name} | {rate:,.0f} | {learn:.0%} | {sample:.0%} | {1 - learn - sample:.0%} | {returned:.0f} |")


def share(run: dict[str, Any], phase: str) -> float:
    """Return a phase's share of the driver's time."""
    seconds = run["phase_seconds"]
    return float(seconds.get(phase, 0.0) / sum(seconds.values()))


def solving(rounds: int) -> None:
    """Print the time to a mean return of 475 over 100 episodes."""
    setting = {**FAST, "anneal": False, "total-env-steps": 2_000_000, "stop-at-return": SOLVED, "checkpoint-every": 0}
    runs = [train({**setting, "seed": seed})[0] for seed in range(1, rounds + 1)]
    seconds = [run["time_seconds"] for run in runs]
    steps = [run["env_steps"] for run in runs]
    print(
        f"\nto a mean return of {SOLVED:g}: median {median(seconds):.2f} s and {median(steps):,.0f} steps "
        f"after start-up (seeds 1 to {rounds}: {', '.join(f'{value:.2f}' for value in seconds)} s)"
    )


def recording(steps: int, rounds: int) -> None:
    """Print the effect of recording on the rate and on the CPU time of all processes, in pairs of alternating order."""
    ratios, costs = [], []
    for number in range(rounds):
        pair = {}
        for on in (True, False) if number % 2 else (False, True):
            pair[on], _ = train({**FAST, "total-env-steps": steps, "recording": on, "seed": number + 1})
        ratios.append(steady_rate(pair[True]) / steady_rate(pair[False]))
        costs.append(pair[True]["cpu_seconds"] / pair[False]["cpu_seconds"])
    for what, measured in (("steps/s", ratios), ("CPU seconds of the driver, the workers and all of Ray", costs)):
        print(
            f"\n{what}, recording on / off: median {median(measured):.3f} of {rounds} pairs "
            f"({', '.join(f'{ratio:.3f}' for ratio in measured)})"
        )


def scaling(steps: int) -> None:
    """Print rates and shares by number of workers and environments per worker."""
    print("| workers | envs per worker | env steps/s | learn | transfer | waiting |\n|---|---|---|---|---|---|")
    for workers in (1, 2, 4):
        for envs in (8, 32, 128):
            run, _ = train({**FAST, "workers": workers, "envs-per-worker": envs, "total-env-steps": steps})
            parts = " | ".join(f"{share(run, phase):.0%}" for phase in ("learn", "transfer", "sample"))
            print(f"| {workers} | {envs} | {steady_rate(run):,.0f} | {parts} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2_000_000, help="environment steps per run")
    parser.add_argument("--rounds", type=int, default=5, help="runs per setting")
    parser.add_argument("--only", choices=("rates", "solving", "recording"), help="one of the three measurements")
    parser.add_argument("--scaling", action="store_true", help="the scaling table instead")
    args = parser.parse_args()
    print(machine(), "\n")
    if args.scaling:
        scaling(args.steps)
        return
    if args.only in (None, "rates"):
        rates(args.steps, args.rounds)
    if args.only in (None, "solving"):
        solving(args.rounds)
    if args.only in (None, "recording"):
        recording(args.steps, args.rounds)


if __name__ == "__main__":
    main()

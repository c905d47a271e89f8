"""Feed changed inputs to every parser of data from outside; exits with 1 if one broke an invariant.

python -m fuzz --inputs 1000000 --seed 1
"""

import argparse
import math
import multiprocessing
import sys

from fuzz.harness import MOST_CPU_SECONDS, MOST_GROWTH_BYTES, block_of
from fuzz.harnesses import HARNESSES, feed


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="of all harnesses together (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all random numbers (default: %(default)s)")
    parser.add_argument(
        "--harness", choices=sorted(HARNESSES), action="append", help="only this one; repeat for several"
    )
    parser.add_argument("--only", type=int, help="feed this input again, after those of its block before it")
    parser.add_argument("--processes", type=int, default=1, help="at the same time (default: %(default)s)")
    return parser


def main() -> int:
    """Run the command."""
    args = build_parser().parse_args()
    names = args.harness or list(HARNESSES)
    shares = sum(1.0 / HARNESSES[name].cost for name in names)
    print(f"seed {args.seed}; each input at most {MOST_CPU_SECONDS:g} s of CPU and {MOST_GROWTH_BYTES >> 20} MiB")
    print(f"{'harness':<16} {'inputs':>9} {'refused':>8} {'seconds':>8} {'slowest':>9} {'growth':>8}  failures")
    failures = []
    # One process for each harness: the memory of one does not hide that of the next.
    with multiprocessing.get_context("spawn").Pool(args.processes, maxtasksperchild=1) as pool:
        jobs = []
        for name in names:
            count = math.ceil(args.inputs / HARNESSES[name].cost / shares)
            numbers = range(count) if args.only is None else block_of(args.only)
            jobs.append(pool.apply_async(feed, (name, numbers, args.seed)))
        for job in jobs:
            outcome = job.get()
            failures += outcome.failures
            print(
                f"{outcome.harness:<16} {outcome.inputs:>9,} {outcome.refused / max(1, outcome.inputs):>7.0%} "
                f"{outcome.seconds:>7.1f}s {1000 * outcome.slowest_seconds:>6.0f} ms "
                f"{outcome.growth_bytes / 1e6:>5.0f} MB  {len(outcome.failures)}",
                flush=True,
            )
    for failure in failures:
        print(f"\n{failure}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())

"""Measures the cost of `raymon profile`: steps per second during a profile, relative to before and after.

python -m benchmarks.profiling --rounds 6
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.soak import started
from benchmarks.training import FAST, QUIET, machine, options

STRETCH_SECONDS = 10.0


def trained(progress: Path) -> tuple[float, float]:
    """Return seconds and environment steps of the newest complete record."""
    last = json.loads(progress.read_text().rpartition("\n")[0].rpartition("\n")[2])
    return last["time_seconds"], last["env_steps"]


def rate(progress: Path, until: subprocess.Popen[bytes] | None = None) -> float:
    """Return the steps per second for some time, or until a program has ended."""
    begun = trained(progress)
    if until is None:
        time.sleep(STRETCH_SECONDS)
    elif until.wait():
        raise SystemExit("raymon profile failed")
    ended = trained(progress)
    return (ended[1] - begun[1]) / (ended[0] - begun[0])


def main() -> None:
    """Train, measure with and without a profile in turn, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="profiles to take")
    rounds = parser.parse_args().rounds
    print(machine(), "\n")
    folder = Path(tempfile.mkdtemp(prefix="rm-", dir="/tmp"))
    more = options({**FAST, "total-env-steps": 10**12, "anneal": False, "learning-rate": 1e-4})
    places = ("--name", "run", "--runs", str(folder / "runs"), "--ray-temp-dir", str(folder / "ray"))
    raymon = (sys.executable, "-m", "raymon")
    ratios = []
    try:
        log = folder / "log"
        with log.open("wb") as out, subprocess.Popen([*raymon, "train", *QUIET, *more, *places], stdout=out) as run:
            url = started(run, log)
            progress = folder / "runs" / "run" / "progress.jsonl"
            time.sleep(STRETCH_SECONDS)
            before = rate(progress)
            for number in range(rounds):
                where = ("--metrics-url", url, "--output", str(folder / f"profile-{number}"))
                with subprocess.Popen([*raymon, "profile", *where], stdout=subprocess.DEVNULL) as profile:
                    during = rate(progress, profile)
                after = rate(progress)
                ratios.append(during / ((before + after) / 2))
                print(f"{during:,.0f} steps/s while profiled, {before:,.0f} before and {after:,.0f} after", flush=True)
                before = after
            run.terminate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    print(f"\nratio of steps per second, median {statistics.median(ratios):.3f} ({each})")


if __name__ == "__main__":
    main()

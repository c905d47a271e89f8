"""Measures the seconds from the command to the first update, by part.

The first run warms the file cache and is left out.

python -m benchmarks.startup --rounds 5
"""

import argparse
import re

from benchmarks.training import FAST, machine, median, train


def main() -> None:
    """Measure and print the medians of the parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs")
    rounds = parser.parse_args().rounds
    print(machine(), "\n")
    totals: list[float] = []
    parts: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        _, printed = train({**FAST, "total-env-steps": 20_000})
        line = next(line for line in printed.splitlines() if line.startswith("start-up "))
        if number:
            totals.append(float(line.split()[1]))
            for name, seconds in re.findall(r"([A-Za-z ]+) ([\d.]+) s(?:,|$)", line.split(":", 1)[1]):
                parts.setdefault(name.strip(), []).append(float(seconds))
    print(f"start-up: median {median(totals):.1f} s of {rounds}")
    for name, seconds in parts.items():
        print(f"  {name}: {median(seconds):.1f} s")


if __name__ == "__main__":
    main()

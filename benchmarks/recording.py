"""Measures nanoseconds per recording call while the flush thread runs, and the memory of a monitor.

python benchmarks/recording.py [--json]
"""

import argparse
import gc
import json
import time
import tracemalloc
from collections.abc import Callable

import raymon

TIMED_SECONDS = 0.2
REPEATS = 5


def nanoseconds_per_call(call: Callable[[], object]) -> float:
    """Return the best mean over `REPEATS` loops, minus that of an empty loop."""

    def loop(body: Callable[[], object], number: int) -> float:
        began = time.perf_counter()
        for _ in range(number):
            body()
        return time.perf_counter() - began

    number = 1000
    while loop(call, number) < TIMED_SECONDS / REPEATS:
        number *= 2
    own = min(loop(call, number) for _ in range(REPEATS))
    empty = min(loop(lambda: None, number) for _ in range(REPEATS))
    return max(0.0, own - empty) / number * 1e9


def calls() -> dict[str, Callable[[], object]]:
    """Return the measured calls by name."""
    monitor, driver = raymon.Monitor(0, "benchmark"), raymon.DriverMonitor("benchmark", workers=1)
    own = raymon.Metric("benchmark_total", "counter", "Calls of this benchmark.")

    def rollout() -> None:
        with monitor.rollout():
            pass

    def phase() -> None:
        with monitor.phase("environment"):
            pass

    def iteration() -> None:
        with driver.iteration():
            pass

    return {
        "Monitor.steps": lambda: monitor.steps(1),
        "Monitor.episode": lambda: monitor.episode(1.0, 10),
        "Monitor.add_phase": lambda: monitor.add_phase("inference", 1e-9),
        "Monitor.phase": phase,
        "Monitor.rollout": rollout,
        "Monitor.count (own metric)": lambda: monitor.count(own),
        "DriverMonitor.iteration": iteration,
        "DriverMonitor.trained": lambda: driver.trained(1, 128),
    }


def kilobytes_per_monitor(number: int = 100) -> float:
    """Return the growth of Python's heap per monitor."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [raymon.Monitor(worker, "memory") for worker in range(number)]
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / len(kept) / 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    costs = {name: round(nanoseconds_per_call(call), 1) for name, call in calls().items()}
    memory = round(kilobytes_per_monitor(), 1)
    if options.json:
        print(json.dumps({"nanoseconds_per_call": costs, "kilobytes_per_monitor": memory}))
        return
    for name, nanoseconds in costs.items():
        print(f"{name:<28} {nanoseconds:>9,.0f} ns")
    print(f"{'memory of a monitor':<28} {memory:>9,.1f} kB")


if __name__ == "__main__":
    main()

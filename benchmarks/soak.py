"""Measures memory growth of the driver and its workers over ten minutes of training.

python -m benchmarks.soak --minutes 10
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.processes import below, title
from benchmarks.training import FAST, QUIET, machine, options

WARM_UP_SECONDS = 60.0
ALLOWED_GROWTH = 0.05


def resident(pid: int) -> int:
    """Return the resident bytes of a process; 0 when it has ended."""
    try:
        line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        return 0
    return int(line.split()[1]) * 1024


def samplers(driver: int) -> list[int]:
    """Return the process ids of the Ray actors below a driver that started its own Ray."""
    return [pid for pid in below(driver) if title(pid).startswith("ray::Worker")]


def store_bytes(url: str) -> float:
    """Return the bytes in the object store, from the node's metrics."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("ray_object_store_used_memory{"))


def started(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until training has begun; return the printed metrics endpoint."""
    while process.poll() is None:
        lines = log.read_text().splitlines()
        if any(line.startswith("start-up ") for line in lines):
            return next(line.split()[1] for line in lines if line.startswith("metrics "))
        time.sleep(0.2)
    raise SystemExit(f"the run ended before training began:\n{log.read_text()}")


def watch(process: subprocess.Popen[bytes], url: str, seconds: float) -> tuple[list[dict[str, int]], list[float]]:
    """Sample memory every five seconds until the time is over."""
    memory: list[dict[str, int]] = []
    store: list[float] = []
    workers: list[int] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds and process.poll() is None:
        time.sleep(5)
        workers = workers or samplers(process.pid)
        memory.append({"driver": resident(process.pid), **{f"worker {pid}": resident(pid) for pid in workers}})
        store.append(store_bytes(url))
    return memory, store


def main() -> None:
    """Run, measure and print the growth after the first minute; exit code 1 if it exceeds the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to train")
    seconds = parser.parse_args().minutes * 60
    print(machine(), "\n")
    folder = Path(tempfile.mkdtemp(prefix="rm-", dir="/tmp"))
    more = options({**FAST, "total-env-steps": 10**12, "anneal": False, "learning-rate": 1e-4})
    places = ("--name", "run", "--runs", str(folder / "runs"), "--ray-temp-dir", str(folder / "ray"))
    command = [sys.executable, "-m", "raymon", "train", *QUIET, *more, *places]
    try:
        log = folder / "log"
        with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
            memory, store = watch(process, started(process, log), seconds)
            process.terminate()
            process.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    warm = min(int(WARM_UP_SECONDS // 5), len(memory) // 2)
    worst = 0.0
    for name in memory[-1]:
        first, last = memory[warm][name], memory[-1][name]
        growth = last / first - 1 if first else 0.0
        worst = max(worst, growth)
        print(f"{name}: {first / 1e6:.0f} MB after warm-up, {last / 1e6:.0f} MB at the end, {growth:+.1%}")
    print(f"object store: {store[warm] / 1e6:.1f} MB after warm-up, {store[-1] / 1e6:.1f} MB at the end")
    sys.exit(worst > ALLOWED_GROWTH)


if __name__ == "__main__":
    main()

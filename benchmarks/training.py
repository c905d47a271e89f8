"""Shared parts of the training benchmarks: settings, one run as a child process, a description of the machine."""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import CpuSeconds

FAST: Final = {"workers": 2, "envs-per-worker": 32, "fragment-steps": 64, "minibatch": 1024, "epochs": 4}
"""Solves CartPole-v1 fastest."""
WIDE: Final = {"workers": 2, "envs-per-worker": 128, "fragment-steps": 32, "minibatch": 4096, "epochs": 4}
"""Takes the most steps per second and still solves it."""
QUIET: Final = ("--no-page", "--exit-when-done")


def options(settings: dict[str, Any]) -> list[str]:
    """Return settings as command-line options; True and False become --x and --no-x."""
    arguments: list[str] = []
    for name, value in settings.items():
        if isinstance(value, bool):
            arguments.append(f"--{name}" if value else f"--no-{name}")
        else:
            arguments += [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))]
    return arguments


def train(settings: dict[str, Any], limit_seconds: float = 900.0) -> tuple[dict[str, Any], str]:
    """Run `raymon train` in a Ray of its own; return its summary, with CPU seconds of all processes, and its output."""
    folder = Path(tempfile.mkdtemp(prefix="rm-", dir="/tmp"))
    command = [
        sys.executable,
        "-m",
        "raymon",
        "train",
        *QUIET,
        *options(settings),
        "--name",
        "run",
        "--runs",
        str(folder / "runs"),
        "--ray-temp-dir",
        str(folder / "ray"),
    ]
    try:
        log = folder / "log"
        with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
            cpu, deadline = CpuSeconds(process.pid), time.monotonic() + limit_seconds
            while process.poll() is None and time.monotonic() < deadline:
                cpu.look()
                time.sleep(0.5)
            process.kill()
        printed = log.read_text(errors="replace")
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{printed}")
        summary = json.loads((folder / "runs" / "run" / "summary.json").read_text())
        summary["rows"] = [json.loads(line) for line in (folder / "runs/run/progress.jsonl").read_text().splitlines()]
        summary["cpu_seconds"] = cpu.total()
        return summary, printed
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def steady_rate(summary: dict[str, Any]) -> float:
    """Return environment steps per second after the first fifth of the updates."""
    rows = summary["rows"]
    first, last = rows[len(rows) // 5], rows[-1]
    seconds = last["time_seconds"] - first["time_seconds"]
    return float((last["env_steps"] - first["env_steps"]) / seconds) if seconds else 0.0


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return float(statistics.median(values))


def machine() -> str:
    """Return a one-line description of the machine."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, {model}, Python {platform.python_version()}, load before {load:.1f}"

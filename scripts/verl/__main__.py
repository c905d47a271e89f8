"""Run the real verl on the CPU and check that raymon shows every worker, without a line in verl's code.

    python scripts/verl                 # a few minutes; the first time it installs, 2 GB
    python scripts/verl --updates 50    # train longer
    python scripts/verl --off           # the same with RAYMON_VERL=0: nothing may be recorded
    python scripts/verl --separate      # PPO, with critic and reference in processes of their own

It creates an environment with verl from PyPI in RAYMON_VERL_CACHE, ~/.cache/raymon-verl by default, installs raymon
there, makes a tiny random model and starts `verl.trainer.main_ppo`: verl's own controller, worker groups, agent loops
and FSDP engine. Only the platform (`cpu_platform.py`) and the inference server (`cpu_rollout.py`) are stand-ins, since
verl has none for the CPU; both are registered as verl provides for. Exit code 1 when something is not shown.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from checks import OFF, ON, SEPARATE, failures
from environment import InstallError, environment
from options import overrides

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("RAYMON_VERL_CACHE") or Path.home() / ".cache" / "raymon-verl")
START_SECONDS = 600


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    options = argparse.ArgumentParser(prog="scripts/verl", description=(__doc__ or "").splitlines()[0])
    options.add_argument(
        "--cache", type=Path, default=CACHE, metavar="DIR", help=f"keeps environments; default: {CACHE}"
    )
    options.add_argument("--updates", type=int, default=2000, help="end after so many, if the checks take that long")
    options.add_argument("--off", action="store_true", help="set RAYMON_VERL=0 and check that nothing is recorded")
    options.add_argument("--separate", action="store_true", help="PPO: critic and reference have own processes")
    options.add_argument("--json", action="store_true", help="print what `raymon top --once --json` says")
    return options


def start(python: Path, folder: Path, updates: int, off: bool, separate: bool) -> "subprocess.Popen[bytes]":
    """Make model and data, and start verl."""
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYMON_", "VERL_"))},
        "PYTHONPATH": str(HERE),
        "VERL_USE_EXTERNAL_MODULES": "cpu_platform",
        "HF_HUB_OFFLINE": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        **({"RAYMON_VERL": "0"} if off else {}),
    }
    program = "separate_pools" if separate else "verl.trainer.main_ppo"
    subprocess.run([python, HERE / "model.py", folder], check=True, env=variables, cwd=folder)
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [python, "-m", program, *overrides(folder, updates, separate)],
            stdout=log,
            stderr=log,
            env=variables,
            cwd=folder,
            start_new_session=True,
        )


def wait_for_updates(training: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until verl has logged its third step.

    Raises:
        RuntimeError: With the end of verl's log when it ends or takes too long.
    """
    deadline = time.monotonic() + START_SECONDS
    while "step:3 " not in log.read_text(errors="replace"):
        if training.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"verl made no third step:\n{log.read_text(errors='replace')[-6000:]}")
        time.sleep(1)


def top(python: Path, folder: Path) -> dict[str, Any]:
    """Return what `raymon top` says of the run, and under `page` the status page of the same moment."""
    file, recording = folder / "ray" / "prom_metrics_service_discovery.json", folder / "recording"
    command = [python, "-m", "raymon", "top", "--once", "--json", "--seconds", "12", "--discovery-file", file]
    report: dict[str, Any] = json.loads(_output([*command, "--record", recording], folder))
    report["page"] = _output([python, HERE / "draw.py", recording], folder)
    return report


def _output(command: Sequence[str | Path], folder: Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=120).stdout


def main() -> int:
    """Run verl, look, check, print."""
    options = parser().parse_args()
    try:
        python = environment(options.cache)
    except InstallError as error:
        print(error, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="rm-", dir="/tmp") as name:  # short enough for Ray's sockets
        folder = Path(name)
        training = start(python, folder, options.updates, options.off, options.separate)
        try:
            wait_for_updates(training, folder / "log")
            report = top(python, folder)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            training.terminate()
            training.wait(60)
    if options.json:
        print(json.dumps({name: value for name, value in report.items() if name != "page"}, indent=1))
    for worker in sorted(report["workers"], key=lambda worker: int(worker["worker"])):
        phases = ", ".join(f"{name} {ratio:.0%}" for name, ratio in worker["phases"].items() if ratio)
        print(f"worker {worker['worker']}  {worker['role']:<8} {worker['state']:<8} {phases}")
    failed = failures(report, OFF if options.off else SEPARATE if options.separate else ON)
    for what in failed:
        print(f"not so: {what}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

"""Run the real verl on the CPU and check that raymon shows every worker, without a line in verl's code.

    python scripts/verl                 # a few minutes; the first time it installs, 2 GB
    python scripts/verl --updates 50    # train longer
    python scripts/verl --off           # the same with RAYMON_VERL=0: nothing may be recorded
    python scripts/verl --separate      # PPO, with critic and reference in processes of their own
    python scripts/verl --record DIR    # keep what was seen, for `raymon status --recording DIR`

It creates an environment with verl from PyPI in RAYMON_VERL_CACHE, ~/.cache/raymon-verl by default, installs raymon
there, makes a tiny random model and starts `verl.trainer.main_ppo`: verl's own controller, worker groups, agent loops
and FSDP engine. Only the platform (`cpu_platform.py`) and the inference server (`cpu_rollout.py`) are stand-ins, since
verl has none for the CPU; both are registered as verl provides for. Exit code 1 when something is not shown.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from checks import OFF, ON, SEPARATE, failures
from environment import InstallError, environment
from options import overrides

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("RAYMON_VERL_CACHE") or Path.home() / ".cache" / "raymon-verl")
START_SECONDS = 900
STARTS = 3
STEPS = 4
"""Steps of the run that `raymon top` must see: on a busy machine they take longer than it watches by default."""
NOT_STARTED = "The current node timed out during startup"
"""What Ray raises where a busy machine starts it too slowly: it waits for 30 s, and no option changes that."""


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    options = argparse.ArgumentParser(prog="scripts/verl", description=(__doc__ or "").splitlines()[0])
    options.add_argument(
        "--cache", type=Path, default=CACHE, metavar="DIR", help=f"keeps environments; default: {CACHE}"
    )
    options.add_argument("--updates", type=int, default=2000, help="end after so many, if the checks take that long")
    options.add_argument("--off", action="store_true", help="set RAYMON_VERL=0 and check that nothing is recorded")
    options.add_argument("--separate", action="store_true", help="PPO: critic and reference have own processes")
    options.add_argument("--seconds", type=float, default=12.0, help="how long to watch at least; default: 12")
    options.add_argument("--record", type=Path, metavar="DIR", help="keep the recording of what was seen")
    options.add_argument("--json", action="store_true", help="print what `raymon top --once --json` says")
    return options


def variables(off: bool) -> dict[str, str]:
    """Return the environment of verl: this process's, without settings of Ray, raymon and verl."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYMON_", "VERL_"))},
        "PYTHONPATH": str(HERE),
        "VERL_USE_EXTERNAL_MODULES": "cpu_platform",
        "HF_HUB_OFFLINE": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        **({"RAYMON_VERL": "0"} if off else {}),
    }


@contextlib.contextmanager
def training(python: Path, folder: Path, options: argparse.Namespace) -> "Iterator[subprocess.Popen[bytes]]":
    """Run verl on the model and data in a folder; its Ray ends with it."""
    program = "separate_pools" if options.separate else "verl.trainer.main_ppo"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-m", program, *overrides(folder, options.updates, options.separate)],
            stdout=log,
            stderr=log,
            env=variables(options.off),
            cwd=folder,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def wait_for_updates(process: "subprocess.Popen[bytes]", log: Path) -> float:
    """Wait until verl has logged its third step, and return the seconds that this step took.

    Raises:
        RuntimeError: With the end of verl's log when it ends or takes too long.
    """
    began, ended = (_wait_for_step(step, process, log) for step in (2, 3))
    return ended - began


def _wait_for_step(step: int, process: "subprocess.Popen[bytes]", log: Path) -> float:
    deadline = time.monotonic() + START_SECONDS
    while f"step:{step} " not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"verl made no step {step}:\n{log.read_text(errors='replace')[-6000:]}")
        time.sleep(1)
    return time.monotonic()


def look(python: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run verl and return what raymon shows of it; start verl again where Ray did not start in time.

    Raises:
        RuntimeError: With the end of verl's log when it ends or takes too long.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            with training(python, folder, options) as process:
                step = wait_for_updates(process, folder / "log")
                return top(python, folder, max(options.seconds, STEPS * step), options.record)
        except RuntimeError as error:
            if NOT_STARTED not in str(error) or attempt == STARTS:
                raise


def top(python: Path, folder: Path, seconds: float, record: Path | None) -> dict[str, Any]:
    """Return what `raymon top` says of the run, and under `page` the status page of the same moment."""
    file = folder / "ray" / "prom_metrics_service_discovery.json"
    recording = (record or folder / "recording").resolve()
    command = [str(python), "-m", "raymon", "top", "--once", "--json", "--seconds", str(seconds)]
    command += ["--discovery-file", str(file), "--record", str(recording)]
    report: dict[str, Any] = json.loads(_output(command, folder, seconds))
    report["page"] = _output([python, HERE / "draw.py", recording], folder)
    return report


def _output(command: Sequence[str | Path], folder: Path, seconds: float = 0.0) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=folder, timeout=seconds + 120)
    return done.stdout


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
        subprocess.run([python, HERE / "model.py", folder], check=True, env=variables(options.off), cwd=folder)
        try:
            report = look(python, folder, options)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
    if options.json:
        print(json.dumps({name: value for name, value in report.items() if name != "page"}, indent=1))
    for worker in sorted(report["workers"], key=lambda worker: int(worker["worker"])):
        phases = ", ".join(f"{name} {ratio:.0%}" for name, ratio in worker["phases"].items() if ratio)
        print(f"worker {worker['worker']}  {worker['role']:<8} {worker['state']:<8} {phases}")
    checks = OFF if options.off else SEPARATE if options.separate else ON
    failed = failures(report, checks)
    print(f"{len(checks) - len(failed)} of {len(checks)} checks passed")
    for what in failed:
        print(f"not so: {what}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

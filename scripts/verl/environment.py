"""An environment with verl from PyPI and this raymon, created once and kept in a folder."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VERL, RAY, TORCH = "0.9.1", "2.55.1", "2.13.0"
NEEDED = (
    "transformers>=5.5.3,<5.11,!=5.6.0",
    "tensordict>=0.8,<=0.10,!=0.9.0",
    "numpy",
    "codetiming",
    "hydra-core",
    "pandas",
    "pyarrow>=19",
    "torchdata",
    "datasets",
    "dill",
    "accelerate",
    "peft",
    "packaging",
    "pillow",  # which verl imports and does not declare
    "cachetools",
    "fastapi",
    "uvicorn",
    "orjson",
    "msgspec",
    "pyzmq",
    "prometheus-client",
    "rich",
)
"""What verl needs on a CPU, of what it declares: no inference engine and no kernels."""
UNRESOLVED = (f"verl=={VERL}", "TransferQueue>=0.1.10")
"""Installed without what they declare: verl declares trackers, and TransferQueue the same again."""


class InstallError(Exception):
    """The environment cannot be created; the message holds the installer's last lines."""


def environment(cache: Path) -> Path:
    """Return the Python of the environment; create it if it is missing. raymon is installed from this tree each time.

    Raises:
        InstallError: If an installer fails.
    """
    folder = cache / f"verl-{VERL}-ray-{RAY}-torch-{TORCH}-python{sys.version_info[0]}.{sys.version_info[1]}"
    python, complete = folder / "bin" / "python", folder / "complete"
    wanted = "\n".join((*NEEDED, *UNRESOLVED))
    if not complete.exists() or complete.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        print(f"installing verl {VERL} into {folder} …", file=sys.stderr, flush=True)
        _run(sys.executable, "-m", "venv", str(folder))
        _install(python, f"torch=={TORCH}", f"ray[default]=={RAY}", *NEEDED)
        _install(python, "--no-deps", *UNRESOLVED)
        complete.write_text(wanted)
    _install(python, "--no-deps", "--force-reinstall", str(ROOT))
    return python


def _install(python: Path, *arguments: str) -> None:
    # pip, since uv would take the build of torch for CUDA from PyPI where pip is configured to find one for the CPU
    _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InstallError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")

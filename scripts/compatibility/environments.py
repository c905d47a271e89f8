"""Virtual environments with one version of Ray each, created once and kept in a folder."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

CORE = ("numpy", "rich")
"""What raymon's core requires in addition to `ray[default]`."""
LINKED = ("torch", "torchgen")
"""Too large to install seven times: linked from the environment that runs this script."""
NEEDED_BY_TORCH = ("sympy", "networkx", "jinja2", "fsspec", "filelock", "typing_extensions")


class InstallError(Exception):
    """An environment cannot be created; the message holds the installer's last lines."""


def environment(cache: Path, ray: str, rllib: bool = False) -> Path:
    """Return the Python of an environment with that Ray and raymon's core; create the environment if it is missing.

    Args:
        cache: Folder that keeps the environments.
        ray: Version of Ray.
        rllib: Whether to add RLlib.
    """
    folder = cache / f"ray-{ray}-python{sys.version_info[0]}.{sys.version_info[1]}{'-rllib' if rllib else ''}"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    _create(folder)
    _install(python, f"ray[default{',rllib' if rllib else ''}]=={ray}", *CORE, *(NEEDED_BY_TORCH if rllib else ()))
    if rllib:
        _link_torch(next(folder.glob("lib/python*/site-packages")))
    (folder / "complete").touch()
    return python


def _uv() -> str | None:
    return shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def _create(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    uv = _uv()
    _run(*([uv, "venv", "--quiet", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]), str(folder))


def _install(python: Path, *requirements: str) -> None:
    uv = _uv()  # ten times as fast as pip
    command = (
        [uv, "pip", "install", "--compile-bytecode", "--python", str(python)]
        if uv
        else [str(python), "-m", "pip", "install"]
    )
    _run(*command, "--quiet", *requirements)


def _link_torch(site_packages: Path) -> None:
    for module in LINKED:
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            raise InstallError("RLlib needs the torch of the environment that runs this script; it has none")
        place = Path(spec.submodule_search_locations[0])
        (site_packages / module).symlink_to(place)
        for metadata in place.parent.glob(f"{module}-*.dist-info"):
            (site_packages / metadata.name).symlink_to(metadata)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InstallError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")

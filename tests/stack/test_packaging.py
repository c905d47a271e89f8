"""Wheel and sdist, built and installed into an empty environment, used outside the repository."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import ROOT

from raymon import cli

CORE_VERBS = {"top", "profile", "doctor", "down"}
PINS = {
    "openrlhf 0.11.2": ("ray[default]==2.55.0", "transformers==5.15.0", "grpcio>=1.74.0", "huggingface-hub>=1.0.0"),
    "skyrl 0.3.0": ("ray[default]==2.56.0", "rich>=14.1.0", "typer>=0.17.4", "pyarrow==25.0.0", "debugpy==1.8.0"),
}
"""What two trainers pin, of their metadata and lock files, among the packages that raymon's core could meet."""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-1000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Build from a copy of the tracked files, as a release does; return the wheel and the sdist."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    tracked = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "hatchling", "build", "-d", str(out), cwd=source)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def installed(packages, tmp_path_factory):
    """Install the wheel with nothing but what the core requires; return the environment's `raymon`."""
    folder = tmp_path_factory.mktemp("environment")
    ray = f"ray=={importlib.metadata.version('ray')}"
    run("uv", "venv", "--quiet", "--python", sys.executable, str(folder), env=with_uv())
    run("uv", "pip", "install", "-q", "--python", str(folder / "bin/python"), str(packages[0]), ray, env=with_uv())
    return folder / "bin" / "raymon"


def with_uv():
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def outside(program, *arguments, cwd):
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAY"))}
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, cwd=cwd, env=variables, timeout=60
    )


def test_wheel_holds_the_package_its_files_and_its_metadata(packages):
    with zipfile.ZipFile(packages[0]) as wheel:
        names = set(wheel.namelist())
        (record,) = (name for name in names if name.endswith("/METADATA"))
        metadata = wheel.read(record).decode()
    assert {"raymon/py.typed", "raymon/share/prometheus/rules.yml", "raymon/share/compose.yaml"} <= names
    assert {name.partition("/")[0] for name in names} == {"raymon", Path(record).parent.name}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    for line in ("Name: raymon-rl", "License-Expression: Apache-2.0", "Classifier: Typing :: Typed"):
        assert line in metadata
    core = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line]
    assert [line.split()[1].rstrip("0123456789.>=") for line in core] == ["numpy", "ray[default]", "rich"]


def test_wheel_built_from_the_sdist_is_the_same(packages, tmp_path):
    wheel, sdist = packages
    run("tar", "-xf", sdist, "-C", tmp_path)
    (source,) = tmp_path.iterdir()
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "out"), cwd=source)
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(next((tmp_path / "out").glob("*.whl"))) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


def test_every_verb_runs_or_names_its_extra(installed, tmp_path):
    for verb in cli.VERBS:
        done = outside(installed, verb.name, "--help", cwd=tmp_path)
        assert "Traceback" not in done.stderr, done.stderr
        if done.returncode:
            assert verb.name not in CORE_VERBS
            assert done.returncode == 2
            assert f"pip install 'raymon-rl[{verb.extra}]'" in done.stderr
        else:
            assert "usage" in done.stdout


def test_top_and_doctor_work_with_the_core_alone_and_status_names_its_extra(installed, tmp_path):
    top = outside(installed, "top", "--once", "--json", "--metrics-url", "http://127.0.0.1:9/metrics", cwd=tmp_path)
    assert top.returncode == 2, top.stderr
    assert json.loads(top.stdout)["verdict"]["state"]
    status = outside(installed, "status", cwd=tmp_path)
    assert status.returncode == 2
    assert status.stderr == "raymon status: the package streamlit is missing; run pip install 'raymon-rl[page]'\n"
    doctor = outside(installed, "doctor", "--json", "--metrics-url", "http://127.0.0.1:9/metrics", cwd=tmp_path)
    results = {result["check"]: result for result in json.loads(doctor.stdout)}
    assert results["ray-package"]["state"] == "ok"
    assert "itself failed" not in doctor.stdout


def test_dashboards_are_exported_with_the_extra(packages, installed, tmp_path):
    python = installed.parent / "python"
    run("uv", "pip", "install", "-q", "--python", str(python), f"{packages[0]}[stack]", env=with_uv())
    done = outside(installed, "dashboards", "export", str(tmp_path / "out"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    exported = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.json")}
    assert exported == {path.name: path.read_bytes() for path in (ROOT / "dashboards").glob("*.json")}


@pytest.mark.parametrize("trainer", PINS)
def test_core_resolves_next_to_the_pins_of(packages, tmp_path, trainer):
    run("uv", "venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv"), env=with_uv())
    python = str(tmp_path / "venv" / "bin" / "python")
    done = run_dry(python, str(packages[0]), *PINS[trainer])
    assert f"ray=={PINS[trainer][0].partition('==')[2]}" in done


def run_dry(python, *requirements):
    command = ("uv", "pip", "install", "--dry-run", "--python", python, *requirements)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250, env=with_uv())
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr

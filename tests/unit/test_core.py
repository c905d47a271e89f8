"""The core fits any trainer: what `pip install raymon-rl` may need, and the cost of importing it."""

import re
import subprocess
import sys

import tomllib
from support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("streamlit", "grafana_api", "prometheus_client", "torch", "gymnasium", "tyro", "zmq", "msgpack", "pandas")
WITHOUT_EXTRAS = f"""
import importlib, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""
DESIGN_CARD = {"ray", "prometheus-client", "grafana-api", "numpy", "torch", "streamlit"}


def python(code, *options):
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=True).stdout


def name_of(requirement):
    return re.match(r"[\w-]+", requirement)[0].lower()


def test_core_verbs_need_no_extra():
    verbs = ("raymon.top.command", "raymon.profile.command", "raymon.stack.doctor")
    python(f"{WITHOUT_EXTRAS}\nfor name in {(*verbs, 'raymon.monitor')}: importlib.import_module(name)")


def test_dependencies_of_the_core():
    assert [name_of(requirement) for requirement in PROJECT["dependencies"]] == ["ray", "numpy", "rich"]
    assert not any("<" in requirement or "==" in requirement for requirement in PROJECT["dependencies"])
    extras = PROJECT["optional-dependencies"]
    declared = {name_of(requirement) for group in (PROJECT["dependencies"], *extras.values()) for requirement in group}
    assert declared >= DESIGN_CARD


def test_importing_raymon_loads_only_the_standard_library():
    loaded = python(
        "import sys; before = set(sys.modules); import raymon; print(*(set(sys.modules) - before))", "-I"
    ).split()
    outside = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"raymon"}
    assert not outside


def test_importing_raymon_takes_60_milliseconds():
    clock = "import time; started = time.perf_counter(); import {}; print(time.perf_counter() - started)"
    best = {
        module: min(float(python(clock.format(module), "-I")) for _ in range(5)) for module in ("raymon", "http.server")
    }
    # a module of the standard library measures how slow this machine is at the moment; it takes 20 ms on an idle one
    assert best["raymon"] < 0.060 or best["raymon"] < 3 * best["http.server"]


def pins(name):
    lines = [line.split()[0] for line in (ROOT / name).read_text().splitlines() if re.match(r"[\w.-]+==", line)]
    return {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower(): line.partition("==")[2] for line in lines}


def test_every_pin_but_torch_has_a_hash():
    locked = {**pins("requirements.txt"), **pins("requirements-dev.txt")}
    pinned = pins("constraints.txt")
    del pinned["torch"]
    assert pinned == locked, "run make lock"
    text = (ROOT / "requirements.txt").read_text() + (ROOT / "requirements-dev.txt").read_text()
    assert text.count("==") == len(locked)
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=\w)", text) if "==" in block)

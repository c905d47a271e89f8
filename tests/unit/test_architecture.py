"""The architecture: allowed imports, cost of importing, public names, verbs."""

import ast
import collections
import graphlib
import re
import subprocess
import sys

import pytest
from support import ROOT

PACKAGE = ROOT / "raymon"

TABLE = (ROOT / "docs" / "architecture.md").read_text()
EVERYWHERE = {"catalog", "errors", "__version__"}


def allowed():
    """Return package -> packages it may import, from the table in the documentation."""
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\|([^|]*)\|$", TABLE, re.MULTILINE)
    return {package: set(re.findall(r"`(\w+)`", imports)) for package, imports in rows}


ALLOWED = allowed()
PUBLIC = ("Monitor", "DriverMonitor", "Metric", "instrument")
VERBS = [
    "train",
    "evaluate",
    "demo",
    "status",
    "top",
    "profile",
    "watch",
    "incidents",
    "postmortem",
    "export",
    "doctor",
    "up",
    "down",
    "dashboards",
]
HEAVY = ("torch", "streamlit", "pandas", "ray.rllib", "tensorflow")


def package_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def raymon_imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [node.module] if node.module != "raymon" else [f"raymon.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith("raymon."):
                package = name.split(".")[1]
                yield "monitor" if package in PUBLIC else package


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_a_package_imports_only_what_the_table_allows(package):
    files = [path for path in PACKAGE.rglob("*.py") if package_of(path) == package]
    assert files, f"{package} is gone; change docs/architecture.md too"
    for path in files:
        stray = set(raymon_imports(path)) - ALLOWED[package] - {package} - EVERYWHERE
        assert not stray, f"{path.relative_to(ROOT)} imports {sorted(stray)}"


def test_every_module_has_a_row():
    packages = {package_of(path) for path in PACKAGE.rglob("*.py")}
    assert packages - {"__init__", "__main__"} == set(ALLOWED)


def test_only_mirrors_share_a_file_name():
    counts = collections.Counter(path.name for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    mirrors = re.findall(r"^\| `(\w+\.py)` \|", TABLE, re.MULTILINE)
    assert sorted(name for name, count in counts.items() if count > 1) == sorted(mirrors)


def test_the_import_graph_has_no_cycle():
    graphlib.TopologicalSorter(ALLOWED).prepare()


@pytest.mark.parametrize("module", ["raymon", "raymon.monitor", "raymon.live.collector", "raymon.health"])
def test_importing_in_a_trainer_brings_nothing_heavy(module):
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {*HEAVY, *(("ray",) if module != "raymon.rllib" else ())}


def test_public_names():
    import raymon

    assert sorted(raymon.__all__) == sorted((*PUBLIC, "__version__"))
    for name in raymon.__all__:
        assert getattr(raymon, name) is not None


def test_the_verbs_and_their_help():
    from raymon import cli

    names = [verb.name for verb in cli.VERBS]
    assert names == VERBS
    listing = subprocess.run([sys.executable, "-m", "raymon", "--help"], capture_output=True, text=True, check=True)
    assert all(name in listing.stdout for name in names)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_prints_its_options_and_refuses_unknown_ones(verb):
    shown = subprocess.run(
        [sys.executable, "-m", "raymon", verb, "--help"], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert "--" in shown.stdout
    refused = subprocess.run(
        [sys.executable, "-m", "raymon", verb, "--no-such-option"], capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr + refused.stdout


def test_an_unknown_verb_is_one_clear_sentence():
    done = subprocess.run([sys.executable, "-m", "raymon", "trian"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("raymon: unknown command 'trian'; expected one of train")

"""raymon's core on the oldest Ray, one in the middle and the newest, each as `docs/compatibility.md` was measured."""

import json
import subprocess
import sys

import pytest
from support import ROOT

PAGE = ROOT / "docs" / "compatibility.md"
SCRIPT = ROOT / "scripts" / "compatibility"


def check(*options):
    command = [sys.executable, SCRIPT, "--json", "--without-rllib", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-4000:]
    (results,) = json.loads(done.stdout).values()
    return results


@pytest.mark.parametrize("version", ["2.40.0", "2.48.0"])
def test_core_on_an_older_ray(version):
    assert all(result["ok"] for result in check("--ray", version).values())


def test_core_on_the_newest_ray():
    assert all(result["ok"] for result in check("--ray", "2.60.0", "--python", sys.executable).values())


def test_page_has_no_empty_or_failed_cell():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [cell.strip() for line in lines for cell in line.strip("|").split("|")]
    assert len(lines) > 10
    assert not [cell for cell in cells if not cell or cell.startswith("**no**") or cell == "not measured"]

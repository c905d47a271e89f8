"""`benchmarks.scale` on a small synthetic cluster with a real Prometheus."""

import re
import subprocess
import sys

from support import ROOT, free_port

from raymon import catalog


def test_the_benchmark_measures_every_panel():
    size = ("--workers", "12", "--nodes", "2", "--minutes", "1", "--seconds", "0", "--repeats", "1", "--large-fleet")
    command = [sys.executable, "-m", "benchmarks.scale", *size, "--port", str(free_port())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1)
    per_worker = float(re.search(r"(\d+\.\d) per worker", done.stdout)[1])
    others = 4  # failing and empty rollouts, a wait for a core, tasks
    assert per_worker == catalog.series_of("worker") + others
    assert re.search(r"^\d{3} queries over 1 minutes", done.stdout, flags=re.M)
    assert "more than ten series" not in done.stdout

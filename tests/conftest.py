"""For all tests: one thread for matrices, as `raymon train` sets it; set before anything loads numpy or torch."""

import os
import shutil
import signal
import sys

import hypothesis
import pytest

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# A stall of the machine is no finding about the code, and a run of the tests decides on the change it is for alone:
# HYPOTHESIS_PROFILE=default looks for new examples.
hypothesis.settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

# Under nohup it would be ignored by everything the tests start, too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Tests against a real Grafana exist only where there is one, so that nothing is ever reported as skipped.
has_grafana = os.environ.get("RAYMON_GRAFANA_URL") or shutil.which("grafana-server") or shutil.which("grafana")
collect_ignore = [] if has_grafana else ["stack/test_push.py"]


@pytest.fixture(scope="module", autouse=True)
def no_monitor_left():
    """Close what monitors a module leaves: under the next one's Ray they would hand over what they still hold."""
    yield
    if flushing := sys.modules.get("raymon.monitor.flusher"):
        for monitor in list(flushing.flusher._monitors):
            monitor.close()

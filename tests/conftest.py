"""Settings for all tests, and their order. The environment is set before anything loads numpy, torch or Ray."""

import os
import shutil
import signal
import sys
from pathlib import Path

import hypothesis
import pytest

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
# Ray starts a worker process when a task or an actor needs one, instead of one for each CPU at its start.
for name in ("RAY_enable_worker_prestart", "RAY_prestart_worker_first_driver"):
    os.environ.setdefault(name, "0")

# The many processes that the tests start would each compile raymon again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Ray starts workers at niceness 15: on a busy machine those of one test would starve beside the other tests.
os.environ.setdefault("RAY_worker_niceness", "0")

# A slow machine must not fail a test, and the same change must give the same result: examples are not random.
# HYPOTHESIS_PROFILE=default searches for new examples.
hypothesis.settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

# Under nohup, every process that the tests start would ignore the signal too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests with a real Grafana are collected only where there is one, so that no test is reported as skipped.
has_grafana = os.environ.get("RAYMON_GRAFANA_URL") or shutil.which("grafana-server") or shutil.which("grafana")
collect_ignore = [] if has_grafana else ["stack/test_push.py"]


# The longest files, longest first: started last, one of them would run alone at the end while other cores idle.
LONGEST = (
    "ray/test_compatibility.py",
    "browser/test_profile.py",
    "ray/test_rllib_algorithms.py",
    "ray/test_watch.py",
    "stack/test_alerts_provoked.py",
    "stack/test_train.py",
    "ray/test_rllib.py",
    "ray/test_cluster.py",
    "browser/test_first_minute.py",
    "browser/test_page_states.py",
    "ray/test_train.py",
    "fuzz/test_pages.py",
    "ray/test_train_command.py",
    "ray/test_examples.py",
    "browser/test_page_command.py",
    "stack/test_doctor.py",
    "stack/test_real_run.py",
    "stack/test_up.py",
    "browser/test_page_use.py",
)
FOLDERS = ("stack", "browser", "ray", "fuzz", "unit")
"""Folders by the time that a test of theirs takes."""
TESTS = Path(__file__).parent
STRANGER = 65534
"""User id of somebody else."""


def pytest_xdist_auto_num_workers():
    """One process more than cores, since many tests wait, but no more than find 4 GB of memory each."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(2, min(os.cpu_count() + 1, memory // 4_000_000_000))


def pytest_collection_modifyitems(items):
    """Start the longest files first; a file stays in one process, so that a costly fixture is made once."""
    items.sort(key=lambda item: rank(file_of(item)))


def file_of(item):
    return item.path.relative_to(TESTS).as_posix()


def rank(file):
    return (
        LONGEST.index(file) if file in LONGEST else len(LONGEST),
        FOLDERS.index(file.split("/")[0]) if file.split("/")[0] in FOLDERS else len(FOLDERS),
        file,
    )


@pytest.fixture
def planted(monkeypatch):
    """Give files and sockets to another user: as root for good, else by posing as another user than their owner."""

    def give_away(*targets):
        if os.getuid() == 0:
            for target in targets:
                if isinstance(target, Path):
                    os.chown(target, STRANGER, -1, follow_symlinks=False)
                else:
                    os.fchown(target.fileno(), STRANGER, -1)
        else:
            owner = os.getuid()
            monkeypatch.setattr(os, "getuid", lambda: owner + 1)

    return give_away


@pytest.fixture(scope="module", autouse=True)
def no_monitor_left():
    """Close the monitors that a module leaves open: they would export their rest under the next module's Ray."""
    yield
    if module := sys.modules.get("raymon.monitor.flusher"):
        module.flusher.close()

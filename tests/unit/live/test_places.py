"""Where silent processes stand, and that an ended driver is noticed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from health_views import run, worker
from support import poll

from raymon.cluster.discovery import Raylet
from raymon.health import judge
from raymon.live import places
from raymon.live.places import Places, Wanted, placed, wanted
from raymon.monitor.native import dump_name
from raymon.monitor.private_files import create_file, private_folder
from raymon.monitor.process_evidence import ProcessEvidence

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
NODE = "10.0.0.1"


@pytest.fixture
def process(tmp_path, monkeypatch):
    """A process that has recorded in a session of this machine."""
    (tmp_path / "logs").mkdir()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
    with private_folder(tmp_path / "logs", create=True) as folder:
        os.close(create_file(folder, dump_name(child.pid)))
    here = [Raylet("10.0.0.1:1", tmp_path, tmp_path, "node", NODE)]
    monkeypatch.setattr(places.discovery, "raylets", lambda: tuple(here))
    monkeypatch.setattr(places, "PERIOD_SECONDS", 0.05)
    yield child, here
    child.kill()
    child.wait()


def test_ended_driver_is_noticed_although_its_cluster_ended_with_it(process):
    child, here = process
    reader = Places(lambda _: {})
    key = ("r", "driver", (NODE, child.pid))
    assert reader.known([Wanted(*key, first=True)]) == ()
    poll(lambda: reader.known([Wanted(*key, first=True)]) == () and not reader._wanted, 5, "the driver is noted")
    here.clear()
    child.kill()
    child.wait()
    place = poll(lambda: next(iter(reader.known([Wanted(*key)])), None), 5)
    reader.stop()
    assert place.process == "gone"
    view = run(worker(), driver_pid=child.pid, exporter_age_seconds=60.0)
    assert judge(placed(view, [place], 100.0)).state == "killed"


def test_failed_driver_is_named_with_its_exception_and_line(process):
    child, _ = process
    end = {
        "exception": "ValueError",
        "message": "loss is \x1b[31mnan",
        "frames": [["learn", "/home/me/train.py", 88, ""]],
    }
    left = ProcessEvidence(child.pid, "none", "", None, 99.0, end=end)
    view = run(worker("3"), state="failed", driver_node=NODE, driver_pid=child.pid)
    asked = wanted([(view, judge(view))])
    reader = Places(lambda processes: dict.fromkeys(processes, left))
    place = poll(lambda: next(iter(reader.known(asked)), None), 5)
    reader.stop()
    sentence = judge(placed(view, [place], 100.0)).sentence
    assert sentence.startswith("Training failed: ValueError: loss is ")
    assert sentence.endswith("nan, in `learn (train.py:88)`; these are its last numbers.")
    assert "\x1b" not in sentence
    assert reader.known(asked) == (place,)
    assert not reader._wanted, "it is read once"


def test_frames_and_the_awaited_worker_reach_the_view(process):
    child, _ = process
    left = ProcessEvidence(child.pid, "python", "Env.step → recv (my_env.py:88)", 86.0, 99.0, waits_for=("3", "x"))
    reader = Places(lambda asked: dict.fromkeys(asked, left))
    view = run(worker("3", node=NODE, pid=child.pid), driver_node=NODE, driver_pid=child.pid)
    verdict = judge(view)
    assert [one.first for one in wanted([(view, verdict)])] == [True], "nobody is silent"
    asked = [Wanted("r", name, (NODE, child.pid)) for name in ("driver", "3")]
    known = poll(lambda: len(found := reader.known(asked)) == 2 and found, 5)
    reader.stop()
    seen = placed(view, known, 100.0)
    assert seen.workers[0].where == "Env.step → recv (my_env.py:88)"
    assert (seen.driver_waits_for, seen.driver_silent_seconds) == (("3",), 14.0)

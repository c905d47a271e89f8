"""A driver whose own Ray node dies."""

import subprocess
import sys
from pathlib import Path

from support import poll, short_folder

DRIVER = """
import os, sys, time
import ray
import numpy as np, psutil  # which comes with Ray
from raymon.cluster.own_node import watched

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1])

@ray.remote
class Worker:
    def pid(self):
        return os.getpid()

with watched(True, "Resume."):
    worker = Worker.remote()
    print(ray.get(worker.pid.remote()), flush=True)
    raylet = [each for each in psutil.Process().children() if "raylet/raylet" in " ".join(each.cmdline())]
    raylet[0].kill()
    while True:
        ray.put(np.zeros(1_000_000))
        time.sleep(0.1)
"""


def test_the_end_of_its_node_is_said_and_no_worker_is_left(tmp_path):
    """Ray ends such a driver when it next puts something into the object store, without a word."""
    log = tmp_path / "stderr"
    with short_folder() as folder:
        with log.open("w") as errors:
            command = [sys.executable, "-c", DRIVER, str(folder)]
            driver = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=90, check=False)
        assert driver.returncode == 1
        poll(lambda: "raymon train: the Ray node that the driver runs on has died" in log.read_text(), 20, "it is said")
        poll(lambda: not Path(f"/proc/{int(driver.stdout)}").exists(), 20, "the worker has ended")

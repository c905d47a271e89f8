"""What another process says about a driver that is gone, on real processes and sockets."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support import poll

from raymon.cluster import last_word
from raymon.cluster.own_node import watched

RAYLET = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listens", flush=True)
while True:
    listener.accept()
    print("seen", flush=True)
"""
DRIVER = """
import os, subprocess, sys, time
watcher = subprocess.Popen([sys.executable, "-I", "-S", *sys.argv[1:]], stdin=subprocess.PIPE, start_new_session=True)
if os.fork() == 0:  # a child that keeps the pipe open
    time.sleep(20)
    os._exit(0)
print("watched", flush=True)
sys.stdin.read()
"""


class Pair:
    """A listening process in place of a raylet, and a driver with its watcher."""

    def __init__(self, folder):
        self.path, self.said = str(folder / "raylet"), folder / "said"
        command = [sys.executable, "-c", RAYLET, self.path]
        self.raylet = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.raylet.stdout.readline() == b"listens\n"
        command = [sys.executable, "-c", DRIVER, last_word.__file__, self.path, "", "Resume."]
        with self.said.open("w") as log:
            self.driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        assert self.driver.stdout.readline() == b"watched\n"
        assert self.raylet.stdout.readline() == b"seen\n"

    def end(self):
        for process in (self.raylet, self.driver):
            process.kill()
            process.wait()


@pytest.fixture
def pair(tmp_path):
    started = Pair(tmp_path)
    yield started
    started.end()


def test_a_driver_that_vanishes_while_its_node_lives_was_killed(pair):
    pair.driver.kill()
    poll(pair.said.read_text, 30.0, "a last word")
    assert pair.said.read_text().startswith("raymon train: the training process was killed")
    assert pair.said.read_text().endswith(" Resume.\n")


def test_a_driver_whose_raylet_died_before_has_lost_its_node(pair):
    pair.raylet.kill()
    pair.raylet.wait()
    time.sleep(1.0)  # ten looks of the watcher
    pair.driver.kill()
    poll(pair.said.read_text, 30.0, "a last word")
    assert pair.said.read_text().startswith("raymon train: the Ray node that the driver runs on has died")


def test_a_driver_that_ends_in_order_needs_no_word_and_waits_for_no_child(tmp_path, capfd):
    began = time.monotonic()
    with watched(False, "Resume."):
        child = os.fork()  # it keeps the pipe open
        if child == 0:
            time.sleep(30.0)
            os._exit(0)
    lasted = time.monotonic() - began
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert lasted < 4.0, "the watcher hears the farewell, and is not killed for being late"
    assert capfd.readouterr().err == ""


def test_only_workers_of_the_session_are_ended(tmp_path):
    session, other = tmp_path / "session_1", tmp_path / "session_10"
    started = []
    for folder, title in ((session, "ray::IDLE"), (other, "ray::IDLE"), (session, "tail")):
        folder.mkdir(exist_ok=True)
        with (folder / "worker.out").open("a") as log:
            started.append(subprocess.Popen([title, "60"], executable="/bin/sleep", stdout=log))
    try:
        last_word.end_orphans(session)
        poll(lambda: started[0].poll() is not None, 10.0, "the worker's end")
        assert [process.poll() for process in started] == [-9, None, None]
    finally:
        for process in started:
            process.kill()
            process.wait()

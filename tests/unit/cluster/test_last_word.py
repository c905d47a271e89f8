"""What another process says about a driver that is gone, on real processes and sockets."""

import socket
import subprocess
import sys

import pytest
from support import poll

from raymon.cluster import last_word


@pytest.fixture
def raylet(tmp_path):
    """The path of a socket and the listener there, as a raylet has them."""
    path = str(tmp_path / "raylet")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        yield path, listener


def said(*arguments, farewell=b""):
    """Return what the watcher of a driver prints once the driver has ended."""
    command = [sys.executable, "-I", "-S", last_word.__file__, *arguments]
    watcher = subprocess.run(command, input=farewell, capture_output=True, timeout=30, check=True)
    return watcher.stderr.decode()


def test_a_driver_that_ends_in_order_needs_no_word(raylet):
    assert said(raylet[0], "", "Resume.", farewell=last_word.FAREWELL) == ""


def test_a_driver_that_vanishes_while_its_node_lives_was_killed(raylet):
    assert said(raylet[0], "", "Resume.").startswith("raymon train: the training process was killed")
    assert said("", "", "Resume.").endswith("Resume.\n")


def test_a_driver_whose_raylet_is_gone_is_said_to_have_lost_its_node(raylet):
    path, listener = raylet
    listener.close()
    assert said(path, "", "Resume.") == f"raymon train: {last_word.NODE_DIED}. Resume.\n"


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

"""The child process that asks the control store does not outlive the process that started it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from support import poll


def test_a_child_whose_parent_was_killed_ends_although_the_control_store_is_silent():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        script = f"from raymon.cluster.cluster_state import ask; ask({address!r}, 300.0)"
        with subprocess.Popen([sys.executable, "-c", script]) as parent:
            child = poll(lambda: children(parent.pid), 30, "the child runs")[0]
            poll(lambda: b"cluster_state" in command(child), 30, "the child asks")
            silent.settimeout(60)
            silent.accept()
            os.kill(parent.pid, signal.SIGKILL)
        poll(lambda: not command(child), 15, "the child ends")


def children(pid):
    return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""

"""Ports: a chosen one is reserved from other processes, without a file that another user could plant."""

import contextlib
import os
import socket
import sys

import pytest
from support import ROOT, Command, free_port, poll

from raymon.cluster import ports

PICK = (
    "import time; from raymon.cluster.ports import pick_port\n"
    "print(pick_port(0, {}, 'it', '--it'), flush=True); time.sleep(60)"
)


def test_next_free_port_is_picked():
    with socket.socket() as taken:
        usual = free_port()
        taken.bind(("127.0.0.1", usual))
        taken.listen()
        assert ports.pick_port(0, usual, "the test", "--port") > usual
        with pytest.raises(ports.PortError, match=f"port {usual} for the test is in use"):
            ports.pick_port(usual, usual, "the test", "--port")
    assert ports.pick_port(usual, usual, "the test", "--port") == usual


def test_processes_that_start_together_pick_different_ports(tmp_path):
    usual = free_port()
    with contextlib.ExitStack() as stack:
        options = {"cwd": tmp_path, "program": (sys.executable,), "PYTHONPATH": str(ROOT)}
        runs = [stack.enter_context(Command("-c", PICK.format(usual), **options)) for _ in range(3)]
        picked = {poll(lambda run=run: run.text().strip(), 30, "a port") for run in runs}
    assert len(picked) == 3


def test_planted_lock_files_neither_block_nor_are_followed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    port = free_port()
    os.mkfifo(tmp_path / f"raymon-port-{port}-{os.getuid()}.lock")
    assert ports.reserve(port)
    (tmp_path / f"raymon-port-{port + 1}-{os.getuid()}.lock").symlink_to(tmp_path / "created")
    ports.reserve(port + 1)
    assert not (tmp_path / "created").exists()

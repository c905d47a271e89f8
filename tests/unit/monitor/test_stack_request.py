"""A healthy process writes its stacks when the request file is read, and only then."""

import os
import threading
import time

import pytest
from support import poll

from raymon.monitor import process_evidence, standstill
from raymon.monitor.private_files import FOLDER
from raymon.monitor.stack_request import NAME, StackRequests
from raymon.monitor.standstill import Standstills


class Healthy:
    """A monitor that makes progress."""

    run, worker = "r", "3"

    def progress_mark(self):
        return time.monotonic()

    def troubles(self):
        return {}


@pytest.fixture
def logs(tmp_path):
    """Ray's folder of logs on a file system that keeps times of access."""
    (tmp_path / "logs").mkdir()
    probe = tmp_path / "probe"
    probe.write_text("x")
    before = probe.stat().st_atime_ns
    time.sleep(0.02)
    probe.read_text()
    if probe.stat().st_atime_ns == before:
        pytest.skip("this file system is mounted with noatime")
    return tmp_path / "logs"


def test_every_reading_is_one_request_to_each_process(logs):
    processes = [StackRequests(), StackRequests()]
    assert [each.is_new(logs) for each in processes] == [False, False]
    for _ in range(3):
        assert [each.is_new(logs) for each in processes] == [False, False]
        time.sleep(0.02)
        assert (logs / FOLDER / NAME).read_text()
        assert [each.is_new(logs) for each in processes] == [True, True]
    (logs / FOLDER / NAME).unlink()
    assert [processes[0].is_new(logs) for _ in range(3)] == [False] * 3
    assert (logs / FOLDER / NAME).exists()


def test_file_of_another_kind_is_refused(logs, tmp_path):
    (logs / FOLDER).mkdir(0o700)
    target = tmp_path / "mine"
    target.write_text("mine")
    target.chmod(0o644)
    (logs / FOLDER / NAME).symlink_to(target)
    with pytest.raises(OSError, match=NAME):
        StackRequests().is_new(logs)
    assert target.stat().st_mode & 0o777 == 0o644


def test_healthy_process_answers_and_takes_its_stacks_back(logs, monkeypatch):
    monkeypatch.setattr(standstill, "ANSWERED_SECONDS", 0.3)
    stop, monitor, standstills = threading.Event(), Healthy(), Standstills()
    busy = threading.Thread(target=simulate, args=(stop,))
    busy.start()

    def evidence():
        standstills.look([monitor], logs.parent)
        return process_evidence.read(logs.parent, os.getpid())

    try:
        for _ in range(3):
            assert evidence() is None
        time.sleep(0.02)
        (logs / FOLDER / NAME).read_text()
        answer = poll(evidence, 5)
        assert (answer.state, answer.requested) == ("none", True)
        assert any(frame.function == "simulate" for stack in answer.stacks for frame in stack.frames)
        assert poll(lambda: (read := evidence()) and not read.requested and read, 5).stacks == ()
    finally:
        stop.set()
        standstills.stop([monitor])
        busy.join()


def test_second_request_right_after_an_answer_is_answered_too(logs):
    monitor, standstills = Healthy(), Standstills()

    def written():
        standstills.look([monitor], logs.parent)
        if standstills._taking is not None:
            standstills._taking.join()
        evidence = process_evidence.read(logs.parent, os.getpid())
        return evidence.written if evidence else 0.0

    try:
        answers = [written()]
        for _ in range(2):
            time.sleep(0.02)
            (logs / FOLDER / NAME).read_text()
            answers.append(written())
        assert 0.0 == answers[0] < answers[1] < answers[2]
        assert written() == answers[2], "no request, no answer"
    finally:
        standstills.stop([monitor])


def simulate(stop):
    while not stop.is_set():
        time.sleep(0.01)

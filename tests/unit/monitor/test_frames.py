"""Whose code a frame is."""

import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import poll

import raymon
from raymon.monitor import frames

PACKAGE = Path(raymon.__file__).parent


@pytest.mark.parametrize("part", ["monitor", "rllib"])
def test_recording_is_not_the_users_code(part):
    files = sorted((PACKAGE / part).rglob("*.py"))
    assert files
    assert [str(file) for file in files if frames.is_users(str(file))] == []


@pytest.mark.parametrize("file", ["/home/me/trainer/env.py", "/work/raymon/train/trainer.py"])
def test_trainers_are_the_users_code(file):
    assert frames.is_users(file)


def test_thread_that_hangs_is_named_and_not_the_one_that_waits_for_it():
    release, begun = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2, "pool") as pool:
        future = pool.submit(simulate, begun, release)
        waiting = threading.Thread(target=wait_for, args=(future,), name="waits")
        waiting.start()
        try:
            assert begun.wait(10)
            poll(lambda: waits(waiting), 10, "the thread waits")
            stacks = [stack for stack in frames.current_stacks() if re.match("pool|waits", stack.name)]
            assert frames.first_place(reversed(stacks)).startswith("simulate → wait (test_frames.py:")
            assert frames.first_place(stacks).startswith("simulate → wait (test_frames.py:")
        finally:
            release.set()
            waiting.join()


def test_call_inside_another_is_named_and_not_the_outer_one():
    release, results = threading.Event(), []
    thread = threading.Thread(target=collect, args=(results, release.wait), name="collects")
    thread.start()

    def place():
        stacks = {stack.name: stack for stack in frames.current_stacks()}
        return next((each for each in stacks["collects"].frames if each.function == "collect"), None)

    try:
        called = poll(place, 10).calls
    finally:
        release.set()
        thread.join()
    assert called == ("ask" if sys.version_info >= (3, 11) else "append")


def collect(results, ask):
    results.append(ask(30))


def wait_for(future):
    future.result()


def simulate(begun, release):
    begun.set()
    release.wait()


def waits(thread):
    stacks = {stack.name: stack for stack in frames.current_stacks()}
    return frames.where(stacks[thread.name].frames).startswith("wait_for → result")


def lose():
    raise ArithmeticError("the loss is not finite")


def test_exception_that_a_line_raises_is_no_function():
    with pytest.raises(ArithmeticError) as caught:
        lose()
    assert frames.where(frames.frames_of_error(caught.value)).startswith("lose (test_frames.py:")

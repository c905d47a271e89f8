"""From where the processes stand to the one that hangs and who waits for it."""

import pytest

from raymon.incident.hang import hang
from raymon.incident.processes import Standing

NOW = 1_800_000_000.0
RECV = Standing("Env.step → recv (my_env.py:88)", "python", NOW - 14)
WAITS = Standing("train → wait (train.py:9)", "python", NOW - 13, ("worker 3",))
FINE = Standing()


def test_worker_that_hangs_is_named_with_its_line_and_who_waits_for_it():
    hanging = hang({"driver": WAITS, "worker 2": FINE, "worker 3": RECV}, [], NOW)
    assert hanging.processes == ("worker 3",)
    assert hanging.where == RECV.where
    assert hanging.sentence == (
        "Worker 3 hangs in `Env.step → recv (my_env.py:88)`, for 14 s. "
        "The driver waits for it in `train → wait (train.py:9)`."
    )


def test_two_that_wait_for_each_other_are_a_deadlock():
    one = Standing("a → get (t.py:1)", "python", NOW - 9, ("worker 2",))
    two = Standing("b → get (t.py:2)", "python", NOW - 9, ("worker 1",))
    driver = Standing("main → wait (t.py:3)", "python", NOW - 9, ("worker 1", "worker 2"))
    hanging = hang({"driver": driver, "worker 1": one, "worker 2": two}, ["worker 1"], NOW)
    assert hanging.processes == ("worker 1", "worker 2")
    assert hanging.sentence.startswith("Worker 1 and worker 2 wait for each other: Worker 1 in `a → get (t.py:1)`")


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (Standing("f (t.py:1)", "stopped"), "its process was stopped by a signal"),
        (Standing("f (t.py:1)", "native", NOW - 5), "native code holds the interpreter's lock"),
        (
            Standing("f → run (t.py:1)", "python", NOW - 5, child="sleep 9 (pid 7)"),
            "its child process is sleep 9 (pid 7)",
        ),
        (Standing(state="gone"), "Worker 3 is gone"),
    ],
)
def test_how_it_hangs(standing, words):
    assert words in hang({"worker 3": standing}, ["worker 3"], NOW).sentence


def test_a_dead_worker_shows_where_the_driver_waits():
    driver = Standing("main → get (t.py:3)", "python", NOW - 9)
    hanging = hang({"driver": driver, "worker 3": Standing(state="gone")}, ["worker 3"], NOW)
    assert (hanging.processes, hanging.where) == (("worker 3",), "main → get (t.py:3)")


def test_nothing_hangs_in_a_healthy_run():
    assert hang({"driver": FINE, "worker 3": FINE}, [], NOW) is None

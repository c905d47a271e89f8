"""Similar stacks are grouped, so that the process that differs is found."""

from raymon.incident.stack_groups import grouped, sentence

WAITING = ["get (ray/_private/worker.py:10)", "loop (mine.py:3)"]


def test_the_odd_process_comes_first_and_lines_do_not_count():
    stacks = {f"worker {n}": [f"step (sim.py:{n})", "sample (mine.py:8)"] for n in range(7)}
    groups = grouped({**stacks, "worker 7": ["recv (my_env.py:88)", "step (my_env.py:20)"]})
    assert groups[0].processes == ("worker 7",)
    assert groups[0].frames[0] == "recv (my_env.py:88)"
    assert sentence(groups) == "7 of 8 processes are in step (sim.py); worker 7 is in recv (my_env.py)."


def test_two_actors_that_wait_for_each_other_are_named():
    groups = grouped({"worker 0": WAITING, "worker 1": WAITING})
    assert sentence(groups) == "2 of 2 processes are in get (ray/_private/worker.py)."


def test_no_stack_is_said():
    assert sentence(grouped({})) == "No stack could be read."

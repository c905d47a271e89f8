"""Replacements of a worker, as its processes show them."""

from raymon.live.subject import Process, Subject


def worker(*processes):
    """Return a worker with processes of (first seen, last heartbeat, round)."""
    known = [Process(str(n), "node", seen, beat=beat, round=at) for n, (seen, beat, at) in enumerate(processes)]
    return Subject("r", "0", {}, {process.worker_id: process for process in known})


def test_a_process_in_place_of_a_silent_one_is_a_replacement():
    assert worker((0.0, 50.0, 1)).replaced(0.0, 2.0) == []
    assert worker((0.0, 10.0, 1), (13.0, None, 4), (20.0, 50.0, 9)).replaced(0.0, 2.0) == [13.0, 20.0]
    assert worker((0.0, 50.0, 1), (20.0, 49.5, 9)).replaced(0.0, 2.0) == [], "two actors with one number"
    assert worker((0.0, None, 1), (20.0, 50.0, 9)).replaced(0.0, 2.0) == [], "gone before the first collection"
    assert worker((0.0, 10.0, 1), (20.0, 50.0, 9)).replaced(15.0, 2.0) == [], "of an earlier run of that name"

"""Replacements of a worker, as its processes show them."""

from raymon import catalog
from raymon.live.subject import Process, Subject, key_of


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


def test_failure_counts_until_the_next_flush_with_a_success():
    subject = worker((0.0, 50.0, 1))
    assert subject.failures_since_success() == 0.0
    done, failed = (subject.column(key, 9) for key in (key_of(catalog.ROLLOUTS), key_of(catalog.ROLLOUT_FAILURES, "E")))
    for successes, failures, expected in (
        (3.0, 0.0, 0.0),
        (4.0, 1.0, 1.0),
        (4.0, 1.0, 1.0),
        (4.0, 2.0, 2.0),
        (5.0, 2.0, 0.0),
    ):
        subject.totals[done], subject.totals[failed] = successes, failures
        assert subject.failures_since_success() == expected


def test_failures_of_an_earlier_run_of_the_same_name_do_not_count():
    subject = worker((0.0, 50.0, 1))
    failed = subject.column(key_of(catalog.ROLLOUT_FAILURES, "E"), 9)
    for began, failures, expected in ((0.0, 1.0, 1.0), (5.0, 1.0, 1.0), (90.0, 1.0, 0.0), (90.0, 2.0, 1.0)):
        subject.totals[failed] = failures
        assert subject.failures_since_success(began) == expected

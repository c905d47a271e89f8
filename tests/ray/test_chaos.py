"""The short form of the benchmark of random faults: a real run is struck, goes on, and its numbers add up."""

import random

import pytest
from support import short_folder

from benchmarks import chaos
from benchmarks.chaos_faults import FAULTS


@pytest.fixture(scope="module")
def cluster():
    with short_folder() as folder:
        started = chaos.OneNode(folder)
        yield started
        started.close()


def play(cluster, name, *names):
    faults = [next(fault for fault in FAULTS if fault.name == each) for each in names]
    outcomes = list(chaos.play(cluster, "one", "own", faults, name, random.Random(0), cluster.folder / name))
    assert [outcome.fault.name for outcome in outcomes] == list(names)
    for outcome in outcomes:
        assert outcome.survived, outcome.line()
        assert outcome.named_seconds is not None, outcome.line()
        assert not outcome.silent, outcome.line()
        assert not outcome.broken, outcome.line()


def test_run_survives_faults_and_its_counters_equal_the_ledger(cluster):
    play(cluster, "struck", "worker killed (SIGKILL)", "exception in an environment", "Ctrl-C")

"""The short form of the benchmarks of hangs and deaths: real trouble in a trainer that is not raymon's."""

import pytest
from support import short_folder

from benchmarks import deaths, hangs
from benchmarks.death_cases import DEATHS
from benchmarks.hang_cases import CASES
from benchmarks.watched import Head, watch


@pytest.fixture(scope="module")
def cluster():
    with short_folder() as folder:
        head = Head(folder)
        yield head, folder
        head.kill()


def test_incident_names_the_worker_and_the_line_in_native_code(cluster):
    head, folder = cluster
    watcher = watch(folder, head.metrics_url)
    try:
        case = next(case for case in CASES if case.name == "native sleep that keeps the interpreter")
        result = hangs.play(case, 0, head, folder, warm_up=6.0)
    finally:
        watcher.end()
    assert result.named, result
    assert result.shown, result


@pytest.mark.parametrize("name", ["worker killed (SIGKILL)", "exception in the learner"])
def test_postmortem_is_right_from_the_recording_of_a_killed_watcher(cluster, name):
    head, folder = cluster
    number, case = next((number, case) for number, case in enumerate(DEATHS) if case.name == name)
    result = deaths.play(case, number, head, folder)
    assert result.passed, result

"""What a view takes from a run's driver."""

import math

import pytest
from health_views import run, worker
from metrics_pages import FakeCluster, FakeDriver

from raymon import catalog
from raymon.live.collector import _is_live
from raymon.live.driver_view import Driver, learning


@pytest.mark.parametrize(
    ("returns", "mean"), [([1e308, 1e308, math.nan], 1e308), ([math.inf, -math.inf], None), ([1.0, 3.0], 2.0)]
)
def test_mean_return_of_workers_is_that_of_finite_ones(returns, mean):
    workers = [worker(str(number), episode_return=value) for number, value in enumerate(returns)]
    assert learning(Driver(), workers).get("return_mean") == (mean if mean is None else pytest.approx(mean))


@pytest.mark.parametrize(("until", "ended", "shared"), [(40, "", True), (3, "", False), (40, "finished", False)])
def test_two_drivers_under_one_name_are_named_once_both_have_reported(until, ended, shared):
    first, second = FakeDriver(), FakeDriver(life=2)
    first.set(catalog.PROCESS_ID, 71)
    second.set(catalog.PROCESS_ID, 72)
    fake = FakeCluster(first)
    fake.run(5)
    fake.processes.append(second)
    first.state = ended or first.state
    fake.run(until)
    first.beats = until == 40
    snapshot = fake.run(20 if until < 20 else 1)
    remarks = [finding.sentence for finding in snapshot.verdicts["r"].findings if finding.code == "name_shared"]
    expected = (
        "Two drivers report as run 'r' and mix their numbers: pid 71 on node 10.0.0.1 and pid 72 on node 10.0.0.1."
    )
    assert remarks == ([expected] if shared else [])


@pytest.mark.parametrize(("age", "report", "live"), [(60.0, 60.0, True), (60.0, 1.0, False), (200.0, 60.0, False)])
def test_run_whose_reports_are_rare_is_live(age, report, live):
    assert _is_live(run(worker("1"), data_age_seconds=age, report_seconds=report)) == live

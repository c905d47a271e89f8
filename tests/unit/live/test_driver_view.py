"""What a view takes from a run's driver."""

import math

import pytest
from health_views import run, worker

from raymon.live.collector import _is_live
from raymon.live.driver_view import Driver, learning


@pytest.mark.parametrize(
    ("returns", "mean"), [([1e308, 1e308, math.nan], 1e308), ([math.inf, -math.inf], None), ([1.0, 3.0], 2.0)]
)
def test_mean_return_of_workers_is_that_of_finite_ones(returns, mean):
    workers = [worker(str(number), episode_return=value) for number, value in enumerate(returns)]
    assert learning(Driver(), workers).get("return_mean") == (mean if mean is None else pytest.approx(mean))


@pytest.mark.parametrize(("age", "report", "live"), [(60.0, 60.0, True), (60.0, 1.0, False), (200.0, 60.0, False)])
def test_run_whose_reports_are_rare_is_live(age, report, live):
    assert _is_live(run(worker("1"), data_age_seconds=age, report_seconds=report)) == live

"""When a difference between workers is more than the noise between windows."""

import math

import pytest
from health_views import run, worker

from raymon.health import judge_workers

STEADY = (1.0, 0.98, 1.03, 1.0, 0.97, 1.02, 1.01)
"""How windows of a quiet run vary, as factors."""


def state(now, earlier, others=STEADY, **more):
    """Return the verdict on worker 0: its cost now and in earlier windows, beside five workers that vary."""
    latency = {"latency_seconds": {"p50": 0.1, "p95": 0.13, "p99": 0.15}, **more}
    workers = [worker(str(number), 0.1 * (now if number == 0 else 1.0), **latency) for number in range(6)]
    windows = tuple(
        {str(n): 0.001 * (own if n == 0 else others[(index + n) % len(others)]) for n in range(6)}
        for index, own in enumerate(earlier)
    )
    return judge_workers(run(*workers, earlier_step_seconds=windows, watched_seconds=60.0))[0].state


@pytest.mark.parametrize("factor", [1.8, 2.5, 8.0])
def test_one_slow_window_is_enough_in_a_quiet_run(factor):
    assert state(factor, STEADY) == "slow"


def test_worker_at_the_limit_is_not_slow():
    assert state(1.55, [1.55] * 7) == "running"


def test_worker_that_jumps_from_window_to_window_is_not_slow():
    wild = (1.6, 0.75, 0.9, 1.1, 0.7, 1.5, 1.0)
    assert state(2.5, (2.4, 0.7, 1.3, 2.1, 0.7, 1.5, 1.0), wild) == "running"
    assert state(8.0, (8.0, *wild[:5]), wild) == "slow"


def test_heavy_tails_are_known_by_their_latencies_before_any_other_window():
    tails = {"latency_seconds": {"p50": 0.13, "p95": 1.1, "p99": 1.2}, "rollouts_per_second": 2.0}
    assert state(2.4, [], **tails) == "running"
    assert state(2.4, []) == "slow"
    assert state(math.e, [3.0], **tails) == "running"

"""Rollouts that raise are counted by the class of their exception, and are no progress."""

import asyncio

import pytest

import raymon
from raymon import catalog
from raymon.monitor import monitor_of


def counted(monitor):
    """Return the failures by class and the number of rollouts that succeeded."""
    increases = {key: more for key, _, more in monitor.accumulator.take().increases}
    failures = {values[0]: more for (name, values), more in increases.items() if name == catalog.ROLLOUT_FAILURES.name}
    return failures, increases[catalog.ROLLOUTS.name, ()]


def fail(monitor, kind):
    with pytest.raises(kind), monitor.rollout():
        raise kind


def test_failed_rollouts_are_counted_by_class_and_are_no_progress():
    monitor = raymon.Monitor(worker=0, run="failures")
    for kind in (TypeError, TypeError, ConnectionResetError):
        fail(monitor, kind)
    with monitor.rollout():
        pass
    assert counted(monitor) == ({"TypeError": 2, "ConnectionResetError": 1}, 1)


def test_rollouts_without_a_step_are_counted_where_steps_are():
    monitor = raymon.Monitor(worker=0, run="failures")
    for steps in (3, 0, 0):
        monitor.steps(steps)
    assert monitor.accumulator.cell(catalog.EMPTY_ROLLOUTS).total == 2


@pytest.mark.parametrize("kind", [GeneratorExit, StopIteration, KeyboardInterrupt, asyncio.CancelledError])
def test_rollouts_ended_on_purpose_are_no_failures(kind):
    monitor = raymon.Monitor(worker=0, run="failures")
    fail(monitor, kind)
    assert counted(monitor) == ({}, 0)


def test_exception_classes_are_bounded():
    monitor = raymon.Monitor(worker=0, run="failures")
    for number in range(12):
        fail(monitor, type(f"Error{number}", (Exception,), {}))
    failures, _ = counted(monitor)
    assert len(failures) == catalog.MOST_FAILURE_CLASSES + 1
    assert failures[catalog.OTHER_FAILURES] == 12 - catalog.MOST_FAILURE_CLASSES


def test_instrumented_methods_count_failures_of_every_kind_of_method():
    @raymon.instrument(rollout=("plain", "coroutine", "items"), run="failures")
    class Sampler:
        def plain(self):
            raise TypeError

        async def coroutine(self):
            raise ValueError

        def items(self):
            yield 1
            raise LookupError

    sampler = Sampler()
    for call in (sampler.plain, lambda: asyncio.run(sampler.coroutine()), lambda: list(sampler.items())):
        with pytest.raises((TypeError, ValueError, LookupError)):
            call()
    assert counted(monitor_of(sampler)) == ({"TypeError": 1, "ValueError": 1, "LookupError": 1}, 1)

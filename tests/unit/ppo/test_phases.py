"""The trainer's own times of an iteration's phases, compared with the monitor's."""

import time

import pytest

from raymon import DriverMonitor, catalog
from raymon.ppo.phases import Phases


def seconds(driver, phase):
    return driver.accumulator._cells[catalog.PHASE_SECONDS.name, (phase,)].total * 1e-9


def test_brief_phases_are_handed_over_with_the_lap():
    driver = DriverMonitor("brief")
    phases = Phases(driver)
    began = time.perf_counter()
    with driver.iteration():
        phases.begin()
        for _ in range(200):
            with phases.brief("inference"):
                time.sleep(0.0001)
        with phases("sample"):
            time.sleep(0.02)
        lap = phases.lap()
    wall = time.perf_counter() - began
    assert set(lap) == {"inference", "sample", "other"}
    assert lap["inference"] >= 0.02
    for phase in ("inference", "sample"):
        assert seconds(driver, phase) == pytest.approx(lap[phase], abs=0.002)
    assert sum(seconds(driver, phase) for phase in ("inference", "sample", "other")) == pytest.approx(wall, abs=0.005)
    assert phases.lap().keys() == {"other"}


def test_brief_phases_of_a_long_lap_show_while_it_lasts(monkeypatch):
    monkeypatch.setattr("raymon.ppo.phases._HAND_OVER_SECONDS", 0.01)
    driver = DriverMonitor("long")
    phases = Phases(driver)
    with driver.iteration():
        with phases.brief("transfer"):
            time.sleep(0.02)
        assert seconds(driver, "transfer") >= 0.02


def test_a_brief_phase_that_raises_is_timed_and_raises():
    phases = Phases(DriverMonitor("raises"))
    with pytest.raises(ZeroDivisionError), phases.brief("weights"):
        raise ZeroDivisionError
    assert phases.lap()["weights"] > 0.0

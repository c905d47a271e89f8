"""Moments of a timeline from shares of time."""

from raymon.live.shown_phase import ShownPhases


def test_moments_are_in_proportion_to_the_time_of_each_phase():
    phases = ShownPhases()
    shown = [phases.next("r", "0", {"environment": 0.3, "inference": 0.1, "waiting": 0.6}) for _ in range(100)]
    assert [round(shown.count(phase) / 10) for phase in ("environment", "inference", "waiting")] == [3, 1, 6]
    assert phases.next("r", "1", {}) is None

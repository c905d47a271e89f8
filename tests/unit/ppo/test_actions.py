"""Actions of a policy, read back from a checkpoint."""

import dataclasses

import numpy as np
import pytest
from gymnasium import spaces

from raymon.ppo.actions import action_spec, action_spec_from

BOX = dataclasses.asdict(action_spec(spaces.Box(-2.0, 3.0, (2,), np.float32)))


def test_stored_actions_are_read_back():
    assert dataclasses.asdict(action_spec_from(BOX)) == BOX


@pytest.mark.parametrize("end", [1e39, float("nan"), float("-inf"), True, "3"])
def test_bounds_that_are_no_finite_numbers_are_refused(end):
    with pytest.raises(ValueError, match="expected sizes above 0, finite bounds"):
        action_spec_from({**BOX, "high": (3.0, end)})

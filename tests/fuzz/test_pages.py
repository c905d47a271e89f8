"""No metrics page, recording or answer of Prometheus crashes what is drawn from it: 2,000 changed samples for each."""

import pytest

from fuzz import metrics
from fuzz.harnesses import feed

INPUTS = 2_000
SEED = 1


@pytest.mark.parametrize("harness", metrics.HARNESSES, ids=lambda harness: harness.name)
def test_drawing_survives_changed_samples(harness):
    outcome = feed(harness.name, range(INPUTS), SEED)
    assert not outcome.failures, "\n".join(map(str, outcome.failures[:3]))
    assert outcome.inputs == INPUTS

"""No input from outside crashes, hangs or fills the memory of a parser: 2,000 changed samples for each.

`python -m fuzz` feeds more; the pages that are drawn have a file of their own, so that two processes share the work.
"""

import pytest

from fuzz import metrics
from fuzz.harnesses import HARNESSES, feed

INPUTS = 2_000
SEED = 1


@pytest.mark.parametrize("name", [name for name, harness in HARNESSES.items() if harness not in metrics.HARNESSES])
def test_parser_survives_changed_samples(name):
    outcome = feed(name, range(INPUTS), SEED)
    assert not outcome.failures, "\n".join(map(str, outcome.failures[:3]))
    assert outcome.inputs == INPUTS

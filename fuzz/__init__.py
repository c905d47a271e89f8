"""Fuzzing of every parser of data from outside: seeded, bounded, by mutation of real samples.

    python -m fuzz --inputs 1000000        # all harnesses
    python -m fuzz --harness checkpoint --seed 7 --only 1234    # one input again

They share samples with the tests, such as the synthetic cluster, so `tests/` is put on the import path.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

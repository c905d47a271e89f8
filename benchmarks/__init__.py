"""Measurements of raymon: each module is a script that prints what it measured.

They share helpers with the tests, such as the synthetic cluster, so `tests/` is added to the import path.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

"""`python -m raymon`: the same as the console script."""

import sys

from raymon.cli import main

sys.exit(main())

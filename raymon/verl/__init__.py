"""verl without a line of code: what verl 0.9 imports from the group `verl.plugins` in each of its processes.

Imported elsewhere, this package changes nothing. In a process of verl it waits for the modules of verl that
`seams.SEAMS` lists and wraps, as each is imported, the few functions that say what the process does: the constructor of
a worker says its role, registered methods and `marked_timer` the phases, the client of the inference servers the
responses, `Tracking.log` the learning. What this verl lacks is left alone and its figures stay empty. `RAYMON_VERL=0`
switches all of it off.

Only what pickles by reference is wrapped, so that a process without raymon runs verl as it is.
"""

import logging
import os
import sys
from typing import Final

VARIABLE: Final = "RAYMON_VERL"
VERSIONS: Final = ("0.9.",)
"""Beginnings of the versions of verl that raymon was run with; older ones do not read `verl.plugins`."""


def _install() -> None:
    """Wait for verl's modules if this process runs a version of verl that is known, and raymon is wanted."""
    version = str(getattr(sys.modules.get("verl"), "__version__", ""))
    if not version or os.environ.get(VARIABLE) == "0":
        return
    if not version.startswith(VERSIONS):
        logging.getLogger("raymon").info("raymon does not know verl %s and records nothing of it", version)
        return
    from raymon.verl.seams import Seams

    Seams().install()


_install()

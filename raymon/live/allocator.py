"""The allocator of a process that reads for days: few arenas, so that its memory stays flat.

glibc gives the threads of a process arenas, up to eight for each core; an arena keeps what any of its threads ever
needed. A reader starts a thread for each request and several for each incident, so one arena after the other grows.
"""

import ctypes
import os
from typing import Final

MOST_ARENAS: Final = 2
_ARENA_MAX: Final = -8
"""`M_ARENA_MAX` in glibc's `malloc.h`."""


def limit_arenas() -> bool:
    """Serve all threads of this process from two arenas; call it before it starts any.

    Returns:
        False where the user has chosen with `MALLOC_ARENA_MAX`, or where the C library has no arenas.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(_ARENA_MAX, MOST_ARENAS))
    except (AttributeError, OSError, TypeError):
        return False

"""The allocator of a process that reads for days: few arenas without large blocks, so that its memory stays flat.

glibc gives the threads of a process arenas, up to eight for each core; an arena keeps what any of its threads ever
needed. A reader starts a thread for each request and several for each incident, so one arena after the other grows.

A large block comes from the kernel and goes back to it, but once one has been freed, glibc takes blocks up to its size
from the heap. There, what is allocated while evidence is collected leaves holes between them, and the heap grows.
"""

import ctypes
import os
from typing import Final

MOST_ARENAS: Final = 2
LARGE_BYTES: Final = 128 * 1024
"""glibc's own first limit; one that is set stays."""
_ARENA_MAX: Final = -8
"""`M_ARENA_MAX` in glibc's `malloc.h`; below are `M_MMAP_THRESHOLD` and `M_TRIM_THRESHOLD`."""
_MMAP_THRESHOLD: Final = -3
_TRIM_THRESHOLD: Final = -1


def limit_arenas() -> bool:
    """Serve all threads of this process from two arenas, without large blocks; call it before it starts any.

    Returns:
        False where the user has set one of these limits with `MALLOC_…`, or where the C library has no arenas.
    """
    options = {
        "MALLOC_ARENA_MAX": (_ARENA_MAX, MOST_ARENAS),
        "MALLOC_MMAP_THRESHOLD_": (_MMAP_THRESHOLD, LARGE_BYTES),
        "MALLOC_TRIM_THRESHOLD_": (_TRIM_THRESHOLD, LARGE_BYTES),
    }
    try:
        mallopt = ctypes.CDLL(None).mallopt
        chosen = [bool(mallopt(*option)) for name, option in options.items() if name not in os.environ]
        return len(chosen) == len(options) and all(chosen)
    except (AttributeError, OSError, TypeError):
        return False

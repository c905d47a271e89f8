"""Recognise an end for want of disk space from its error, and say how full the disk was: pure functions.

    >>> full_disk("OSError: [Errno 28] No space left on device")
    'A disk was full'

Ray watches one disk of each node, that of its temporary folder; a checkpoint may go to another one.
"""

from collections.abc import Sequence
from typing import Final

from raymon.format import share
from raymon.views import NodeView

_QUOTA: Final = ("errno 122", "disk quota exceeded")
_DISK_FULL: Final = ("no space left on device", "errno 28", "outofdiskerror", *_QUOTA)
_FULL_RATIO: Final = 0.95
"""Share of a disk in use beyond which it is said to be the one that was full."""
_OTHERS: Final = "another one, a quota or the inodes, or full for a moment only"
"""Ray reads a disk every few seconds, and what does not fit is often removed at once."""


def names_full_disk(detail: str) -> bool:
    """Return whether an error says that a disk was full."""
    return any(word in detail.lower() for word in _DISK_FULL)


def full_disk(detail: str) -> str:
    """Return what an error that names a full disk says: `A disk was full` or `A disk quota was exceeded`."""
    return "A disk quota was exceeded" if any(word in detail.lower() for word in _QUOTA) else "A disk was full"


def disk_figure(nodes: Sequence[NodeView]) -> str:
    """Return how full the disk of a node was that Ray watches; the process may have written to another one.

    Args:
        nodes: The node, as known within the last seconds, the newest last.
    """
    for node in reversed(nodes):
        if node.disk_used_bytes and node.disk_free_bytes is not None:
            ratio = node.disk_used_bytes / (node.disk_used_bytes + node.disk_free_bytes)
            other = "" if ratio >= _FULL_RATIO else f", so it was {_OTHERS}"
            return f"; the disk of node {node.address} that Ray watches was {share(ratio)} full{other}"
    return ""

"""Whether two `host:port` texts are the same endpoint: names resolve to addresses, a machine has several of its own."""

import contextlib
import socket
from collections.abc import Iterable
from typing import Final

from raymon.stack.deadline import bounded

_RESOLVE_SECONDS: Final = 2.0
_LOOPBACK: Final = "127.0.0.1"


def found_among(wanted: str, named: Iterable[str], here: bool) -> str | None:
    """Return which of the `host:port` texts is the endpoint `wanted`; None when none of them is.

    Args:
        wanted: `host:port` as the cluster names it.
        named: `host:port` as Prometheus names its targets.
        here: Whether that Prometheus runs on this machine, so that its loopback is ours.
    """
    names = list(named)
    if wanted in names:
        return wanted
    host, _, port = wanted.rpartition(":")
    for name in names:
        other, _, other_port = name.rpartition(":")
        if other_port == port and (_resolves(other, host) or (here and other == _LOOPBACK and _is_ours(host))):
            return name
    return None


def _resolves(name: str, address: str) -> bool:
    with contextlib.suppress(OSError, UnicodeError, TimeoutError):
        addresses = bounded(lambda: socket.getaddrinfo(name.strip("[]"), None), _RESOLVE_SECONDS)
        return address.strip("[]") in {str(entry[4][0]) for entry in addresses}
    return False


def _is_ours(address: str) -> bool:
    """Tell whether an address is one of this machine's: others cannot be listened on."""
    bare = address.strip("[]")
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_INET6 if ":" in bare else socket.AF_INET, socket.SOCK_DGRAM) as own,
    ):
        own.bind((bare, 0))
        return True
    return False

"""TCP ports of the loopback for the programs that raymon starts.

A program may listen seconds after its port was chosen. Until then the port is reserved: this process holds the UDP port
of the same number, which needs no file and is free again when the process ends. Other programs may still take it.
"""

import socket
from typing import Final

from raymon.errors import UserError

EXPORT_PORT: Final = 9791
"""Default port of `raymon export`, which neither Ray nor Prometheus uses."""
_PORTS_TRIED: Final = 50
_LOOPBACK: Final = "127.0.0.1"
_reserved: Final[dict[int, int]] = {}
"""Port to the file descriptor of its UDP socket, open until this process ends."""


class PortError(UserError):
    """A port that is in use or not allowed."""


def pick_port(wanted: int, usual: int, program: str, option: str) -> int:
    """Return the wanted port, or with 0 the usual one or the next that is free.

    Raises:
        PortError: It is in use or not allowed, or none of the next is free.
    """
    if wanted:
        if is_free(wanted):
            return wanted
        raise PortError(
            f"port {wanted} for {program} is in use or not allowed; choose another with {option}, or 0 for any"
        )
    for port in range(usual, usual + _PORTS_TRIED):
        if is_free(port) and reserve(port) and is_free(port):
            return port
    last = usual + _PORTS_TRIED - 1
    raise PortError(f"no free port for {program} between {usual} and {last}; choose one with {option}")


def choose_port(preferred: int) -> int:
    """Return `preferred` when it is free and not reserved, else any free port."""
    if is_free(preferred) and reserve(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Return whether nothing listens on a port and this user may listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except (OSError, OverflowError):
            return False
    with socket.socket() as probe:  # a listener on every interface leaves the loopback's bind free on some systems
        probe.settimeout(0.5)
        return probe.connect_ex((_LOOPBACK, port)) != 0


def reserve(port: int) -> bool:
    """Reserve a port until this process ends (advisory). Return False if another process holds it."""
    if port in _reserved:
        return True
    lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        lock.bind((_LOOPBACK, port))
    except (OSError, OverflowError):
        lock.close()
        return False
    _reserved[port] = lock.detach()
    return True

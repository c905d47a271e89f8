"""Ports for what a run starts. A port that was picked is kept from other runs until something listens on it.

The Ray Dashboard listens seconds after its port was chosen: two runs begun together would otherwise take the same.
"""

import contextlib
import fcntl
import os
import socket
import tempfile
from pathlib import Path
from typing import IO, Final

from raymon.errors import UserError

_PORTS_TRIED: Final = 50
_claims: Final[dict[int, IO[bytes]]] = {}
"""Port to a file that is locked as long as this process lives."""


class PortError(UserError):
    """A port that cannot be had."""


def pick_port(given: int, usual: int, what: str, option: str) -> int:
    """Return the port that was given, or with 0 the usual one or the next that is free.

    Raises:
        PortError: It is in use or not allowed, or none of the next is free.
    """
    if given:
        if _is_free(given):
            return given
        raise PortError(f"port {given} for {what} is in use or not allowed; give another {option}, or 0 for any")
    for port in range(usual, usual + _PORTS_TRIED):
        if _is_free(port) and claim(port) and _is_free(port):
            return port
    raise PortError(f"found no free port for {what} from {usual} to {usual + _PORTS_TRIED - 1}; give {option}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def claim(port: int) -> bool:
    """Keep a port for this process; False when another keeps it. Who ignores claims may still take it."""
    if port in _claims:
        return True
    path = Path(tempfile.gettempdir()) / f"raymon-port-{port}-{os.getuid()}.lock"
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # nowhere to write: without a claim the port is only probably free
            return True
        stack.pop_all()
        _claims[port] = file
    return True

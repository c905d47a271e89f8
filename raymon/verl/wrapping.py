"""The monitors of one process of verl, and what its wrappers share."""
# ruff: noqa: ANN401  # verl is not annotated

import functools
from collections.abc import Callable
from typing import Any

from raymon.monitor import DriverMonitor, Monitor
from raymon.monitor.recorder import complain


class Process:
    """The monitors of this process: a worker has one, the controller the other."""

    worker: Monitor | None = None
    driver: DriverMonitor | None = None


def harmless(record: Callable[..., None]) -> Callable[..., None]:
    """Make a function one that never raises into verl, whatever its objects look like in the next version."""

    @functools.wraps(record)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            record(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  # recording never breaks training
            complain(record.__name__, error)

    return guarded


def wrap_method(cls: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    """Replace a method of a class by what `wrap` makes of it; one that this verl lacks is left alone."""
    method = getattr(cls, name, None)
    if callable(method):
        setattr(cls, name, wrap(method))

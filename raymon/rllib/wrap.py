"""Methods of RLlib's objects, replaced by ones that record."""

from collections.abc import Callable
from typing import Any


def wrap(owner: object, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a method on one object, if the object and the method exist."""
    method = getattr(owner, name, None)
    if callable(method):
        setattr(owner, name, wrapper(method))

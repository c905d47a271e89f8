"""Which exceptions are failures of a rollout, and the bounded label for their class."""

from typing import Final

from raymon import catalog
from raymon.monitor.accumulator import LONGEST_LABEL

_NOT_FAILURES: Final = frozenset(
    {
        "AsyncioActorExit",
        "CancelledError",
        "GeneratorExit",
        "KeyboardInterrupt",
        "StopAsyncIteration",
        "StopIteration",
        "SystemExit",
    }
)
"""Exceptions that end a rollout on purpose, by name: importing asyncio for its class would cost 20 ms."""


IN_CONSTRUCTOR: Final = " in __init__"


def is_failure(kind: type[BaseException]) -> bool:
    """Return whether a rollout that ended with this exception failed, rather than being ended on purpose."""
    return not any(base.__name__ in _NOT_FAILURES for base in kind.__mro__)


class FailureClasses:
    """The exception classes that one monitor has exported, at most `catalog.MOST_FAILURE_CLASSES`."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def label(self, kind: type[BaseException], where: str = "") -> str:
        """Return the value of the label `exception`: the class's name, or `other` once all names are taken.

        `where` follows the name of an exception outside a rollout.
        """
        name = kind.__name__[: LONGEST_LABEL - len(where)]
        name += where if name else ""
        if name in self._names:
            return name
        if not name or len(self._names) >= catalog.MOST_FAILURE_CLASSES:
            return catalog.OTHER_FAILURES
        self._names.add(name)
        return name

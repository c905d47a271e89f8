"""Recognise an exception that follows from the loss of another process, from its text.

>>> names_loss("ActorDiedError: The actor died unexpectedly before finishing this task.")
True
>>> names_loss("KeyError: 'reward', in Worker.update (worker.py:7)")
False
>>> names_loss("TypeError: f() got an unexpected keyword argument 'timeout'")
False
"""

import re
from typing import Final

_NAMES_LOSS: Final = re.compile(
    # Ray's errors, and those that bring an exception of another process
    r"\b(?:Ray|Actor|Worker|Node|Owner|LocalRaylet)\w*Error|\bObject(?:Lost|Fetch|Reconstruction)\w*Error"
    r"|\w*Timeout\w*Error|RpcError"
    # a worker by its label, but not a key, or an actor by its id
    r"|(?<!['\"])\bworker[ _#-]?\d+|\b(?:actor|node|worker)(?:[ _-]?id)?\W{1,3}[0-9a-f]{24,}\b"
    # workers that ended
    r"|\b(?:workers?|actors?|(?:env)?runners?|samplers?)\b.*\b(?:left|lost|died|dead|gone|killed|crash\w*|fail\w*|end\w*|exit\w*)"
    r"|\b(?:no|lost|dead|failed|unhealthy) (?:\w+ )?(?:workers?|actors?|(?:env)?runners?|samplers?)\b"
    # the other end of a connection
    r"|connection (?:\w+ )?(?:refused|reset|closed|lost|aborted)|\bConnection\w*Error|broken ?pipe|end of file|EOFError"
    r"|timed out|\bnccl|\bgloo",
    re.IGNORECASE,
)


def names_loss(detail: str) -> bool:
    """Return whether an exception speaks of a process that is gone, or can come from waiting for one.

    Args:
        detail: Class, message and `, in ` with its place, which does not count.
    """
    text, separator, place = detail.rpartition(", in ")
    return _NAMES_LOSS.search(text if separator else place) is not None

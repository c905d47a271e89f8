"""Why a worker was lost, from the exception that Ray raised for it."""

from raymon import catalog


def loss_reason(cause: str | BaseException) -> str:
    """Return which of `catalog.LOSS_REASONS` a reason, or an exception of `ray.get` on a worker's call, stands for."""
    if isinstance(cause, str):
        return cause if cause in catalog.LOSS_REASONS else "unknown"
    from ray import exceptions  # costs a trainer without Ray its import otherwise

    if isinstance(cause, exceptions.OutOfMemoryError):
        return "oom"
    if isinstance(cause, exceptions.RayTaskError):
        return "error"
    if isinstance(cause, exceptions.GetTimeoutError):
        return "timeout"
    text = str(cause).lower()
    if isinstance(cause, exceptions.RayActorError):
        if "creation task" in text:
            return "error"
        # Ray guesses at "the OOM killer" for every process that vanished; these words are its own memory monitor's.
        if "out of memory issue" in text:
            return "oom"
        return "node" if "node died" in text or "node is dead" in text or "node failure" in text else "killed"
    return "node" if isinstance(cause, exceptions.ObjectLostError | exceptions.NodeDiedError) else "unknown"

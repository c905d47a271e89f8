"""Why a worker was lost, from the exception that Ray raised for it."""

from raymon import catalog


def loss_reason(cause: str | BaseException) -> str:
    """Return the `catalog.LOSS_REASONS` for a reason, or for an exception that `ray.get` raised on a worker's call."""
    if isinstance(cause, str):
        return cause if cause in catalog.LOSS_REASONS else "unknown"
    from ray import exceptions  # otherwise a trainer without Ray would pay for the import

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
        # Ray mentions "the OOM killer" for every vanished process; these words come from its own memory monitor only.
        if "out of memory issue" in text:
            return "oom"
        return "node" if "node died" in text or "node is dead" in text or "node failure" in text else "killed"
    return "node" if isinstance(cause, exceptions.ObjectLostError | exceptions.NodeDiedError) else "unknown"

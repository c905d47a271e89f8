"""Who a process is: the run's name and the worker's number, kept over restarts.

Both are agreed on through the key-value store of Ray's control service, which every process is connected to anyway: one
or two short calls when a monitor starts, no helper actor, nothing to clean up. The keys begin with the job's id, so
that two jobs never share numbers, and go with the cluster.
"""

import os
from typing import Final

RUN_VARIABLE: Final = "RAYMON_RUN"
WORKER_VARIABLE: Final = "RAYMON_WORKER"
_LONGEST_RUN: Final = 128


def checked_run(run: str | None) -> str | None:
    """Return the run's name as given or as `RAYMON_RUN` says; None when the Ray job shall name it.

    Raises:
        ValueError: When it is not a text that can be a label.
    """
    found = run if run is not None else os.environ.get(RUN_VARIABLE) or None
    if found is not None and (not isinstance(found, str) or not 0 < len(found) <= _LONGEST_RUN):
        raise ValueError(f"run: found {found!r}, expected a text of 1 to {_LONGEST_RUN} characters")
    return found


def checked_worker(worker: int | None) -> str | None:
    """Return the worker's number as text as given or as `RAYMON_WORKER` says; None when it shall be assigned.

    Raises:
        ValueError: When it is not a whole number from 0.
    """
    found = worker if worker is not None else os.environ.get(WORKER_VARIABLE) or None
    if found is not None and (isinstance(found, bool) or not str(found).isdecimal()):
        raise ValueError(f"worker: found {found!r}, expected a whole number from 0 or nothing to have one assigned")
    return None if found is None else str(int(found))


def publish_run(run: str) -> None:
    """Tell the other processes of this Ray job what the run is called."""
    _put(_key("run"), run.encode(), overwrite=True)


def resolve_run() -> str:
    """Return the name the driver gave the run, else one made from the Ray job's id."""
    published = _get(_key("run"))
    return published.decode() if published else f"job-{_job()}"


def assign_worker(run: str) -> str:
    """Return this actor's number within the run: the one it had before a restart, else the next free one.

    A named actor keeps its number also when it is created anew under its name.
    """
    mine = _key("worker-of", run, _self())
    known = _get(mine)
    if known:
        return known.decode()
    number = len(_list(_key("worker", run, "")))
    while _put(_key("worker", run, str(number)), b"taken", overwrite=False):
        number += 1
    _put(mine, str(number).encode(), overwrite=True)
    return str(number)


def _job() -> str:
    import ray

    return str(ray.get_runtime_context().get_job_id())


def _self() -> str:
    import ray

    context = ray.get_runtime_context()
    actor = context.get_actor_id()
    if actor is None:
        return f"process-{context.get_worker_id()}"
    return f"name-{context.get_actor_name()}" if context.get_actor_name() else f"actor-{actor}"


def _key(*parts: str) -> bytes:
    return "/".join(("raymon", _job(), *parts)).encode()


def _put(key: bytes, value: bytes, overwrite: bool) -> bool:
    """Put a value; tell whether the key was there before (then nothing is written unless `overwrite`)."""
    from ray.experimental.internal_kv import _internal_kv_put

    return bool(_internal_kv_put(key, value, overwrite=overwrite))


def _get(key: bytes) -> bytes | None:
    from ray.experimental.internal_kv import _internal_kv_get

    found = _internal_kv_get(key)
    return bytes(found) if found else None


def _list(prefix: bytes) -> list[bytes]:
    from ray.experimental.internal_kv import _internal_kv_list

    return list(_internal_kv_list(prefix))

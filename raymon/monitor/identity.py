"""Who a process is: the run's name and the worker's number, kept over restarts.

Both are agreed on through the key-value store of Ray's control service, which every process is connected to anyway: a
few short calls when a monitor starts, no helper actor, nothing to clean up. The keys begin with the job's id, so
that two jobs never share numbers, and go with the cluster.
"""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Final

RUN_VARIABLE: Final = "RAYMON_RUN"
WORKER_VARIABLE: Final = "RAYMON_WORKER"
LONGEST_RUN: Final = 128
_logger: Final = logging.getLogger("raymon")
_told: Final[set[str]] = set()


def checked_run(run: str | None) -> str | None:
    """Return the run's name as given or as `RAYMON_RUN` says; None when the Ray job shall name it.

    Raises:
        ValueError: When what was given is not a text that can be a label; such a variable is passed over with a line.
    """
    if run is None:
        return _from_environment(RUN_VARIABLE, _is_run, f"a text of 1 to {LONGEST_RUN} characters")
    if not _is_run(run):
        raise ValueError(f"run: found {run!r}, expected a text of 1 to {LONGEST_RUN} characters")
    return run


def checked_worker(worker: int | None) -> str | None:
    """Return the worker's number as text as given or as `RAYMON_WORKER` says; None when it shall be assigned.

    Raises:
        ValueError: When what was given is not a whole number from 0; such a variable is passed over with a line.
    """
    if worker is None:
        found = _from_environment(WORKER_VARIABLE, str.isdecimal, "a whole number from 0")
    elif isinstance(worker, bool) or not str(worker).isdecimal():
        raise ValueError(f"worker: found {worker!r}, expected a whole number from 0 or nothing to have one assigned")
    else:
        found = str(worker)
    return None if found is None else str(int(found))


def publish_run(run: str) -> None:
    """Tell the other processes what the run is called: those of this Ray job, or of this placement group.

    A process that passes its placement group on to what it creates, as every trial of Tune does, speaks for that group;
    in the rest of the job the first name that was published stands.
    """
    group = placement_group() if _passes_group_on() else None
    if group is not None:
        _put(_key("run-in", group), run.encode(), overwrite=True)
        _put(_key("run"), run.encode(), overwrite=False)
        return
    before = (_get(_key("run")) or b"").decode()
    _put(_key("run"), run.encode(), overwrite=True)
    if before not in ("", run, job_run()):
        _tell(
            f"raymon: this Ray job had the run {before!r}, now it has {run!r}: workers that start from now on and name "
            f"no run count as {run!r}; where both runs go on, give their workers {RUN_VARIABLE}"
        )


def resolve_run(settle: bool = True) -> str | None:
    """Return the name this actor had before a restart, else the one the driver gave the run.

    Without either it is one made from the Ray job's id, or None unless `settle`. In a placement group that is passed on
    the job's own name, of another trial perhaps, is not taken before that.
    """
    own, group = _actor(), placement_group()
    keys = [_key("run-of", own)] if own else []
    keys += [_key("run-in", group)] if group else []
    if settle or group is None or not _passes_group_on():
        keys.append(_key("run"))
    for key in keys:
        found = _get(key)
        if found:
            return found.decode()
    return job_run() if settle else None


def job_run() -> str:
    """Return the name of a run that nobody named: one made from the Ray job's id."""
    return f"job-{_job()}"


def keep_run(run: str) -> None:
    """Have this actor keep its run over a restart, whatever is published until then."""
    own = _actor()
    if own:
        _put(_key("run-of", own), run.encode(), overwrite=True)


def reserve_worker(run: str, worker: str) -> None:
    """Note that a number was given to a worker, so that it is not assigned to another."""
    _put(_key("worker", run, worker), b"given", overwrite=False)


def assign_worker(run: str) -> str:
    """Return this actor's number within the run: the one it had before a restart, else the next free one.

    A named actor keeps its number also when it is created anew under its name.
    """
    mine = _key("worker-of", run, _self())
    known = _get(mine)
    if known:
        return known.decode()
    prefix = _key("worker", run, "")
    taken = {key[len(prefix) :] for key in _list(prefix)}
    number = 0
    while str(number).encode() in taken or _put(_key("worker", run, str(number)), b"taken", overwrite=False):
        number += 1
    _put(mine, str(number).encode(), overwrite=True)
    return str(number)


def placement_group() -> str | None:
    """Return the placement group this process runs in."""
    found: str | None = _context().get_placement_group_id()
    return found


def connection() -> object:
    """Return what tells one connection of this process to a Ray cluster from the next, after `ray.shutdown()`."""
    try:
        return sys.modules["ray._private.worker"].global_worker.current_cluster_and_job
    except Exception:  # noqa: BLE001  # private to Ray: without it the run is published once
        return None


def _is_run(found: object) -> bool:
    return isinstance(found, str) and 0 < len(found) <= LONGEST_RUN


def _from_environment(variable: str, fits: Callable[[str], bool], expected: str) -> str | None:
    found = os.environ.get(variable) or None
    if found is None or fits(found):
        return found
    _tell(f"raymon: {variable}: found {found[:LONGEST_RUN]!r}, expected {expected}; going on as if it were not set")
    return None


def _tell(line: str) -> None:
    """Write a line to the log once per process."""
    if line not in _told:
        _told.add(line)
        _logger.warning(line)


def _context() -> Any:  # noqa: ANN401  # Ray is not annotated
    import ray

    if not ray.is_initialized():  # asked for its context, Ray would start a cluster
        raise RuntimeError("Ray is not initialised")
    return ray.get_runtime_context()


def _job() -> str:
    return str(_context().get_job_id())


def _actor() -> str | None:
    found: str | None = _context().get_actor_id()
    return found


def _self() -> str:
    context, actor = _context(), _actor()
    if actor is None:
        return f"process-{context.get_worker_id()}"
    return f"name-{context.get_actor_name()}" if context.get_actor_name() else f"actor-{actor}"


def _passes_group_on() -> bool:
    return bool(_context().should_capture_child_tasks_in_placement_group)


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

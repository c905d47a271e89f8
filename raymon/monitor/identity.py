"""The run's name and the worker's number of a process, kept over restarts.

Processes agree on both through the key-value store of Ray's control service: a few short calls when a monitor starts,
no helper actor, nothing to clean up. Keys begin with the job's id, so two jobs never share numbers.

A default name (`job-…`) is provisional: the process adopts the run's name as soon as a driver's monitor publishes one,
however late.
"""

import logging
import os
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from raymon import ray_internals
from raymon.ray_internals import kv_get, kv_list, kv_put

RUN_VARIABLE: Final = "RAYMON_RUN"
WORKER_VARIABLE: Final = "RAYMON_WORKER"
LONGEST_RUN: Final = 128
_logger: Final = logging.getLogger("raymon")
_logged: Final[set[str]] = set()


class RunName(NamedTuple):
    """A run's name; a provisional one is replaced by the first that a driver publishes."""

    run: str
    provisional: bool


def checked_run(run: str | None) -> str | None:
    """Return the run's name from the argument or from `RAYMON_RUN`; None if neither names it.

    Raises:
        ValueError: The argument cannot be a label. An invalid variable is ignored with one log line.
    """
    if run is None:
        return _from_environment(RUN_VARIABLE, _is_run, f"a text of 1 to {LONGEST_RUN} characters")
    if not _is_run(run):
        raise ValueError(f"run: found {run!r}, expected a text of 1 to {LONGEST_RUN} characters")
    return run


def checked_worker(worker: int | None) -> str | None:
    """Return the worker's number as text from the argument or from `RAYMON_WORKER`; None if it is to be assigned.

    Raises:
        ValueError: The argument is not a whole number from 0. An invalid variable is ignored with one log line.
    """
    if worker is None:
        number = _from_environment(WORKER_VARIABLE, str.isdecimal, "a whole number from 0")
    elif isinstance(worker, bool) or not str(worker).isdecimal():
        raise ValueError(f"worker: found {worker!r}, expected a whole number from 0 or nothing to have one assigned")
    else:
        number = str(worker)
    return None if number is None else str(int(number))


def publish_run(run: str) -> None:
    """Publish the run's name to the other processes of this Ray job, or of this placement group.

    A process that passes its placement group on to its children, as every trial of Tune does, publishes for that group;
    in the rest of the job the first published name stays.
    """
    group = placement_group() if _passes_group_on() else None
    if group is not None:
        kv_put(_key("run-in", group), run.encode(), overwrite=True)
        kv_put(_key("run"), run.encode(), overwrite=False)
        return
    before = (kv_get(_key("run")) or b"").decode()
    if run == job_run():
        kv_put(_key("run"), run.encode(), overwrite=False)
        return
    kv_put(_key("run"), run.encode(), overwrite=True)
    if before not in ("", run, job_run()):
        log_once(
            f"raymon: this Ray job had the run {before!r}, now it has {run!r}: workers that start from now on and name "
            f"no run count as {run!r}; where both runs go on, give their workers {RUN_VARIABLE}"
        )


def published_run() -> str | None:
    """Return the name that a driver's monitor published for this process; None if none did yet.

    In a placement group that is passed on, the job's name is ignored: it may be that of another trial.
    """
    group = placement_group()
    keys = [_key("run-in", group)] if group else []
    if group is None or not _passes_group_on():
        keys.append(_key("run"))
    return next((name.decode() for name in map(kv_get, keys) if name), None)


def resolve_run(settle: bool = True) -> RunName | None:
    """Return the name this actor had before a restart, else the published one.

    Without either, return None, or with `settle` a provisional name: the job's published name or one from the job's id.
    """
    actor = _actor()
    kept = kv_get(_key("run-of", actor)) if actor else None
    if kept:
        return RunName(kept.decode(), provisional=False)
    published = published_run()
    if published:
        return RunName(published, provisional=published == job_run())
    if not settle:
        return None
    of_job = kv_get(_key("run"))
    return RunName(of_job.decode() if of_job else job_run(), provisional=True)


def job_run() -> str:
    """Return the default name of a run, made from the Ray job's id."""
    return f"job-{_job()}"


def keep_run(run: str) -> None:
    """Store this actor's run, so that it keeps it over a restart whatever is published meanwhile."""
    actor = _actor()
    if actor:
        kv_put(_key("run-of", actor), run.encode(), overwrite=True)


def reserve_worker(run: str, worker: str) -> None:
    """Reserve a number that the user chose, so that it is not assigned to another worker."""
    kv_put(_key("worker", run, worker), b"given", overwrite=False)


def assign_worker(run: str, preferred: str | None = None) -> str:
    """Return this actor's number within the run: the one it had before a restart, the preferred or next free one.

    A named actor keeps its number even if it is created again under its name.
    """
    mine = _key("worker-of", run, _self())
    known = kv_get(mine)
    if known:
        return known.decode()
    if preferred is not None and not kv_put(_key("worker", run, preferred), b"taken", overwrite=False):
        number = preferred
    else:
        number = _next_free_number(run)
    kv_put(mine, number.encode(), overwrite=True)
    return number


def _next_free_number(run: str) -> str:
    prefix = _key("worker", run, "")
    taken = {key[len(prefix) :] for key in kv_list(prefix)}
    number = 0
    while str(number).encode() in taken or kv_put(_key("worker", run, str(number)), b"taken", overwrite=False):
        number += 1
    return str(number)


def note_worker(worker: str) -> None:
    """Store which worker this actor is, for processes that wait for it."""
    actor = _actor()
    if actor:
        kv_put(_key("number-of", actor), worker.encode(), overwrite=True)


def worker_of(actor: str) -> str | None:
    """Return which worker an actor is; None if it records nothing."""
    number = kv_get(_key("number-of", actor))
    return number.decode() if number else None


def claim_driver(run: str, monitor: str) -> None:
    """Make a driver's monitor, the newest one, the one whose gauges describe the run."""
    kv_put(_key("driver", run), monitor.encode(), overwrite=True)


def release_driver(run: str, monitor: str) -> None:
    """Withdraw such a claim if it still holds."""
    if describing_driver(run) == monitor:
        ray_internals.kv_delete(_key("driver", run))


def describing_driver(run: str) -> str | None:
    """Return the driver's monitor whose gauges describe the run; None if there is none."""
    monitor = kv_get(_key("driver", run))
    return monitor.decode() if monitor else None


def placement_group() -> str | None:
    """Return the placement group this process runs in."""
    group: str | None = _context().get_placement_group_id()
    return group


def _is_run(run: object) -> bool:
    return isinstance(run, str) and 0 < len(run) <= LONGEST_RUN


def _from_environment(variable: str, fits: Callable[[str], bool], expected: str) -> str | None:
    value = os.environ.get(variable) or None
    if value is None or fits(value):
        return value
    log_once(f"raymon: {variable}: found {value[:LONGEST_RUN]!r}, expected {expected}; going on as if it were not set")
    return None


def log_once(line: str) -> None:
    """Write a line to the log once per process."""
    if line not in _logged:
        _logged.add(line)
        _logger.warning(line)


def _context() -> Any:  # noqa: ANN401  # Ray is not annotated
    import ray

    if not ray.is_initialized():  # asking for the context would start a cluster
        raise RuntimeError("Ray is not initialized")
    return ray.get_runtime_context()


def _job() -> str:
    return str(_context().get_job_id())


def _actor() -> str | None:
    actor: str | None = _context().get_actor_id()
    return actor


def _self() -> str:
    context, actor = _context(), _actor()
    if actor is None:
        return f"process-{context.get_worker_id()}"
    return f"name-{context.get_actor_name()}" if context.get_actor_name() else f"actor-{actor}"


def _passes_group_on() -> bool:
    return bool(_context().should_capture_child_tasks_in_placement_group)


def _key(*parts: str) -> bytes:
    return "/".join(("raymon", _job(), *parts)).encode()

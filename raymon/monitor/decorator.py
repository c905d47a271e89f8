"""`instrument`: record the rollouts of any actor class with one line.

It wraps the constructor, so that a worker shows from its start, and the methods that sample. Signatures, type hints,
pickling and everything else of the class stay as they are.
"""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, SupportsIndex, TypeVar, overload

from raymon import catalog, ray_internals
from raymon.monitor import identity
from raymon.monitor.instrumented_call import Episodes, Plan, Steps
from raymon.monitor.worker_monitor import Monitor
from raymon.monitor.wrappers import wrap_constructor, wrap_method, wrap_overrides

C = TypeVar("C")


@overload
def instrument(
    cls: C,
    /,
    *,
    rollout: str | tuple[str, ...],
    steps: Steps = None,
    episodes: Episodes = None,
    phase: str = "environment",
    worker: str | None = None,
    run: str | None = None,
    enabled: bool = True,
    role: str = "env",
) -> C: ...
@overload
def instrument(
    *,
    rollout: str | tuple[str, ...],
    steps: Steps = None,
    episodes: Episodes = None,
    phase: str = "environment",
    worker: str | None = None,
    run: str | None = None,
    enabled: bool = True,
    role: str = "env",
) -> Callable[[C], C]: ...
def instrument(
    cls: Any = None,
    /,
    *,
    rollout: str | tuple[str, ...],
    steps: Steps = None,
    episodes: Episodes = None,
    phase: str = "environment",
    worker: str | None = None,
    run: str | None = None,
    enabled: bool = True,
    role: str = "env",
) -> Any:
    """Record the rollouts of an actor class: sync, async or threaded, over or under `@ray.remote`.

    Example:
        >>> import raymon
        >>> @raymon.instrument(rollout="sample", steps=len)
        ... class Sampler:
        ...     def sample(self, n: int) -> list[int]:
        ...         return list(range(n))
        >>> len(Sampler().sample(3))
        3

    As a decorator it changes the decorated class. Called with a class, as in
    `Theirs = raymon.instrument(Theirs, rollout="sample")`, it leaves that class unchanged and returns a subclass.
    Inside a method, `raymon.monitor.monitor_of(self)` returns the monitor, for your own phases and metrics.

    Args:
        cls: A class, plain or decorated with `ray.remote`.
        rollout: The method that samples, or several. Each call is one rollout, including calls of such methods inside
            it; if the method is a generator, each item is one rollout.
        steps: Environment steps of a result: a function of the result, a number, or None to count none.
        episodes: A function from a result to (return, length) of each episode that ended in it.
        phase: The phase of time in the method that is in no inner phase.
        worker: The constructor's parameter that holds the worker's number. By default numbers are assigned as the
            actors' processes start, which is not the order of their creation, and kept over restarts.
        run: The run's name; by default `RAYMON_RUN`, else the run of the driver's monitor, else the Ray job.
        enabled: False returns the class unchanged.
        role: The role of these actors, one of `catalog.ROLES`; workers are compared with those of their role.

    Raises:
        TypeError: `cls` is not a class, or `rollout` is not a name or several.
        ValueError: A method, parameter or phase does not exist, or another argument is invalid.
    """
    plan = Plan(_names(rollout), steps, episodes, phase, worker, run, enabled, role)
    _check(plan)
    if cls is None:
        return functools.partial(_instrument, plan=plan, in_place=True)
    return _instrument(cls, plan=plan, in_place=False)


def _names(rollout: object) -> tuple[str, ...]:
    """Return the names of the methods that sample.

    Raises:
        TypeError: The argument is not a name or several, for example the method itself.
    """
    names = (rollout,) if isinstance(rollout, str) or not isinstance(rollout, Iterable) else tuple(rollout)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(
                f'instrument: found rollout={name!r}, expected the name of a method, as in rollout="sample"'
            )
    return names


def _check(plan: Plan) -> None:
    if plan.phase not in Monitor.PHASES:
        raise ValueError(f"instrument: found phase {plan.phase!r}, expected one of {', '.join(Monitor.PHASES)}")
    if plan.role not in catalog.ROLES:
        raise ValueError(f"instrument: found role {plan.role!r}, expected one of {', '.join(catalog.ROLES)}")
    if not plan.methods:
        raise ValueError("instrument: found no method in rollout, expected the name of one that samples, or several")
    is_number = isinstance(plan.steps, int) and not isinstance(plan.steps, bool) and plan.steps >= 0
    if not (plan.steps is None or callable(plan.steps) or is_number):
        raise ValueError(
            f"instrument: found steps={plan.steps!r}, expected a function of the result, or a number from 0"
        )
    if not (plan.episodes is None or callable(plan.episodes)):
        raise ValueError(f"instrument: found episodes={plan.episodes!r}, expected a function of the result")
    if plan.run is not None:
        identity.checked_run(plan.run)


def _instrument(cls: C, plan: Plan, in_place: bool) -> C:
    if not plan.enabled:
        return cls
    remote = ray_internals.is_actor_class(cls)
    plain = ray_internals.class_inside(cls) if remote else cls
    if not isinstance(plain, type):
        raise TypeError(f"instrument: found {_described(cls)}")
    wrapped = _wrappers(plain, plan)
    if in_place:
        for name, function in wrapped.items():
            setattr(plain, name, function)
        wrap_overrides(plain, plan)
        return cls
    original = ray_internals.original_class(plain)
    names = {name: getattr(original, name) for name in ("__module__", "__qualname__", "__doc__")}
    names["__reduce_ex__"] = _reduction(original, plan)
    derived: Any = type(original)(original.__name__, (original,), {**names, "__slots__": (), **wrapped})
    wrap_overrides(derived, plan)
    if remote:
        import ray

        options = ray_internals.actor_options(cls)
        derived = ray.remote(**options)(derived) if options else ray.remote(derived)
    return derived  # type: ignore[no-any-return]  # of the same kind as `cls`


def _described(value: object) -> str:
    """Return what was passed instead of a class, and what to do."""
    if inspect.isroutine(value):
        return f"{value!r}, expected a class; in a function, record with `with raymon.Monitor().rollout(): ...`"
    if hasattr(value, "remote"):
        return (
            f"{value!r}, expected a class; instrument it before `.options(...)`, and in a remote function record with "
            "`with raymon.Monitor().rollout(): ...`"
        )
    kind = type(value).__name__
    return f"an object of type {kind}, expected a class; instrument the class before its first object or actor"


def _reduction(original: type, plan: Plan) -> Callable[[object, Any], object]:
    """Return the `__reduce_ex__` of the subclass: pickle finds the original class by its name, not the subclass."""
    reduce: Any = original.__reduce_ex__

    def __reduce_ex__(self: object, protocol: SupportsIndex) -> object:  # noqa: N807  # the name that tracebacks show
        reduced = reduce(self, protocol)
        if isinstance(reduced, str):
            return reduced
        make, arguments, *rest = reduced
        places = tuple(place for place, argument in enumerate(arguments) if argument is type(self))
        known = tuple(original if argument is type(self) else argument for argument in arguments)
        return (_unpickle, (original, plan, make, known, places), *rest) if places else reduced

    return __reduce_ex__


def _unpickle(
    original: type, plan: Plan, make: Callable[..., object], arguments: tuple[object, ...], places: tuple[int, ...]
) -> object:
    derived = _instrument(original, plan, in_place=False)
    return make(*(derived if place in places else argument for place, argument in enumerate(arguments)))


def _wrappers(cls: type, plan: Plan) -> dict[str, Callable[..., Any]]:
    wrapped: dict[str, Any] = {name: wrap_method(_method(cls, name), plan) for name in plan.methods}
    constructor = wrap_constructor(cls, plan)
    if constructor is not None:
        wrapped["__init__"] = constructor
    return wrapped


def _method(cls: type, name: str) -> Callable[..., Any]:
    method = inspect.getattr_static(cls, name, None)
    if inspect.isfunction(method):
        return method
    public = sorted(each for each, _ in inspect.getmembers(cls, inspect.isfunction) if each[0] != "_")
    if method is None:
        raise ValueError(f"instrument: {cls.__name__} has no method {name!r}; it has {', '.join(public) or 'none'}")
    raise ValueError(
        f"instrument: {cls.__name__}.{name} is of type {type(method).__name__}, expected a method with `self` that "
        "`def` defines: a worker's rollouts are those of one instance"
    )

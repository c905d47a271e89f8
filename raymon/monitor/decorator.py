"""`instrument`: one line that makes any actor class record its rollouts.

Wraps the constructor, so that a worker shows from its first moment, and the methods that sample; signatures, type
hints, pickling and everything else of the class stay as they are.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, SupportsIndex, TypeVar, overload

from raymon import catalog, ray_internals
from raymon.monitor import identity
from raymon.monitor.worker_monitor import Monitor
from raymon.monitor.wrappers import Episodes, Plan, Steps, wrap_constructor, wrap_method

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

    Used as a decorator it changes the class it decorates. Called with a class, as in
    `Theirs = raymon.instrument(Theirs, rollout="sample")`, it leaves that class alone and returns a subclass. Inside a
    method `raymon.monitor.monitor_of(self)` is the monitor, for phases and figures of your own.

    Args:
        cls: A class, or what `ray.remote` made of one.
        rollout: The method that samples, or several; each call is one rollout, with the calls of such methods inside
            it. Of a method that yields, each item is.
        steps: How many environment steps a result stands for: a function of the result, a number, or nothing.
        episodes: From a result to (return, length) of the episodes that ended in it.
        phase: The phase the time in the method counts as, where no inner phase says otherwise.
        worker: The name of the constructor's parameter that is the worker's number. By default numbers are assigned as
            the actors' processes start, which is not the order in which they were created, and kept over restarts.
        run: The run's name; by default `RAYMON_RUN`, else what the driver's monitor is called, else the Ray job.
        enabled: False returns the class as it is.
        role: The role of these actors, one of `catalog.ROLES`; workers are compared with those of their role.

    Raises:
        TypeError: When it is not applied to a class.
        ValueError: When a method, a parameter or a phase does not exist, or another argument cannot be meant.
    """
    plan = Plan(
        (rollout,) if isinstance(rollout, str) else tuple(rollout), steps, episodes, phase, worker, run, enabled, role
    )
    _check(plan)
    if cls is None:
        return functools.partial(_instrument, plan=plan, in_place=True)
    return _instrument(cls, plan=plan, in_place=False)


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
        raise TypeError(f"instrument: found {plain!r}, expected a class")
    wrapped = _wrappers(plain, plan)
    if in_place:
        for name, function in wrapped.items():
            setattr(plain, name, function)
        return cls
    original = ray_internals.original_class(plain)
    told = {name: getattr(original, name) for name in ("__module__", "__qualname__", "__doc__")}
    told["__reduce_ex__"] = _reduction(original, plan)
    derived: Any = type(original)(original.__name__, (original,), {**told, "__slots__": (), **wrapped})
    if remote:
        import ray

        options = ray_internals.actor_options(cls)
        derived = ray.remote(**options)(derived) if options else ray.remote(derived)
    return derived  # type: ignore[no-any-return]  # of the same kind as `cls`


def _reduction(original: type, plan: Plan) -> Callable[[object, Any], object]:
    """Return how an instance of the subclass is pickled: pickle finds no class by its name, only the original one."""
    reduce: Any = original.__reduce_ex__

    def __reduce_ex__(self: object, protocol: SupportsIndex) -> object:  # noqa: N807  # the name that tracebacks show
        reduced = reduce(self, protocol)
        if isinstance(reduced, str):
            return reduced
        make, arguments, *rest = reduced
        places = tuple(place for place, argument in enumerate(arguments) if argument is type(self))
        known = tuple(original if argument is type(self) else argument for argument in arguments)
        return (_made_again, (original, plan, make, known, places), *rest) if places else reduced

    return __reduce_ex__


def _made_again(
    original: type, plan: Plan, make: Callable[..., object], arguments: tuple[object, ...], places: tuple[int, ...]
) -> object:
    derived = _instrument(original, plan, in_place=False)
    return make(*(derived if place in places else argument for place, argument in enumerate(arguments)))


def _wrappers(cls: type, plan: Plan) -> dict[str, Callable[..., Any]]:
    wrapped = {name: wrap_method(_method(cls, name), plan) for name in plan.methods}
    constructor = wrap_constructor(cls, plan)
    return wrapped if constructor is None else {**wrapped, "__init__": constructor}


def _method(cls: type, name: str) -> Callable[..., Any]:
    found = inspect.getattr_static(cls, name, None)
    if inspect.isfunction(found):
        return found
    public = sorted(each for each, _ in inspect.getmembers(cls, inspect.isfunction) if each[0] != "_")
    if found is None:
        raise ValueError(f"instrument: {cls.__name__} has no method {name!r}; it has {', '.join(public) or 'none'}")
    raise ValueError(
        f"instrument: {cls.__name__}.{name} is of type {type(found).__name__}, expected a method with `self`: "
        "a worker's rollouts are those of one instance"
    )

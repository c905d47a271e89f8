"""The functions that `instrument` puts in place of a class's own: they time and count, and otherwise do what those did.

They reach the instance's monitor through this module, never through a variable of their own: Ray pickles an actor class
by value, and the monitor must be one of the process that runs it.
"""

import contextlib
import functools
import inspect
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeVar

from raymon.monitor.worker import Monitor

P = ParamSpec("P")
R = TypeVar("R")
Steps = Callable[[Any], int] | int | None
Episodes = Callable[[Any], Iterable[tuple[float, float]]] | None

_monitors: Final[dict[int, Monitor]] = {}
"""Monitors by the id of the instance they belong to: an attribute would change how instances pickle and compare."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to record of a class; see `instrument`."""

    methods: tuple[str, ...]
    steps: Steps
    episodes: Episodes
    phase: str
    worker: str | None
    run: str | None
    enabled: bool


def monitor_of(instance: object) -> Monitor:
    """Return the monitor of an instance of an instrumented class; of any other object one that records nothing."""
    return _monitors.get(id(instance)) or Monitor(enabled=False)


def start(instance: object, plan: Plan, worker: int | None = None) -> Monitor:
    """Return the monitor of an instance, made when it has none yet."""
    monitor = _monitors.get(id(instance))
    if monitor is None:
        monitor = _monitors[id(instance)] = _made(worker, plan.run)
        with contextlib.suppress(TypeError):  # of a class with slots the monitor stays until the process ends
            weakref.finalize(instance, _monitors.pop, id(instance), None).atexit = False
    return monitor


def count(monitor: Monitor, plan: Plan, result: object) -> None:
    """Count what a result stands for; a counting function that fails is a drop, never an error of the method."""
    try:
        if plan.steps is not None:
            monitor.steps(plan.steps(result) if callable(plan.steps) else plan.steps)
        if plan.episodes is not None:
            for return_, length in plan.episodes(result):
                monitor.episode(return_, length)
    except Exception as error:  # noqa: BLE001  # recording never breaks training
        monitor.drop("instrument", error)


def wrap_constructor(cls: type, plan: Plan) -> Callable[..., None] | None:
    """Return a constructor that starts the monitor first; None when `__new__` takes the arguments.

    Raises:
        ValueError: When the plan's worker is no parameter of the constructor.
    """
    constructor: Callable[..., None] = cls.__init__  # type: ignore[misc]  # of this very class, not of a subclass
    signature = inspect.signature(constructor)
    if plan.worker is not None and plan.worker not in signature.parameters:
        raise ValueError(f"instrument: the constructor of {cls.__name__} has no parameter {plan.worker!r}")
    if not _defines(cls, "__init__"):
        return None if _defines(cls, "__new__") else _bare_constructor(cls, plan)

    @functools.wraps(constructor)
    def construct(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # whatever the class takes
        start(args[0], plan, _given_worker(signature, plan, args, kwargs))
        constructor(*args, **kwargs)

    return construct


def wrap_method(method: Callable[..., Any], plan: Plan) -> Callable[..., Any]:
    """Return a function of the same kind as the method: plain, coroutine, generator or async generator."""
    if inspect.isasyncgenfunction(method):
        return _async_generator(method, plan)
    if inspect.iscoroutinefunction(method):
        return _coroutine(method, plan)
    if inspect.isgeneratorfunction(method):
        return _generator(method, plan)
    return _plain(method, plan)


def _made(worker: int | None, run: str | None) -> Monitor:
    try:
        return Monitor(worker, run)
    except ValueError as error:  # the number came from the user's constructor: have one assigned instead
        monitor = Monitor(None, run)
        monitor.drop("instrument", error)
        return monitor


def _defines(cls: type, name: str) -> bool:
    return any(name in vars(base) for base in cls.__mro__ if base is not object)


def _bare_constructor(cls: type, plan: Plan) -> Callable[..., None]:
    def __init__(self: object) -> None:  # noqa: N807  # stands in for a constructor, and is introspected as one
        start(self, plan)

    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    __init__.__annotations__ = {}  # so that the class's signature stays `()`
    return __init__


def _given_worker(
    signature: inspect.Signature, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> int | None:
    if plan.worker is None:
        return None
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return None  # the constructor itself is about to say so
    bound.apply_defaults()
    found: int | None = bound.arguments[plan.worker]
    return found


def _plain(method: Callable[P, R], plan: Plan) -> Callable[P, R]:
    @functools.wraps(method)
    def rollout(*args: P.args, **kwargs: P.kwargs) -> R:
        monitor = start(args[0], plan)
        with monitor.rollout(), monitor.phase(plan.phase):
            result = method(*args, **kwargs)
            count(monitor, plan, result)
        return result

    return rollout


def _coroutine(method: Callable[P, Awaitable[R]], plan: Plan) -> Callable[P, Awaitable[R]]:
    @functools.wraps(method)
    async def rollout(*args: P.args, **kwargs: P.kwargs) -> R:
        monitor = start(args[0], plan)
        with monitor.rollout(), monitor.phase(plan.phase):
            result = await method(*args, **kwargs)
            count(monitor, plan, result)
        return result

    return rollout


def _generator(method: Callable[P, Generator[R, None, Any]], plan: Plan) -> Callable[P, Generator[R, None, Any]]:
    @functools.wraps(method)
    def rollouts(*args: P.args, **kwargs: P.kwargs) -> Generator[R, None, Any]:
        monitor, items = start(args[0], plan), method(*args, **kwargs)
        while True:
            try:
                with monitor.rollout(), monitor.phase(plan.phase):
                    item = next(items)
                    count(monitor, plan, item)
            except StopIteration as end:
                return end.value
            yield item

    return rollouts


def _async_generator(method: Callable[P, AsyncGenerator[R]], plan: Plan) -> Callable[P, AsyncGenerator[R]]:
    @functools.wraps(method)
    async def rollouts(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R]:
        monitor, items = start(args[0], plan), method(*args, **kwargs)
        while True:
            try:
                with monitor.rollout(), monitor.phase(plan.phase):
                    item = await anext(items)
                    count(monitor, plan, item)
            except StopAsyncIteration:
                return
            yield item

    return rollouts

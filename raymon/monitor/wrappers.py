"""Wrappers that `instrument` puts around a class's methods: they time and count, and change nothing else.

They look up the instance's monitor in this module and never capture it: Ray pickles an actor class by value, and the
monitor must belong to the process that runs the actor.
"""

import contextlib
import functools
import inspect
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from dataclasses import replace
from typing import Any, Final, ParamSpec, TypeVar

from raymon.monitor.instrumented_call import InstrumentedCall, Plan
from raymon.monitor.worker_monitor import Monitor

P = ParamSpec("P")
R = TypeVar("R")

_NUMBERED: Final = "__raymon_numbered__"
"""Attribute of a constructor that knows the worker's number; the constructor of a derived class then creates no
monitor."""

_WRAPPED: Final = "__raymon_wrapped__"
"""Attribute of a method that records already."""

_monitors: Final[dict[int, Monitor]] = {}
"""Monitors by the id of their instance; an attribute would change how instances pickle and compare."""
_without_weakref: Final[set[int]] = set()
"""Ids of instances that cannot be referenced weakly (classes with slots), so their end is not noticed."""
_constructing: Final[set[int]] = set()


@functools.cache
def _unrecorded() -> Monitor:
    return Monitor(enabled=False)


def monitor_of(instance: object) -> Monitor:
    """Return the monitor of an instance of an instrumented class; for any other object, one that records nothing."""
    return _monitors.get(id(instance)) or _unrecorded()


def start(instance: object, plan: Plan, worker: int | None = None) -> Monitor:
    """Return the monitor of an instance; create it if there is none."""
    monitor = _monitors.get(id(instance))
    if monitor is None:
        monitor = _monitors[id(instance)] = _create_monitor(worker, plan)
        try:
            weakref.finalize(instance, _monitors.pop, id(instance), None).atexit = False
        except TypeError:  # a class with slots: the monitor stays until another instance has the id
            _without_weakref.add(id(instance))
    return monitor


def wrap_constructor(cls: type, plan: Plan) -> Callable[..., None] | None:
    """Return a constructor that starts the monitor first; None when `__new__` takes the arguments.

    Raises:
        ValueError: The plan's worker is no parameter of the constructor.
    """
    constructor: Callable[..., None] = cls.__init__  # type: ignore[misc]  # of this very class, not of a subclass
    signature = inspect.signature(constructor)
    if plan.worker is not None and plan.worker not in signature.parameters:
        names = ", ".join(list(signature.parameters)[1:])
        raise ValueError(
            f"instrument: the constructor of {cls.__name__} has no parameter {plan.worker!r}; it has {names or 'none'}"
        )
    if not _defines(cls, "__init__"):
        return None if _defines(cls, "__new__") else _bare_constructor(cls, plan)

    numbered = plan.worker is None and any(hasattr(vars(base).get("__init__"), _NUMBERED) for base in cls.__mro__)

    @functools.wraps(constructor)
    def construct(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # whatever the class takes
        with _construction(args[0]):
            if not numbered:
                start(args[0], plan, _worker_argument(signature, plan, args, kwargs))
            constructor(*args, **kwargs)
            start(args[0], plan)

    if plan.worker is not None:
        setattr(construct, _NUMBERED, True)
    return construct


@contextlib.contextmanager
def _construction(instance: object) -> Iterator[None]:
    """Forget the monitor of an instance that had the same id before; count a constructor that raises."""
    key = id(instance)
    if key in _constructing:
        yield
        return
    if key in _without_weakref:
        _without_weakref.discard(key)
        _monitors.pop(key, None)
    _constructing.add(key)
    try:
        yield
    except BaseException as error:
        if key in _monitors:
            _monitors[key].construction_failed(error)
        raise
    finally:
        _constructing.discard(key)


def wrap_method(method: Callable[..., Any], plan: Plan) -> Callable[..., Any]:
    """Return a function of the same kind as the method: plain, coroutine, generator or async generator."""
    wrapper: Callable[..., Any]
    if inspect.isasyncgenfunction(method):
        wrapper = _async_generator(method, plan)
    elif inspect.iscoroutinefunction(method):
        wrapper = _coroutine(method, plan)
    elif inspect.isgeneratorfunction(method):
        wrapper = _generator(method, plan)
    else:
        wrapper = _plain(method, plan)
    setattr(wrapper, _WRAPPED, True)
    return wrapper


def wrap_overrides(cls: type, plan: Plan) -> None:
    """Have classes derived from an instrumented one record the methods that they override.

    Python calls `__init_subclass__` when such a class is defined; that of the class or its bases is called first.
    """
    owner: Any = cls
    own: classmethod[Any, ..., None] | None = vars(cls).get("__init_subclass__")
    inherited = replace(plan, inherited=True)

    def __init_subclass__(derived: Any, /, **options: Any) -> None:  # noqa: ANN401, N807  # replaces Python's hook
        if own is None:
            super(owner, derived).__init_subclass__(**options)
        else:
            own.__get__(None, derived)(**options)
        for name in plan.methods:
            method = vars(derived).get(name)
            if inspect.isfunction(method) and not hasattr(method, _WRAPPED):
                setattr(derived, name, wrap_method(method, inherited))

    __init_subclass__.__qualname__ = f"{cls.__qualname__}.__init_subclass__"
    owner.__init_subclass__ = classmethod(__init_subclass__)


def _create_monitor(worker: int | None, plan: Plan) -> Monitor:
    try:
        return Monitor(worker, plan.run, role=plan.role)
    except ValueError as error:  # the user's constructor passed an invalid number: have one assigned
        monitor = Monitor(None, plan.run, role=plan.role)
        monitor.drop("instrument", error)
        return monitor


def _defines(cls: type, name: str) -> bool:
    return any(name in vars(base) for base in cls.__mro__ if base is not object)


def _bare_constructor(cls: type, plan: Plan) -> Callable[..., None]:
    def __init__(self: object) -> None:  # noqa: N807  # replaces a constructor, and is introspected as one
        start(self, plan)

    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    __init__.__annotations__ = {}  # so that the class's signature stays `()`
    return __init__


def _worker_argument(
    signature: inspect.Signature, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> int | None:
    if plan.worker is None:
        return None
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return None  # the constructor itself is about to say so
    bound.apply_defaults()
    worker: int | None = bound.arguments[plan.worker]
    return worker


def _plain(method: Callable[P, R], plan: Plan) -> Callable[P, R]:
    @functools.wraps(method)
    def rollout(*args: P.args, **kwargs: P.kwargs) -> R:
        with InstrumentedCall(start(args[0], plan), plan) as call:
            result = method(*args, **kwargs)
            call.count(result)
        return result

    return rollout


def _coroutine(method: Callable[P, Awaitable[R]], plan: Plan) -> Callable[P, Awaitable[R]]:
    @functools.wraps(method)
    async def rollout(*args: P.args, **kwargs: P.kwargs) -> R:
        with InstrumentedCall(start(args[0], plan), plan) as call:
            result = await method(*args, **kwargs)
            call.count(result)
        return result

    return rollout


def _generator(method: Callable[P, Generator[R, Any, Any]], plan: Plan) -> Callable[P, Generator[R, Any, Any]]:
    @functools.wraps(method)
    def rollouts(*args: P.args, **kwargs: P.kwargs) -> Generator[R, Any, Any]:
        monitor, items = start(args[0], plan), method(*args, **kwargs)
        resume = functools.partial(next, items)
        while True:
            try:
                with InstrumentedCall(monitor, plan) as call:
                    item = resume()
                    call.count(item)
            except StopIteration as end:
                return end.value
            try:
                sent = yield item
                # Ray sends something into each generator, and one that delegates to a plain iterator cannot take it.
                inner = getattr(items, "gi_yieldfrom", None)
                takes = inner is None or hasattr(inner, "send")
                resume = functools.partial(items.send, sent) if takes else functools.partial(next, items)
            except GeneratorExit:
                items.close()
                raise
            except BaseException as error:  # noqa: BLE001  # thrown in by the caller, for the method to handle
                resume = functools.partial(items.throw, error)

    return rollouts


def _async_generator(method: Callable[P, AsyncGenerator[R, Any]], plan: Plan) -> Callable[P, AsyncGenerator[R, Any]]:
    @functools.wraps(method)
    async def rollouts(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[R, Any]:
        monitor, items = start(args[0], plan), method(*args, **kwargs)
        resume: Callable[[], Awaitable[R]] = functools.partial(anext, items)
        while True:
            try:
                with InstrumentedCall(monitor, plan) as call:
                    item = await resume()
                    call.count(item)
            except StopAsyncIteration:
                return
            try:
                resume = functools.partial(items.asend, (yield item))
            except GeneratorExit:
                await items.aclose()
                raise
            except BaseException as error:  # noqa: BLE001  # thrown in by the caller, for the method to handle
                resume = functools.partial(items.athrow, error)

    return rollouts

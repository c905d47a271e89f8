"""Workers of verl: their roles, phases and responses.

Of several workers in one process, as with a colocated actor, critic and reference, the first gives it its role.
"""
# ruff: noqa: ANN401  # verl is not annotated

import contextlib
import functools
import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Final

from raymon.monitor import Monitor
from raymon.verl.wrapping import Process, harmless, wrap_method

# verl's words for what a worker is for; the first that occurs decides: `actor_rollout_ref` trains.
_ROLES: Final = (("actor", "trainer"), ("train", "trainer"), ("critic", "critic"), ("ref", "reference"))
_METHODS: Final = {
    "update_actor": "train",
    "train_batch": "train",
    "train_mini_batch": "train",
    "infer_batch": "inference",
    "compute_log_prob": "inference",
    "compute_ref_log_prob": "reference",
}
"""Phases of a worker, by registered method."""
_SYNC: Final = "update_weights"
_EXPORT: Final = "get_per_tensor_param"
"""The method by which an engine hands over its parameters, as pairs of name and tensor."""

_inside: Final[ContextVar[bool]] = ContextVar("raymon_verl_inside", default=False)
"""Whether a method that is timed runs: those that it calls are part of it."""


@harmless
def _start_worker(role: str | None) -> None:
    """Start recording, unless another worker of this process did."""
    if role is not None and Process.worker is None:
        Process.worker = Monitor(role=role)


def _role_of(cls: type, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return the role of what is constructed; None if it is not a worker of a known role."""
    if any(base.__name__ == "ActorClass" for base in cls.__mro__):  # what `ray.remote` makes of a class derives from it
        return None
    config = kwargs.get("config", args[0] if args else None)
    if getattr(config, "model_type", None) == "value_model":
        return "critic"
    words = str(kwargs.get("role") or cls.__name__).lower()
    return next((role for word, role in _ROLES if word in words), None)


@contextlib.contextmanager
def _call(phase: str, _: object) -> Iterator[None]:
    monitor = Process.worker
    if monitor is None or _inside.get():
        yield
        return
    token = _inside.set(True)
    try:
        with monitor.rollout(phase):
            yield
    finally:
        _inside.reset(token)


@contextlib.contextmanager
def _phase(phase: str, _: object) -> Iterator[None]:
    with contextlib.nullcontext() if Process.worker is None else Process.worker.phase(phase):
        yield


@contextlib.contextmanager
def _weight_sync(worker: Any) -> Iterator[None]:
    """Time a synchronization of weights and count the bytes that the worker's engine hands over in it."""
    began, sizes = time.perf_counter(), list[int]()
    engine = getattr(getattr(worker, "actor", None), "engine", None)
    if engine is not None and Process.worker is not None:
        _measure(engine, sizes)
    try:
        with _call("weight_sync", worker):
            yield
    finally:
        getattr(engine, "__dict__", {}).pop(_EXPORT, None)
    if Process.worker is not None:
        Process.worker.weights_synced(time.perf_counter() - began, sum(sizes))


@harmless
def _measure(engine: Any, sizes: list[int]) -> None:
    """Append the size of each parameter that this engine, not its class, hands over from now on."""
    export = getattr(engine, _EXPORT)

    @functools.wraps(export)
    def exporting(*args: Any, **kwargs: Any) -> Any:
        exported = export(*args, **kwargs)
        if not isinstance(exported, tuple) or not exported or not isinstance(exported[0], Iterator):
            return exported
        return _measured(exported[0], sizes), *exported[1:]

    setattr(engine, _EXPORT, exporting)


def _measured(parameters: Iterable[Any], sizes: list[int]) -> Iterator[Any]:
    for parameter in parameters:
        _append_size(parameter, sizes)
        yield parameter


@harmless
def _append_size(parameter: tuple[str, Any], sizes: list[int]) -> None:
    _, tensor = parameter
    sizes.append(tensor.numel() * tensor.element_size())


def _timed(method: Callable[..., Any], within: Callable[[Any], contextlib.AbstractContextManager[None]]) -> Any:
    """Return a method, or a coroutine, that runs within a context of its object."""

    @functools.wraps(method)
    def timed(self: Any, *args: Any, **kwargs: Any) -> Any:
        with within(self):
            return method(self, *args, **kwargs)

    @functools.wraps(method)
    async def timed_coroutine(self: Any, *args: Any, **kwargs: Any) -> Any:
        with within(self):
            return await method(self, *args, **kwargs)

    return timed_coroutine if inspect.iscoroutinefunction(method) else timed


def wrap_register(module: ModuleType) -> None:
    """Time the registered methods of workers that are in `_METHODS`, and those that synchronize weights."""
    register = module.register

    @functools.wraps(register)
    def registering(*args: Any, **kwargs: Any) -> Any:
        decorate = register(*args, **kwargs)

        def decorated(method: Any) -> Any:
            name = getattr(method, "__name__", "")
            if getattr(method, "__module__", None) == "__main__":  # pickled by value
                return decorate(method)
            if name == _SYNC:
                return decorate(_timed(method, _weight_sync))
            phase = _METHODS.get(name)
            return decorate(method if phase is None else _timed(method, functools.partial(_call, phase)))

        return decorated

    module.register = registering  # type: ignore[attr-defined]


def wrap_worker(module: ModuleType) -> None:
    """Start recording where a worker is made, before its constructor loads a model or waits for the others."""
    worker = module.Worker

    def __new__(cls: type, *args: Any, **kwargs: Any) -> Any:  # noqa: N807  # the name that tracebacks show
        _start_worker(_role_of(cls, args, kwargs))
        return super(worker, cls).__new__(cls)

    worker.__new__ = staticmethod(__new__)


def _starting(role: str) -> Callable[[Any], Any]:
    """Return what makes a constructor start recording first."""

    def wrap(constructor: Any) -> Any:
        @functools.wraps(constructor)
        def construct(*args: Any, **kwargs: Any) -> None:
            _start_worker(role)
            constructor(*args, **kwargs)

        return construct

    return wrap


def wrap_agent_loop(module: ModuleType) -> None:
    """Time each sample of the workers that generate; waiting for its reward counts as `reward`."""
    worker = module.AgentLoopWorker
    wrap_method(worker, "__init__", _starting("rollout"))
    wrap_method(worker, "_run_agent_loop", lambda run: _timed(run, functools.partial(_call, "generate")))
    wrap_method(worker, "_compute_score", lambda score: _timed(score, functools.partial(_phase, "reward")))


def wrap_reward_loop(module: ModuleType) -> None:
    """Time each sample that is scored."""
    worker = module.RewardLoopWorker
    wrap_method(worker, "__init__", _starting("reward"))
    wrap_method(worker, "compute_score", lambda score: _timed(score, functools.partial(_call, "reward")))


def wrap_client(module: ModuleType) -> None:
    """Count the responses of the inference servers where they are asked for."""

    def wrap(generate: Any) -> Any:
        @functools.wraps(generate)
        async def generating(self: Any, *args: Any, **kwargs: Any) -> Any:
            output = await generate(self, *args, **kwargs)
            _count_response(self, output, kwargs.get("prompt_ids") or ())
            return output

        return generating

    wrap_method(module.LLMServerClient, "generate", wrap)


@harmless
def _count_response(client: Any, output: Any, prompt: Sequence[int]) -> None:
    monitor = Process.worker
    if monitor is None:
        return
    length = len(output.token_ids)
    aborted = output.stop_reason == "aborted"
    full = length >= client.config.actor_rollout_ref.rollout.response_length
    monitor.responses([length], prompt_tokens=len(prompt), truncated=int(full and not aborted), aborted=int(aborted))
    version = output.extra_fields.get("global_steps")
    if version is not None:
        monitor.policy_version(int(version))

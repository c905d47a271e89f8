"""Makes N environments that step together from an environment id.

Cheap environments are stepped one after the other, those with a vectorized form through it, and slow ones that mostly
wait (for a simulator, a socket) in a thread each.
"""

import difflib
import importlib
import json
import resource
import statistics
import time
import warnings
from collections.abc import Mapping
from typing import Any, Final

import gymnasium

from raymon.envs import simulated
from raymon.envs.env_error import EnvError
from raymon.envs.remote import SCHEME, RemoteEnv, parse_address
from raymon.envs.threaded import ThreadedVector
from raymon.envs.vector import NativeVector, SerialVector, Vector

simulated.register()

SAME_DYNAMICS: Final = frozenset({"CartPole-v1"})
"""Ids whose vectorized form gives the same transitions as the ordinary one; a test compares them step by step."""

SLOW_STEP_SECONDS: Final = 0.001
"""Steps at least this long are long compared with a thread switch (about 0.05 ms)."""
WAITING_SHARE: Final = 0.5
"""Threads help if an environment waits for this share of a step or more; otherwise they compete for the GIL."""
_PROBE_STEPS: Final = 5
_PROBE_SECONDS: Final = 0.5

_EXTRAS: Final[Mapping[str, str]] = {
    "box2d": "pip install 'raymon-rl[box2d]'",
    "pygame": "pip install 'raymon-rl[render]'",
    "mujoco": "pip install 'gymnasium[mujoco]'",
    "ale_py": "pip install ale-py",
    "jax": "pip install 'gymnasium[jax]'",
}


def make_vector(
    env_id: str,
    num_envs: int,
    *,
    seed: int,
    worker: int,
    step_threads: int | None = None,
    step_timeout: float = 300.0,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Vector:
    """Make `num_envs` environments that step together, observations flat float32, next-step autoreset.

    Example:
        >>> vector = make_vector("CartPole-v1", 4, seed=1, worker=0)
        >>> observations, _ = vector.reset()
        >>> observations.shape
        (4, 4)

    Args:
        env_id: A gymnasium id, `module:Id-v0` (the module is imported first), or `zmq://host:port`; keyword arguments
            may follow as in a URL, `LunarLander-v3?continuous=true&gravity=-8`.
        num_envs: Number of environments.
        seed: The run's seed; each worker and environment derives its own from it.
        worker: The worker's number.
        step_threads: Threads that step the environments concurrently; 0 for none, None to time a few steps and decide.
        step_timeout: Seconds after which a step in a thread counts as hung.
        env_kwargs: Keyword arguments of the environment; they override those in the id.

    Returns:
        A `ThreadedVector` if the environments step in threads. Pass it to `raymon.envs.FragmentCollector`, which lets
        every environment advance at its own pace; its own `step` waits for all.

    Raises:
        EnvError: The id is unknown, a package is missing, or the environment cannot be made or used.
    """
    if num_envs < 1:
        raise EnvError(f"found {num_envs} environments per worker, expected at least 1")
    env_id, kwargs = split_arguments(env_id, env_kwargs)
    if env_id.startswith(SCHEME):
        remote = _make_remote(env_id, num_envs, worker, kwargs)
        if step_threads == 0 or (step_threads is None and num_envs == 1):
            return SerialVector(remote, seed=seed, worker=worker)
        return ThreadedVector(remote, seed=seed, worker=worker, threads=step_threads, timeout_seconds=step_timeout)
    spec = find(env_id)
    if "worker" in spec.kwargs:
        kwargs.setdefault("worker", worker)
    if not step_threads and (env_id in SAME_DYNAMICS or spec.entry_point is None):
        return NativeVector(_make_native(spec, num_envs, kwargs), seed=seed, worker=worker)
    envs = [make_single(env_id, kwargs) for _ in range(num_envs)]
    if step_threads or (step_threads is None and num_envs > 1 and waits(envs[0])):
        return ThreadedVector(envs, seed=seed, worker=worker, threads=step_threads, timeout_seconds=step_timeout)
    return SerialVector(envs, seed=seed, worker=worker)


def make_single(env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> gymnasium.Env[Any, Any]:
    """Make one ordinary environment.

    Raises:
        EnvError: The id is unknown, a package is missing, or the environment refuses its arguments.
    """
    env_id, kwargs = split_arguments(env_id, env_kwargs)
    if env_id.startswith(SCHEME):
        return _make_remote(env_id, 1, 0, kwargs)[0]
    try:
        with warnings.catch_warnings():
            # SWIG modules such as Box2D warn at import; if warnings are errors, that crashes the interpreter
            warnings.filterwarnings("ignore", ".*has no __module__ attribute", DeprecationWarning)
            return gymnasium.make(env_id, disable_env_checker=True, **kwargs)
    except Exception as error:
        raise explain(env_id, error) from error


def split_arguments(env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """Return the bare name and the keyword arguments that follow it: JSON values, or plain words.

    Example:
        >>> split_arguments("LunarLander-v3?continuous=true&gravity=-8&render_mode=human")
        ('LunarLander-v3', {'continuous': True, 'gravity': -8, 'render_mode': 'human'})
    """
    name, _, text = env_id.partition("?")
    arguments: dict[str, Any] = {}
    for pair in filter(None, text.split("&")):
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise EnvError(f"found {pair!r} in {env_id!r}, expected name=value after the question mark")
        try:
            arguments[key] = json.loads(value)
        except ValueError:
            arguments[key] = value
    return name, {**arguments, **(env_kwargs or {})}


def find(env_id: str) -> gymnasium.envs.registration.EnvSpec:
    """Return the registration of an id, importing the module named before a colon.

    Raises:
        EnvError: There is none; the message lists similar ids.
    """
    try:
        module, colon, name = env_id.partition(":")
        if colon:
            importlib.import_module(module)
        return gymnasium.spec(name if colon else env_id)
    except Exception as error:
        raise explain(env_id, error) from error


def explain(env_id: str, error: Exception) -> EnvError:
    """Return the error for an environment that could not be made, with what to do."""
    if isinstance(error, EnvError):
        return error
    text = f"{type(error).__name__}: {error}".strip()
    if isinstance(error, gymnasium.error.UnregisteredEnv | gymnasium.error.DeprecatedEnv):
        near = difflib.get_close_matches(env_id, gymnasium.registry, n=3, cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        return EnvError(f"unknown environment {env_id!r}{hint}. To use your own, module:Id-v0 imports the module first")
    if isinstance(error, gymnasium.error.DependencyNotInstalled | ImportError):
        for package, command in _EXTRAS.items():
            if package in text.lower():
                return EnvError(f"environment {env_id!r} needs a package that is not installed: {command}")
    return EnvError(f"environment {env_id!r} could not be made: {text}")


def _make_remote(url: str, num_envs: int, worker: int, kwargs: Mapping[str, Any]) -> list[gymnasium.Env[Any, Any]]:
    """Connect to environment j of worker i at port + i * N + j."""
    host, port = parse_address(url)
    envs: list[gymnasium.Env[Any, Any]] = []
    try:
        for number in range(num_envs):
            envs.append(RemoteEnv(host, port + worker * num_envs + number, **kwargs))  # noqa: PERF401  # closed on error
    except TypeError as error:
        raise EnvError(f"{url}: {error}; the only keyword argument is timeout_seconds") from error
    except EnvError:
        for env in envs:
            env.close()  # type: ignore[no-untyped-call]  # not annotated in gymnasium
        raise
    return envs


def _make_native(
    spec: gymnasium.envs.registration.EnvSpec, num_envs: int, kwargs: Mapping[str, Any]
) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    try:
        return gymnasium.make_vec(spec, num_envs, vectorization_mode="vector_entry_point", **dict(kwargs))
    except Exception as error:
        raise explain(spec.id, error) from error


def waits(env: gymnasium.Env[Any, Any]) -> bool:
    """Take a few random steps; return whether the environment is slow and mostly waits, so that threads help.

    On a busy machine an environment that computes also spends much of its step off the CPU, but involuntarily; one that
    waits yields the CPU voluntarily in every step.
    """
    env.reset(seed=0)
    env.action_space.seed(0)
    walls: list[float] = []
    cpu, given_up, began = time.thread_time(), _times_given_up(), time.perf_counter()
    while len(walls) < _PROBE_STEPS and time.perf_counter() - began < _PROBE_SECONDS:
        since = time.perf_counter()
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        walls.append(time.perf_counter() - since)
        if terminated or truncated:
            env.reset()
    busy = (time.thread_time() - cpu) / (time.perf_counter() - began)
    by_itself = _times_given_up() - given_up >= len(walls)
    return statistics.median(walls) >= SLOW_STEP_SECONDS and 1.0 - busy >= WAITING_SHARE and by_itself


def _times_given_up() -> int:
    """Return the voluntary context switches of this thread, or of this process if the system reports only those."""
    return resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)).ru_nvcsw

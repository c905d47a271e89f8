"""All options of a run in one frozen dataclass; the command line is generated from it."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import tyro

from raymon.errors import UserError
from raymon.ppo.faults import Fault, parse_fault
from raymon.ppo.hyperparameters import MOST_LAYERS, Hyperparameters

USUAL_ENV_STEPS: Final = 14_000_000
USUAL_SECONDS: Final = 120.0
CHECKPOINT_OPTIONS: Final = frozenset(
    (
        *(field.name for field in dataclasses.fields(Hyperparameters)),
        *("env", "engine", "sampler", "envs_per_worker", "step_threads", "device"),
        *("total_env_steps", "total_seconds", "stop_at_return", "checkpoint_every"),
        *("hidden", "activation", "bounds", "deviation", "initial_log_std"),
        *("normalize_observations", "normalize_rewards"),
        *("max_restarts", "worker_timeout", "start_timeout"),
    )
)
"""All that a checkpoint, which may be a stranger's, decides when its run is resumed."""
HOST_OPTIONS: Final = frozenset(
    (
        *("inject", "name", "runs", "resume", "tensorboard", "recording", "record", "address", "ray_temp_dir"),
        *("dashboard", "dashboard_port", "object_store_mb", "page", "page_port", "stack", "exit_when_done"),
    )
)
"""Options about where a run happens and what it may touch, as the command line and `--config` have them."""
MOST_UNASKED: Final[dict[str, int]] = {"workers": 256, "envs_per_worker": 4096, "step_threads": 256}
"""Largest numbers of processes, environments and threads that a checkpoint decides without being asked."""
_MAX_NUMBER: Final = 2**53
_AT_LEAST: Final[dict[str, float]] = {
    "workers": 0,
    "envs_per_worker": 1,
    "fragment_steps": 1,
    "fragments_per_update": 0,
    "total_env_steps": 1,
    "epochs": 1,
    "minibatch": 1,
    "max_policy_lag": 0,
    "max_restarts": 0,
    "checkpoint_every": 0,
    "object_store_mb": 80,
    "step_threads": -1,
    "seed": 0,
}
_POSITIVE: Final = ("total_seconds", "learning_rate", "clip", "max_gradient_norm", "worker_timeout", "start_timeout")


class ConfigError(UserError):
    """Options that cannot work."""


@dataclass(frozen=True)
class Config(Hyperparameters):
    """Train with PPO and parallel sampling by Ray actors, and show everything."""

    env: str = "CartPole-v1"
    """Environment: a gymnasium id, module:Id-v0, or zmq://host:port (worker i then uses port + i)."""
    engine: Literal["own", "rllib"] = "own"
    """Trainer: raymon's own PPO, or RLlib's PPO with raymon's callbacks."""
    sampler: Literal["async", "sync", "step"] = "async"
    """How to sample: async overlaps with learning, sync is strictly on-policy, step makes one call per step."""
    envs_per_worker: int = 32
    """Environments that each worker steps together (sampler step always uses one)."""
    step_threads: int = -1
    """Threads per worker that step environments concurrently; 0 for none, -1 to measure and decide."""
    total_env_steps: int | None = None
    """End after training on this many environment steps, including those before a resume. Without this option and
    --total-seconds a run ends after 14 million steps or 120 seconds, whichever comes first."""
    total_seconds: float | None = None
    """End after this many seconds of training, including those before a resume."""
    stop_at_return: float | None = None
    """End as soon as the mean return of the last 100 episodes reaches this."""

    hidden: tuple[int, ...] = (64, 64)
    """Sizes of the hidden layers of policy and value network."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation function between the layers."""
    bounds: Literal["clip", "squash"] = "clip"
    """Box actions: clip the Gaussian at the bounds, or squash it into them with tanh."""
    deviation: Literal["free", "state"] = "free"
    """Box actions: one standard deviation per dimension, or one that depends on the state."""
    initial_log_std: float = 0.0
    """Box actions: logarithm of the standard deviation at the start."""
    normalize_observations: bool = False
    """Divide observations by their running standard deviation, shared between workers."""
    normalize_rewards: bool = False
    """Divide rewards by the running standard deviation of the discounted return, shared between workers."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Device of the learner; auto takes CUDA if there is one. Small networks are faster on the CPU."""

    max_restarts: int = 5
    """Replacements of one worker before it is given up."""
    worker_timeout: float = 60.0
    """Seconds without a reply after which a worker counts as hung and is replaced."""
    start_timeout: float = 120.0
    """Seconds a worker may take to start, once the cluster has resources for it."""
    inject: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Inject a fault, e.g. "slow worker=1 factor=5 after=20s" or "crash worker=0"; docs/trainer.md lists them."""

    name: str = ""
    """Name of the run and of its directory; empty derives one from environment and time."""
    runs: Path = Path("runs")
    """Parent of the run's directory."""
    checkpoint_every: int = 100
    """Updates between checkpoints; 0 writes only the last one."""
    resume: Path | None = None
    """Continue from a run's directory or a checkpoint file, in the same directory."""
    tensorboard: bool = False
    """Write TensorBoard event files too."""
    recording: bool = True
    """Record metrics."""
    record: bool = True
    """Keep a recording in the run's directory, for `raymon status --recording` and `raymon top --recording`."""

    address: str | None = None
    """Join this Ray cluster (host:port or auto) instead of starting a local one."""
    ray_temp_dir: Path | None = None
    """Session directory of a local Ray; the path must be short."""
    dashboard: bool = True
    """Start the Ray Dashboard with a local Ray."""
    dashboard_port: int = 0
    """Port of the Ray Dashboard; 0 takes 8265 or the next free one."""
    object_store_mb: int = 256
    """Memory of a local Ray's object store."""
    page: bool = True
    """Serve the status page."""
    page_port: int = 0
    """Port of the status page; 0 takes 8501 or the next free one."""
    stack: bool = False
    """Start the installed Prometheus and Grafana too, configured for raymon."""
    exit_when_done: bool = False
    """Exit after training instead of serving the page until Ctrl-C."""

    def __post_init__(self) -> None:
        for field in ("runs", "resume", "ray_temp_dir"):
            if isinstance(value := getattr(self, field), str):
                object.__setattr__(self, field, Path(value))
        for field in ("hidden", "inject"):
            object.__setattr__(self, field, tuple(getattr(self, field)))

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The injected faults; raises `FaultError` for one that cannot be parsed."""
        return tuple(parse_fault(text) for text in self.inject)

    @property
    def max_env_steps(self) -> int | None:
        """Environment steps after which the run ends; None if only time ends it."""
        return USUAL_ENV_STEPS if self.total_env_steps is None and self.total_seconds is None else self.total_env_steps

    @property
    def max_seconds(self) -> float | None:
        """Seconds of training after which the run ends; None if only steps end it."""
        return USUAL_SECONDS if self.total_env_steps is None and self.total_seconds is None else self.total_seconds

    def check(self) -> None:
        """Raise `ConfigError` or `FaultError` for values that cannot work, before anything is started."""
        self._check_numbers()
        if self.workers == 0 and self.sampler != "sync":
            raise ConfigError(
                f"found --workers 0 with --sampler {self.sampler}, expected at least 1 worker: use --workers 2, "
                "or --workers 0 --sampler sync to sample in this process without Ray"
            )
        if self.sampler == "step" and not 1 <= self.wait_for <= self.workers:
            raise ConfigError(f"found --wait-for {self.wait_for}, expected 1 to {self.workers}, the number of workers")
        if self.name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name):
            raise ConfigError(f"found --name {self.name!r}, expected up to 100 letters, digits, dots, - and _")
        for fault in self.faults:
            if fault.worker is not None and fault.worker >= max(1, self.workers):
                raise ConfigError(f"--inject {fault.kind!r} names worker {fault.worker}, there are {self.workers}")

    def _check_numbers(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not abs(value) <= _MAX_NUMBER:  # so that NaN is refused too
                raise ConfigError(f"found {_flag(field.name)} {value!s:.40}, expected at most {_MAX_NUMBER:g}")
        for name, least in _AT_LEAST.items():
            if (value := getattr(self, name)) is not None and value < least:
                raise ConfigError(f"found {_flag(name)} {value}, expected at least {least:g}")
        for name in _POSITIVE:
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ConfigError(f"found {_flag(name)} {value}, expected more than 0")
        for name in ("discount", "gae_lambda"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ConfigError(f"found {_flag(name)} {value}, expected 0 to 1")
        if len(self.hidden) > MOST_LAYERS or any(not 1 <= size <= _MAX_NUMBER for size in self.hidden):
            raise ConfigError(f"found --hidden {self.hidden}, expected at most {MOST_LAYERS} sizes of at least 1")


def _flag(field: str) -> str:
    return f"--{field.replace('_', '-')}"

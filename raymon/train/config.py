"""Everything a run can be told, in one frozen dataclass; the command line is made from it."""

import dataclasses
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
import yaml

from raymon.errors import UserError
from raymon.ppo.faults import Fault, FaultError, parse_fault
from raymon.ppo.hyperparameters import Hyperparameters

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class ConfigError(UserError):
    """A configuration that cannot be run: says what was found, what was expected and what to do."""


@dataclass(frozen=True)
class Config(Hyperparameters):
    """Train with PPO and parallel sampling by Ray actors, everything visible."""

    env: str = "CartPole-v1"
    """Environment: a gymnasium id, module:Id-v0, or zmq://host:port (worker i then uses port + i)."""
    engine: Literal["own", "rllib"] = "own"
    """Who trains: raymon's own PPO, or RLlib's PPO with raymon's callbacks."""
    sampler: Literal["async", "sync", "step"] = "async"
    """How to sample: async overlaps with learning, sync is strictly on-policy, step makes one call per step."""
    envs_per_worker: int = 32
    """Environments stepped together in each worker (sampler step always uses one)."""
    step_threads: int = -1
    """Threads per worker that step environments concurrently; 0 for none, -1 to measure and decide."""
    total_env_steps: int = 14_000_000
    """End after training on this many environment steps; resumed ones count."""
    stop_at_return: float | None = None
    """End as soon as the mean return of the last 100 episodes reaches this."""

    hidden: tuple[int, ...] = (64, 64)
    """Sizes of the hidden layers of policy and value network."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Between the layers."""
    bounds: Literal["clip", "squash"] = "clip"
    """Box actions: cut the Gaussian at the bounds, or squash it into them with tanh."""
    deviation: Literal["free", "state"] = "free"
    """Box actions: one deviation per dimension, or one that depends on the state."""
    initial_log_std: float = 0.0
    """Box actions: logarithm of the deviation at the start."""
    normalize_observations: bool = False
    """Divide observations by their running deviation, shared between workers."""
    normalize_rewards: bool = False
    """Divide rewards by the running deviation of the discounted return, shared between workers."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where the learner runs; auto takes CUDA when there is one. Small networks are faster on the CPU."""

    max_restarts: int = 5
    """Replacements of one worker before it is given up."""
    worker_timeout: float = 60.0
    """Seconds without an answer after which a worker counts as hung and is replaced."""
    start_timeout: float = 120.0
    """Seconds a worker may take to start."""
    inject: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Faults on purpose, e.g. "slow worker=1 factor=5 after=20s" or "crash worker=0"; see the trainer's page."""

    name: str = ""
    """Name of the run and of its directory; empty makes one from environment and time."""
    runs: Path = Path("runs")
    """Where the run's directory is made."""
    checkpoint_every: int = 100
    """Updates between checkpoints; 0 writes only the last one."""
    resume: Path | None = None
    """Continue from a run's directory or a checkpoint file, in the same directory."""
    tensorboard: bool = False
    """Write TensorBoard event files too."""
    recording: bool = True
    """Record metrics."""

    address: str | None = None
    """Join this Ray cluster (host:port or auto) instead of starting a local one."""
    ray_temp_dir: Path | None = None
    """Where a local Ray keeps its session; the path must be short."""
    dashboard: bool = True
    """Start the Ray Dashboard with a local Ray."""
    dashboard_port: int = 0
    """Port of the Ray Dashboard; 0 takes 8265 or the next free one."""
    object_store_mb: int = 256
    """Memory of a local Ray's object store."""
    record: bool = True
    """Keep a recording in the run's directory, for `raymon status --recording` and `raymon top --recording`."""
    page: bool = True
    """Serve the status page."""
    page_port: int = 0
    """Port of the status page; 0 takes 8501 or the next free one."""
    stack: bool = False
    """Start the installed Prometheus and Grafana too, provisioned."""
    exit_when_done: bool = False
    """End after training instead of keeping the page up until Ctrl-C."""

    def __post_init__(self) -> None:
        for field in ("runs", "resume", "ray_temp_dir"):
            if isinstance(value := getattr(self, field), str):
                object.__setattr__(self, field, Path(value))
        for field in ("hidden", "inject"):
            object.__setattr__(self, field, tuple(getattr(self, field)))

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The injected faults; raises `FaultError` for one that cannot be read."""
        return tuple(parse_fault(text) for text in self.inject)

    def check(self) -> None:
        """Raise `ConfigError` for values that cannot work, before anything is started."""
        self._check_numbers()
        if self.workers == 0 and self.sampler != "sync":
            raise ConfigError(
                f"found --workers 0 with --sampler {self.sampler}, expected at least 1 worker: take --workers 2, "
                "or --workers 0 --sampler sync to sample in this process without Ray"
            )
        if self.sampler == "step" and not 1 <= self.wait_for <= self.workers:
            raise ConfigError(f"found --wait-for {self.wait_for}, expected 1 to {self.workers}, the number of workers")
        if self.name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name):
            raise ConfigError(f"found --name {self.name!r}, expected up to 100 letters, digits, dots, - and _")
        try:
            faults = self.faults
        except FaultError as error:
            raise ConfigError(str(error)) from error
        for fault in faults:
            if fault.worker is not None and fault.worker >= max(1, self.workers):
                raise ConfigError(f"--inject {fault.kind!r} names worker {fault.worker}, there are {self.workers}")

    def _check_numbers(self) -> None:
        least: dict[str, float] = {
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
        for field, low in least.items():
            if (found := getattr(self, field)) < low:
                raise ConfigError(f"found --{field.replace('_', '-')} {found}, expected at least {low:g}")
        positive = ("learning_rate", "clip", "max_gradient_norm", "worker_timeout", "start_timeout")
        for field in positive:
            if not (found := getattr(self, field)) > 0:
                raise ConfigError(f"found --{field.replace('_', '-')} {found}, expected more than 0")
        for field in ("discount", "gae_lambda"):
            if not 0 <= (found := getattr(self, field)) <= 1:
                raise ConfigError(f"found --{field.replace('_', '-')} {found}, expected 0 to 1")
        if any(size < 1 for size in self.hidden):
            raise ConfigError(f"found --hidden {self.hidden}, expected sizes of at least 1")


def as_plain(config: Config) -> dict[str, Any]:
    """Return the configuration as data that JSON, YAML and TOML can hold."""
    plain = dataclasses.asdict(config)
    for key, value in plain.items():
        if isinstance(value, Path):
            plain[key] = str(value)
        elif isinstance(value, tuple):
            plain[key] = list(value)
    return plain


def from_plain(plain: dict[str, Any], source: str) -> Config:
    """Build a configuration from data; raises `ConfigError` naming `source` and the unknown or wrong key."""
    fields = {field.name: field for field in dataclasses.fields(Config)}
    if unknown := sorted(set(plain) - set(fields)):
        raise ConfigError(f"{source}: unknown option {', '.join(unknown)}; `raymon train --help` lists them all")
    default = Config()
    for key, value in plain.items():
        expected = getattr(default, key)
        if expected is not None and not isinstance(expected, Path) and not _fits(value, expected):
            raise ConfigError(f"{source}: {key} is {value!r}, expected something like {expected!r}")
    return Config(**plain)


def _fits(value: object, example: object) -> bool:
    if isinstance(example, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(example, bool)
    if isinstance(example, float):
        return isinstance(value, int | float)
    if isinstance(example, tuple):
        return isinstance(value, list | tuple)
    return isinstance(value, type(example))


def load(path: Path) -> Config:
    """Read a configuration from a `.yaml`, `.yml` or `.toml` file; raises `ConfigError`."""
    try:
        text = path.read_text()
        data = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as a configuration: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds {type(data).__name__}, expected options, one `name: value` a line")
    return from_plain(data, str(path))


def save(config: Config, path: Path) -> None:
    """Write the configuration as YAML, or as TOML when the file's name ends so."""
    plain = as_plain(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".toml":
        lines = [f"{key} = {_toml(value)}" for key, value in plain.items() if value is not None]
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text(yaml.safe_dump(plain, sort_keys=False))


def _toml(value: Any) -> str:  # noqa: ANN401  # whatever a field holds
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)

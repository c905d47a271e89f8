"""Plausible, repeatable values of every family, for the processes and nodes of a synthetic cluster."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from raymon import catalog
from raymon.catalog import Metric

Fault = Literal["", "slow", "stalled", "stopped", "dead"]
Value = Callable[[float], float]
"""A series' value at a moment (seconds since the epoch)."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process that records: a worker, or the driver when `worker` is `catalog.DRIVER`.

    Attributes:
        fault: `slow` samples at a tenth of the speed; `stalled` still beats but no longer progresses; `stopped` does
            neither; `dead` has lost its gauges while its counters stay, flat, as Ray leaves them.
    """

    run: str
    worker: str
    started: float
    pid: int
    workers: int = 0
    steps_per_second: float = 1000.0
    fault: Fault = ""
    fault_at: float = 0.0

    @property
    def speed(self) -> float:
        """Environment steps per second, with the fault."""
        return self.steps_per_second * (0.1 if self.fault == "slow" else 1.0)

    def worked(self, now: float) -> float:
        """Seconds the process has worked until `now`."""
        until = min(now, self.fault_at) if self.fault in ("stalled", "stopped", "dead") else now
        return max(0.0, until - self.started)

    def beat(self, now: float) -> float:
        """When the process last flushed."""
        return self.fault_at if self.fault in ("stopped", "dead") else math.floor(now)

    def progressed(self, now: float) -> float:
        """When the process last finished a step."""
        return self.started + self.worked(now)


STEPS_PER_ROLLOUT: Final = 2048
ROLLOUT_SHARE: Final = 0.8
"""Share of a worker's wall time inside rollouts."""
UPDATE_SECONDS: Final = 4.0
INFO: Final = {"engine": "own", "algorithm": "PPO", "sampler": "async", "environment": "CartPole-v1"}

Numbers = Mapping[Metric, float | Mapping[str, float]]
"""A number per family, or per value of the family's last label; others are 0."""


def _wave(now: float, middle: float, swing: float, period: float = 300.0) -> float:
    return middle + swing * math.sin(2 * math.pi * now / period)


def _rates(process: Process) -> Numbers:
    """Growth of the process's counters per second of work."""
    own: Numbers = {catalog.CPU_SECONDS: 0.9, catalog.RECORDING_SECONDS: 0.001}
    if process.worker != catalog.DRIVER:
        return {
            **own,
            catalog.ENV_STEPS: process.speed,
            catalog.ROLLOUTS: process.speed / STEPS_PER_ROLLOUT,
            catalog.ROLLOUT_SECONDS: ROLLOUT_SHARE,
            catalog.WORKER_PHASE: {"environment": 0.5, "inference": 0.25, "sending": 0.03, "waiting": 0.2},
            catalog.EPISODES: process.speed / 200,
            catalog.TASK_PROCESSES: 0.0,
        }
    steps = process.workers * process.steps_per_second
    fragments = steps / STEPS_PER_ROLLOUT
    outcomes = {"received": 1.0, "trained": 0.98, "dropped": 0.02}
    return {
        **own,
        catalog.WORKER_LOSSES: {"killed": 1 / 600},
        catalog.WORKER_RESTARTS: {"killed": 1 / 600},
        catalog.UPDATES: 1 / UPDATE_SECONDS,
        catalog.PHASE_SECONDS: dict.fromkeys(catalog.DRIVER_PHASES, 0.05) | {"learn": 0.45, "sample": 0.2},
        catalog.FRAGMENTS: {outcome: share * fragments for outcome, share in outcomes.items()},
        catalog.FRAGMENT_STEPS: {outcome: share * steps for outcome, share in outcomes.items()},
        catalog.FRAGMENTS_DROPPED: {"stale": 0.02 * fragments},
        catalog.FLEET_ROLLOUT: fragments,
        catalog.PUT_BYTES: {"rollouts": 20.0 * steps, "weights": steps},
        catalog.ACTOR_CALLS: fragments,
        catalog.INFERENCE_BATCHES: 50.0,
        catalog.INFERENCE_OBSERVATIONS: 50.0 * 32,
    }


def _levels(process: Process) -> Numbers:
    """The means of the process's oscillating gauges."""
    own: Numbers = {catalog.RESIDENT_MEMORY: 3.2e8}
    if process.worker != catalog.DRIVER:
        seconds = ROLLOUT_SHARE * STEPS_PER_ROLLOUT / process.speed
        spread = {"0.5": seconds, "0.95": 1.2 * seconds, "0.99": 1.4 * seconds}
        return {**own, catalog.ROLLOUT_LATENCY: spread, catalog.EPISODE_RETURN: 200.0}
    return {
        **own,
        catalog.ITERATION_SECONDS: UPDATE_SECONDS,
        catalog.REFS_HELD_BYTES: process.workers * 40_960.0,
        catalog.FLEET_RETURN: {"mean": 200.0, "min": 9.0, "max": 450.0},
        catalog.FLEET_LENGTH: 200.0,
        catalog.LOSS: {"policy": -0.01, "value": 0.4, "entropy": -0.006, "total": 0.384},
        catalog.KL: 0.01,
        catalog.ENTROPY: 0.6,
        catalog.CLIP_RATIO: 0.1,
        catalog.EXPLAINED_VARIANCE: 0.9,
        catalog.GRADIENT_NORM: 0.5,
        catalog.GPU_UTILIZATION: 0.6,
        catalog.GPU_MEMORY: 2e9,
    }


def _constants(process: Process) -> Numbers:
    """Gauges that keep their value."""
    own: Numbers = {catalog.PROCESS_ID: float(process.pid)}
    if process.worker != catalog.DRIVER:
        return {**own, catalog.ACTIVITY: {"environment": 1.0}}
    return {
        **own,
        catalog.RUN_INFO: {INFO["environment"]: 1.0},
        catalog.RUN_STATE: {"training": 1.0},
        catalog.RUN_START: process.started,
        catalog.TARGET_STEPS: 1e10,
        catalog.WORKERS: {"expected": float(process.workers), "up": float(process.workers)},
        catalog.POLICY_LAG: {"mean": 1.0, "max": 2.0},
        catalog.REFS_HELD: float(process.workers),
        catalog.LEARNING_RATE: 3e-4,
    }


def _moments(process: Process) -> dict[Metric, Value]:
    """Gauges that follow the clock or the work done."""
    updates = _grows(process, 1 / UPDATE_SECONDS)
    steps = _grows(process, 0.98 * process.workers * process.steps_per_second)
    if process.worker != catalog.DRIVER:
        own = {catalog.PROGRESS: process.progressed, catalog.POLICY_VERSION: updates}
    else:
        own = {
            catalog.LAST_UPDATE: lambda now: process.started + UPDATE_SECONDS * updates(now),
            catalog.TRAINED_STEPS: steps,
            catalog.LEARNER_VERSION: updates,
            catalog.REFS_OLDEST: lambda now: now - 2.0,
        }
    return {catalog.HEARTBEAT: process.beat, **own}


def _grows(process: Process, rate: float) -> Value:
    return lambda now: math.floor(rate * process.worked(now) * 1000) / 1000


def constant(value: float) -> Value:
    """Return a series that keeps one value."""
    return lambda _: value


def around(middle: float, swing: float | None = None) -> Value:
    """Return a series that oscillates around a value, by default by a tenth of it."""
    return lambda now: _wave(now, middle, middle / 10 if swing is None else swing)


def scaled(value: Value, share: float) -> Value:
    """Return a share of a series, in whole numbers."""
    return lambda now: math.floor(share * value(now))


def values(process: Process) -> Iterator[tuple[Metric, dict[str, str], Value]]:
    """Yield every series of a process: family, its own labels, value."""
    moments = _moments(process)
    role: catalog.Source = "driver" if process.worker == catalog.DRIVER else "worker"
    for metric in (*catalog.of("process"), *catalog.of(role)):
        for labels in _labels(metric):
            if metric in moments:
                yield metric, labels, moments[metric]
            elif metric.kind != "gauge":
                yield metric, labels, _grows(process, _pick(_rates(process), metric, labels))
            elif metric in (levels := _levels(process)):
                yield metric, labels, around(_pick(levels, metric, labels))
            else:
                yield metric, labels, constant(_pick(_constants(process), metric, labels))


def _pick(numbers: Numbers, metric: Metric, labels: Mapping[str, str]) -> float:
    value = numbers.get(metric, 0.0)
    return value.get(labels[metric.labels[-1]], 0.0) if isinstance(value, Mapping) else value


def _labels(metric: Metric) -> Iterator[dict[str, str]]:
    """Yield every combination of the metric's own labels, without the phases of language models; run_info has one."""
    if metric is catalog.RUN_INFO:
        yield dict(INFO)
        return
    values = [metric.values.get(label, ("0",)) for label in metric.labels]
    own = [[value for value in every if value not in catalog.LANGUAGE_PHASES] for every in values]
    yield from (dict(zip(metric.labels, chosen, strict=True)) for chosen in itertools.product(*own))


RAYLET_GAUGES: Final[dict[str, Value]] = {
    "ray_object_store_used_memory": around(4e9, 1e9),
    "ray_object_store_available_memory": around(16e9, -1e9),
    "ray_object_store_fallback_memory": constant(0.0),
    "ray_object_store_num_local_objects": around(500, 100),
}
RAYLET_LABELLED: Final[tuple[tuple[str, str, dict[str, Value]], ...]] = (
    (
        "ray_object_store_memory",
        "Location",
        {
            "MMAP_SHM": around(4e9, 1e9),
            "MMAP_DISK": constant(0.0),
            "SPILLED": constant(0.0),
            "WORKER_HEAP": constant(1e6),
        },
    ),
    ("ray_spill_manager_objects_bytes", "State", {"Pinned": around(4e9, 1e9), "Spilled": constant(0.0)}),
    ("ray_spill_manager_request_total", "Type", {"Spilled": constant(0.0), "Restored": constant(0.0)}),
)
RAYLET_COUNTERS: Final = (
    "ray_memory_manager_worker_eviction_total",
    "ray_node_manager_unexpected_worker_failure_total",
)
NODE_GAUGES: Final[dict[str, Value]] = {
    "ray_node_cpu_utilization": around(80.0, 10.0),
    "ray_node_cpu_count": constant(64.0),
    "ray_node_mem_used": around(100e9, 5e9),
    "ray_node_mem_total": constant(256e9),
    "ray_node_disk_usage": constant(200e9),
    "ray_node_disk_free": constant(800e9),
    "ray_node_disk_io_read_speed": around(1e6, 1e5),
    "ray_node_disk_io_write_speed": around(2e6, 1e5),
    "ray_node_network_send_speed": around(5e7, 1e7),
    "ray_node_network_receive_speed": around(5e7, 1e7),
}
GPU_GAUGES: Final[dict[str, Value]] = {
    "ray_node_gpus_utilization": around(60.0, 10.0),
    "ray_node_gram_used": constant(20_000.0),
    "ray_node_gram_available": constant(120_000.0),
}

"""A model of a cluster that trains: workers, a driver and the metrics pages that Ray's exporters would serve.

Time is simulated, so hours pass in minutes. The model writes the text of the pages; the collector under test reads it
exactly as it reads a real node. Only what the verdicts read is modelled.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from raymon import catalog
from raymon.catalog import Metric
from raymon.queries.ray_families import NODE_CPU, STORE_AVAILABLE, STORE_MEMORY

START: Final = 1_800_000_000.0
SLICES: Final = 10
"""Slices of a second. They are counted: sums of 0.1 miss a whole second by a rounding error."""
SLICE_SECONDS: Final = 1.0 / SLICES
GAUGE_SECONDS: Final = 20.0
"""Ray drops a gauge that its process has not set for this long."""
FOREVER: Final = float("inf")
_QUANTILES: Final = {str(quantile): quantile for quantile in catalog.QUANTILES}
_SHARES: Final = {"environment": 0.75, "inference": 0.2, "sending": 0.05}

Key = tuple[Metric, tuple[str, ...]]
_MOMENTS: Final = (catalog.HEARTBEAT, catalog.PROGRESS, catalog.RUN_START, catalog.LAST_UPDATE)
"""Gauges that hold a moment by the clock of the node."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one worker does.

    Attributes:
        step_seconds: Mean duration of a step of all its environments.
        steps: Steps of a rollout.
        environments: Environments stepped at once.
        noise: Standard deviation of the logarithm of a step's duration.
        tail_ratio: Share of the steps that take `tail_seconds` longer.
        length_sigma: Standard deviation of the logarithm of a rollout's number of steps; 0 for fixed lengths.
        counts_steps: Whether steps are counted as they are taken, not at the end of a rollout.
    """

    step_seconds: float = 0.008
    steps: int = 16
    environments: int = 4
    noise: float = 0.3
    tail_ratio: float = 0.0
    tail_seconds: float = 1.0
    length_sigma: float = 0.0
    counts_steps: bool = True


class Process:
    """A process that records: its numbers, when it flushes and exports, and its text on the page."""

    def __init__(self, name: str, node: str, rng: np.random.Generator, report: float) -> None:
        self.name, self.node, self.rng, self.report_seconds = name, node, rng, report
        self.life = 1
        self.numbers: dict[Key, float] = {}
        self.flush_due = START + float(rng.uniform(0.0, 1.0))
        self.export_due = START + float(rng.uniform(0.0, report))
        self.flushed_at = self.exported_at = 0.0
        self.flushed: dict[Key, float] = {}
        self.text = ""
        self.silent_until = 0.0
        self.jitter_seconds = 0.0
        self.clock_offset = 0.0
        self._heads: dict[Key, str] = {}

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        """Add to a counter."""
        self.numbers[metric, labels] = self.numbers.get((metric, labels), 0.0) + value

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        self.numbers[metric, labels] = value

    def restart(self) -> None:
        """Become a new process under the same label; the counters of the old one stay on the page."""
        self.life += 1
        self.numbers, self._heads = {}, {}

    def record(self, now: float) -> None:
        """Set the gauges of a flush."""

    def flush(self, now: float) -> None:
        """Hand the numbers to Ray's exporter once a second, and export them when that is due."""
        if now >= self.flush_due and now >= self.silent_until:
            self.record(now)
            self.set(catalog.HEARTBEAT, now)
            self.flushed, self.flushed_at = dict(self.numbers), now
            for metric in _MOMENTS:
                if (metric, ()) in self.flushed:
                    self.flushed[metric, ()] += self.clock_offset
            self.flush_due = (
                now + 1.0 + float(self.rng.exponential(self.jitter_seconds) if self.jitter_seconds else 0.0)
            )
        if now >= self.export_due:
            self.export_due = now + self.report_seconds * float(self.rng.uniform(0.95, 1.05))
            self.exported_at = now
            gauges = now - self.flushed_at < GAUGE_SECONDS
            self.text = "".join(
                f"{self._head(key)} {value!r}\n"
                for key, value in self.flushed.items()
                if gauges or key[0].kind == "counter"
            )

    def _head(self, key: Key) -> str:
        head = self._heads.get(key)
        if head is None:
            metric, values = key
            labels = {
                "NodeAddress": self.node,
                "WorkerId": f"{self.name}-{self.life}",
                "run": "run",
                **({} if self.name == catalog.DRIVER else {"worker": self.name}),
                **dict(zip(metric.labels, values, strict=True)),
            }
            pairs = ",".join(f'{label}="{text}"' for label, text in labels.items())
            head = self._heads[key] = f"{metric.name}{{{pairs}}}"
        return head


class Worker(Process):
    """A worker: rollouts one after the other while the driver wants them."""

    def __init__(self, name: str, node: str, work: Work, rng: np.random.Generator, report: float) -> None:
        super().__init__(name, node, rng, report)
        self.work = work
        self.factor: Callable[[float], float] = lambda _: 1.0
        self.ends: list[float] = []
        self.taken = 0
        self.began: float | None = None
        self.frozen_until = 0.0
        self.dead_until = 0.0
        self.progress = 0.0
        self.fails = False
        self.growth_bytes = 0.0
        self.rss_bytes = 300e6
        self.latencies: list[tuple[float, float]] = []
        self.steps_taken = 0

    def begin(self, now: float) -> None:
        """Begin a rollout."""
        work, rng = self.work, self.rng
        steps = (
            max(1, round(work.steps * float(rng.lognormal(0.0, work.length_sigma))))
            if work.length_sigma
            else work.steps
        )
        spread = rng.lognormal(-0.5 * work.noise**2, work.noise, steps)
        durations = work.step_seconds * self.factor(now) * spread
        if work.tail_ratio:
            durations = durations + work.tail_seconds * (rng.random(steps) < work.tail_ratio)
        self.began, self.taken = now, 0
        self.ends = (now + np.cumsum(durations)).tolist()

    def freeze(self, now: float, until: float) -> None:
        """Take no step until a moment."""
        self.frozen_until = until
        if until < FOREVER:
            delay = until - now
            self.ends = [end + delay if end > now else end for end in self.ends]

    def work_until(self, now: float, seconds: float) -> bool:
        """Work for a slice of time that ends at `now`; return whether a rollout ended in it."""
        busy = self.began is not None
        self.rss_bytes += self.growth_bytes * seconds
        until = min(now, self.ends[-1]) if busy and self.ends and now >= self.frozen_until else now
        worked = max(0.0, until - max(now - seconds, self.began or 0.0)) if busy else 0.0
        self.add(catalog.WORKER_PHASE, seconds - worked, "waiting")
        if busy:
            self.add(catalog.ROLLOUT_SECONDS, worked)
            for phase, share in _SHARES.items():
                self.add(catalog.WORKER_PHASE, share * worked, phase)
        if not busy or now < self.frozen_until:
            return False
        if self.fails:
            self.add(catalog.ROLLOUT_FAILURES, 1.0, "TypeError")
            self.began = None
            return False
        ends, taken = self.ends, self.taken
        while taken < len(ends) and ends[taken] <= now:
            taken += 1
        if self.work.counts_steps and taken > self.taken:
            self.add(catalog.ENV_STEPS, float((taken - self.taken) * self.work.environments))
            self.progress = ends[taken - 1]
        self.steps_taken += taken - self.taken
        self.taken = taken
        if taken < len(ends):
            return False
        self._finish()
        return True

    def _finish(self) -> None:
        began = self.began or 0.0
        took = self.ends[-1] - began
        self.progress = self.ends[-1]
        if not self.work.counts_steps:
            self.add(catalog.ENV_STEPS, float(len(self.ends) * self.work.environments))
        self.add(catalog.ROLLOUTS, 1.0)
        self.latencies.append((self.ends[-1], took))
        self.began = None

    def record(self, now: float) -> None:
        """Set the gauges of a flush."""
        self.latencies = [pair for pair in self.latencies if pair[0] > now - 60.0]
        self.set(catalog.PROCESS_ID, 4000.0 + self.life)
        self.set(catalog.RESIDENT_MEMORY, self.rss_bytes)
        doing = "waiting" if self.began is None else "environment"
        for name in catalog.ACTIVITIES:
            self.set(catalog.ACTIVITY, float(name == doing), name)
        if self.progress:
            self.set(catalog.PROGRESS, self.progress)
        if self.latencies:
            took = np.array([seconds for _, seconds in self.latencies])
            for label, value in zip(_QUANTILES, np.quantile(took, list(_QUANTILES.values())).tolist(), strict=True):
                self.set(catalog.ROLLOUT_LATENCY, value, label)


@dataclass(slots=True)
class Pauses:
    """Pauses of the driver for an evaluation or a checkpoint, every `updates` updates, in a phase."""

    updates: int
    seconds: float
    phase: str


@dataclass(frozen=True, slots=True)
class Trainer:
    """What a trainer tells raymon.

    Attributes:
        engine: As in `raymon.DriverMonitor`.
        sampler: The way of sampling; empty for the model's own word.
        algorithm: Its name.
        names_phases: Whether its loop names phases; without, all time of an iteration is `other`.
        iterates: Whether its loop says when an iteration begins; without, no update, phase or state is known.
        counts_workers: Whether it says which worker is up, lost or replaced.
    """

    engine: str = "own"
    sampler: str = ""
    algorithm: str = "PPO"
    names_phases: bool = True
    iterates: bool = True
    counts_workers: bool = True


FOREIGN: Final = Trainer("custom", "", "", names_phases=False, iterates=False, counts_workers=False)
"""A loop of somebody else around instrumented workers, which trains in them or in a function of its own."""
RLLIB: Final = Trainer("rllib", "rllib")


class Driver(Process):
    """A driver: collects rollouts, learns from a batch of them, pauses now and then."""

    def __init__(self, rng: np.random.Generator, report: float, workers: int, *, synchronous: bool) -> None:
        super().__init__(catalog.DRIVER, "10.0.0.1", rng, report)
        self.synchronous, self.expected, self.started = synchronous, workers, START
        self.batch = workers
        self.learn_seconds = 0.1
        self.pauses: Pauses | None = None
        self.trainer = Trainer()
        self.queue = 0
        self.updates = 0
        self.phase, self.phase_until = "sample", 0.0
        self.iteration_began = START
        self.iterations: list[tuple[float, float]] = []
        self.last_update = 0.0
        self.frozen_until = 0.0
        self.trouble: dict[str, str] = {}
        self.extra: dict[Key, float] = {}

    def wants(self) -> bool:
        """Return whether a worker that has finished may begin again."""
        return self.queue < 2 * self.batch if not self.synchronous else False

    def work_until(self, now: float, seconds: float) -> bool:
        """Work for a slice of time; return whether a batch is wanted from every worker (synchronous sampling)."""
        if self.trainer.iterates:
            self.add(catalog.PHASE_SECONDS, seconds, self.phase if self.trainer.names_phases else "other")
        if now < self.frozen_until or now < self.phase_until:
            return False
        if self.phase == "sample":
            if self.queue < self.batch:
                return False
            self.queue -= self.batch
            self.phase, self.phase_until = "learn", now + self.learn_seconds * float(self.rng.uniform(0.8, 1.2))
            return False
        if self.phase == "learn":
            self._update(now)
            if self.pauses and self.updates % self.pauses.updates == 0:
                self.phase, self.phase_until = self.pauses.phase, now + self.pauses.seconds
                return False
        self.phase = "sample"
        return self.synchronous

    def _update(self, now: float) -> None:
        self.updates += 1
        self.last_update = now
        if not self.trainer.iterates:
            return
        self.iterations.append((now, now - self.iteration_began))
        self.iteration_began = now
        self.add(catalog.UPDATES, 1.0)
        self.add(catalog.FRAGMENTS, float(self.batch), "received")

    def record(self, now: float) -> None:
        """Set the gauges of a flush."""
        self.iterations = [pair for pair in self.iterations if pair[0] > now - 10.0] or self.iterations[-1:]
        trainer = self.trainer
        own = ("sync" if self.synchronous else "async") if trainer.engine == "own" else ""
        self.set(catalog.RUN_INFO, 1.0, trainer.engine, trainer.algorithm, trainer.sampler or own, "model")
        self.set(catalog.RUN_START, self.started)
        self.set(catalog.RESIDENT_MEMORY, 900e6)
        for state in catalog.RUN_STATES:
            self.set(catalog.RUN_STATE, float(state == ("training" if trainer.iterates else "starting")), state)
        self.set(catalog.WORKERS, float(self.expected), "expected")
        if trainer.counts_workers:
            self._count_workers()
        if self.iterations:
            self.set(catalog.LAST_UPDATE, self.last_update)
            self.set(catalog.ITERATION_SECONDS, sum(took for _, took in self.iterations) / len(self.iterations))
        for (metric, labels), value in self.extra.items():
            self.set(metric, value, *labels)

    def _count_workers(self) -> None:
        for state in ("restarting", "given_up"):
            bad = [name for name, trouble in self.trouble.items() if trouble == state]
            self.set(catalog.WORKERS, float(len(bad)), state)
            for name in self.trouble:
                self.set(catalog.WORKER_TROUBLE, float(self.trouble[name] == state), name, state)
        self.set(catalog.WORKERS, float(self.expected - sum(bool(state) for state in self.trouble.values())), "up")


@dataclass(slots=True)
class Cluster:
    """Processes on nodes, and the pages of these nodes.

    Attributes:
        events: What happens when: rising moments in seconds since the start, and what to do then.
        load: Mean extra delay of a flush in seconds: a machine whose cores are taken.
        cut: Nodes whose endpoint does not answer.
        viewer_offset: Seconds by which the viewer's clock is ahead.
    """

    driver: Driver
    workers: list[Worker]
    report_seconds: float = 1.0
    events: list[tuple[float, Callable[["Cluster"], None]]] = field(default_factory=list)
    now: float = START
    cut: set[str] = field(default_factory=set)
    frozen: bool = False
    store_bytes: float = 50e6
    viewer_offset: float = 0.0
    _remains: list[tuple[str, str]] = field(default_factory=list)
    _pages: dict[str, bytes] = field(default_factory=dict)
    _node_due: float = 0.0
    _node_cpu: float = 40.0

    def processes(self) -> Iterator[Process]:
        """Yield the driver and every worker that lives."""
        yield self.driver
        yield from self.workers

    def clock(self) -> float:
        """Return the time by the viewer's clock."""
        return self.now + self.viewer_offset

    def set_clock(self, offset: float, node: str = "") -> None:
        """Set the clock of a node, or of every node and the viewer, wrong by so many seconds."""
        for process in self.processes():
            if not node or process.node == node:
                process.clock_offset = offset
        if not node:
            self.viewer_offset = offset

    def sleep(self, seconds: float) -> None:
        """Suspend the whole machine: moments go by, nothing happens."""
        self.now += seconds
        for process in self.processes():
            process.flush_due += seconds
            process.export_due += seconds
        for worker in self.workers:
            worker.ends = [end + seconds for end in worker.ends]
        self.driver.phase_until += seconds
        self.driver.add(catalog.PHASE_SECONDS, seconds, self.driver.phase)

    def halt(self, node: str, seconds: float) -> None:
        """Have a node stand still: its processes do nothing and its endpoint does not answer."""
        self.cut.add(node)
        for worker in self.workers:
            if worker.node == node:
                worker.freeze(self.now, self.now + seconds)
                worker.silent_until = self.now + seconds
        self.events.append((self.now - START + seconds, lambda cluster: cluster.cut.discard(node)))

    def crash(self, worker: Worker, back_seconds: float = 4.0) -> None:
        """End a worker's process; the driver notices within a second and replaces it, unless `back_seconds` is inf."""
        self._remains.append((worker.node, worker.text))
        worker.dead_until = self.now + back_seconds
        worker.silent_until = FOREVER
        worker.began = None
        worker.text = ""
        self.events.append((self.now - START + 1.0, lambda _: self._notice(worker, back_seconds)))
        if back_seconds < FOREVER:
            self.events.append((self.now - START + back_seconds, lambda _: self._replace(worker)))

    def _notice(self, worker: Worker, back_seconds: float) -> None:
        self.driver.trouble[worker.name] = "restarting" if back_seconds < FOREVER else "given_up"
        if self.driver.trainer.counts_workers:
            self.driver.add(catalog.WORKER_LOSSES, 1.0, "killed")

    def _replace(self, worker: Worker) -> None:
        worker.restart()
        worker.silent_until = worker.dead_until = 0.0
        worker.flushed = {}
        self.driver.trouble[worker.name] = ""
        if self.driver.trainer.counts_workers:
            self.driver.add(catalog.WORKER_RESTARTS, 1.0, worker.name, "killed")
        worker.begin(self.now)

    def second(self) -> None:
        """Let a second pass."""
        while self.events and min(at for at, _ in self.events) <= self.now - START:
            due = [event for event in self.events if event[0] <= self.now - START]
            self.events = [event for event in self.events if event[0] > self.now - START]
            for _, act in due:
                act(self)
        begin = self.now
        for number in range(1, SLICES + 1):
            self.now = begin + number / SLICES
            self._slice()

    def _slice(self) -> None:
        driver, now = self.driver, self.now
        alive = [worker for worker in self.workers if now >= worker.dead_until]
        for worker in alive:
            if worker.work_until(now, SLICE_SECONDS):
                driver.queue += 1
            if worker.fails:
                worker.began = now
            elif worker.began is None and driver.wants():
                worker.begin(now)
        if driver.work_until(now, SLICE_SECONDS):
            for worker in alive:
                if worker.began is None:
                    worker.begin(now)
        if driver.synchronous:
            driver.batch = max(1, len(alive))
        for process in self.processes():
            process.flush(now)

    def pages(self) -> dict[str, bytes]:
        """Return the text of every node's page by address; a frozen exporter serves what it served before."""
        if self.frozen:
            return self._pages
        if self.now >= self._node_due:
            self._node_due = self.now + max(2.0, self.report_seconds)
            self._node_cpu = 40.0 + float(self.driver.rng.uniform(0.0, 20.0))
        texts: dict[str, list[str]] = {}
        for process in self.processes():
            texts.setdefault(process.node, []).append(process.text)
        for node, text in self._remains:
            lines = [line for line in text.splitlines() if "_total{" in line]
            texts.setdefault(node, []).append("\n".join([*lines, ""]))
        for node, parts in texts.items():
            parts.append(f'{NODE_CPU}{{ip="{node}"}} {self._node_cpu!r}\n')
            parts.append(f"{STORE_AVAILABLE}{{}} {max(0.0, 1e9 - self.store_bytes)!r}\n")
            parts.append(f'{STORE_MEMORY}{{Location="MMAP_SHM"}} {self.store_bytes!r}\n')
        self._pages = {node: "".join(parts).encode() for node, parts in texts.items()}
        return self._pages


def build(
    works: Sequence[Work],
    seed: int,
    *,
    synchronous: bool = False,
    report_seconds: float = 1.0,
    nodes: int = 1,
    learn_ratio: float = 0.5,
    trainer: Trainer | None = None,
) -> Cluster:
    """Return a cluster with a worker for each work; `learn_ratio` is the learner's share of what sampling takes.

    RLlib numbers its workers from 1; its driver samples too, with number 0, only where it has no others.
    """
    rng = np.random.default_rng(seed)
    driver = Driver(np.random.default_rng(rng.integers(1 << 32)), report_seconds, len(works), synchronous=synchronous)
    driver.trainer = trainer or driver.trainer
    workers = [
        Worker(
            str(number + (driver.trainer.engine == "rllib")),
            f"10.0.0.{1 + number % nodes}",
            work,
            np.random.default_rng(rng.integers(1 << 32)),
            report_seconds,
        )
        for number, work in enumerate(works)
    ]
    rollout = float(np.median([work.step_seconds * work.steps + work.tail_ratio * work.steps for work in works]))
    driver.learn_seconds = max(0.05, learn_ratio * rollout)
    for worker in workers:
        worker.begin(START + float(worker.rng.uniform(0.0, 0.5)))
    return Cluster(driver, workers, report_seconds)

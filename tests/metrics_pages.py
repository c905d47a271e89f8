"""Metrics pages as a Ray node serves them, for a run whose numbers the test sets."""

from raymon import catalog
from raymon.live.collector import Collector
from raymon.live.scrape import Page
from raymon.queries.ray_families import NODE_CPU, STORE_AVAILABLE, STORE_MEMORY

URL = "http://10.0.0.1:8080/metrics"
NOW = 1_800_000_000.0


def line(name, value, node="10.0.0.1", worker_id="", **labels):
    all_labels = {"Component": "core_worker", "NodeAddress": node, "SessionName": "s", "WorkerId": worker_id, **labels}
    pairs = ",".join(f'{key}="{text}"' for key, text in all_labels.items())
    return f"{name}{{{pairs}}} {value}\n"


class FakeProcess:
    """A recording process: `numbers` maps a metric, or a metric and its label values, to its value."""

    def __init__(self, run="r", worker="0", life=1, node="10.0.0.1", **numbers):
        self.run, self.worker, self.node = run, worker, node
        self.worker_id = f"{run}-{worker}-{life}"
        self.numbers = {}
        self.gauges_shown = True
        self.beats = True

    def set(self, metric, value, *labels):
        self.numbers[metric, labels] = value

    def add(self, metric, value, *labels):
        self.numbers[metric, labels] = self.numbers.get((metric, labels), 0.0) + value

    def each_second(self, action):
        """Call `action` with the time at the end of each of its seconds from now on."""
        usual = self.second

        def second(now):
            usual(now)
            action(now)

        self.second = second

    def lines(self):
        for (metric, values), value in self.numbers.items():
            if metric.kind == "gauge" and not self.gauges_shown:
                continue
            labels = {"run": self.run, **dict(zip(metric.labels, values, strict=True))}
            if metric.source != "driver":
                labels = {"worker": self.worker, **labels}
            yield line(metric.name, value, self.node, self.worker_id, **labels)


class FakeWorker(FakeProcess):
    """A worker that samples `speed` steps a second in rollouts of 100 steps while it works."""

    def __init__(self, worker="0", speed=1000.0, life=1, **more):
        super().__init__(worker=worker, life=life, **more)
        self.speed, self.works, self.activity = speed, True, "environment"

    def second(self, now):
        if not self.beats:
            return
        self.set(catalog.HEARTBEAT, now)
        self.set(catalog.PROCESS_ID, 4000 + int(self.worker))
        self.set(catalog.RESIDENT_MEMORY, 300e6)
        for name in catalog.ACTIVITIES:
            self.set(catalog.ACTIVITY, float(name == self.activity), name)
        if self.works and self.activity not in ("waiting", "starting"):
            self.set(catalog.PROGRESS, now)
            self.add(catalog.ENV_STEPS, self.speed)
            self.add(catalog.ROLLOUTS, self.speed / 100.0)
            self.add(catalog.ROLLOUT_SECONDS, 0.9)
            self.add(catalog.WORKER_PHASE, 0.9, "environment")


class LongRollouts(FakeWorker):
    """A worker whose rollouts take 20 s at 1,000 steps a second; with `counts` it counts steps as it takes them."""

    def __init__(self, worker="0", counts=True, **more):
        super().__init__(worker=worker, **more)
        self.counts, self.taken = counts, 0.0

    def second(self, now):
        done = self.taken + self.speed >= 20_000
        self.set(catalog.HEARTBEAT, now)
        self.set(catalog.PROCESS_ID, 4000 + int(self.worker))
        for name in catalog.ACTIVITIES:
            self.set(catalog.ACTIVITY, float(name == "environment"), name)
        self.add(catalog.ROLLOUT_SECONDS, 1.0)
        if not self.works:
            return
        self.taken = 0.0 if done else self.taken + self.speed
        if self.counts or done:
            self.set(catalog.PROGRESS, now)
            self.add(catalog.ENV_STEPS, self.speed if self.counts else 20_000)
        if done:
            self.add(catalog.ROLLOUTS, 1.0)
            for quantile in catalog.QUANTILES:
                self.set(catalog.ROLLOUT_LATENCY, 20.0, str(quantile))


class FakeDriver(FakeProcess):
    """A driver that makes two updates a second, most of their time in `phase`."""

    def __init__(self, expected=3, phase="learn", share=0.5, **more):
        super().__init__(worker=catalog.DRIVER, **more)
        self.expected, self.phase, self.share, self.started = expected, phase, share, NOW - 100.0
        self.state, self.works = "training", True

    def second(self, now):
        if not self.beats:
            return
        self.set(catalog.HEARTBEAT, now)
        self.set(catalog.RUN_INFO, 1.0, "own", "PPO", "async", "zmq://host:1")
        self.set(catalog.RUN_START, self.started)
        for name in catalog.RUN_STATES:
            self.set(catalog.RUN_STATE, float(name == self.state), name)
        self.set(catalog.WORKERS, self.expected, "expected")
        self.set(catalog.WORKERS, self.expected, "up")
        self.set(catalog.ITERATION_SECONDS, 0.5)
        if self.works:
            self.set(catalog.LAST_UPDATE, now)
            self.add(catalog.UPDATES, 2.0)
            self.add(catalog.PHASE_SECONDS, self.share, self.phase)
            self.add(catalog.PHASE_SECONDS, 1.0 - self.share, "other" if self.phase != "other" else "log")


class FakeCluster:
    """Processes on one node, a clock, and a collector that reads their page once a second."""

    def __init__(self, *processes, first=NOW):
        self.processes, self.now = list(processes), first
        self.exports, self.answers = True, True
        self.url, self.address, self.spilled_bytes = URL, "10.0.0.1", 0.0
        self._page = b""
        self.collector = self.viewer()

    def viewer(self):
        return Collector([URL], clock=lambda: self.now)

    def page(self):
        rows = [text for process in self.processes for text in process.lines()]
        rows.append(line(NODE_CPU, 40 + self.now % 7, ip=self.address))
        rows.append(line(STORE_AVAILABLE, 150e6))
        rows.append(line(STORE_MEMORY, 50e6, Location="MMAP_SHM"))
        rows.append(line(STORE_MEMORY, self.spilled_bytes, Location="SPILLED"))
        rows.append(line(STORE_MEMORY, 900e6, Location="WORKER_HEAP"))
        return ('# TYPE x gauge\nray_something_else{a="b"} 1.0\n' + "".join(rows)).encode()

    def look(self, collector=None):
        error = "" if self.answers else "connection refused"
        page = Page(self.url, b"" if error else self._page, error)
        return (collector or self.collector).digest([page])

    def move(self, address, port, *processes):
        """End the Ray session and begin another one with these processes."""
        self.url, self.address, self.processes = f"http://{address}:{port}/metrics", address, list(processes)

    def run(self, seconds, each=None):
        """Let time pass with a collection each second; return the last snapshot."""
        snapshot = None
        for _ in range(seconds):
            self.now += 1.0
            for process in self.processes:
                process.second(self.now - 0.3)
            if self.exports:
                self._page = self.page()
            snapshot = self.look()
            if each is not None:
                each(snapshot)
        return snapshot


class FakeRollout(FakeProcess):
    """A rollout worker that generates a batch of responses every `seconds`, all of one length but the last one.

    The tail is the share of the batch for which only the last one is running.
    """

    def __init__(self, worker="0", seconds=2, length=100.0, responses=32, tail=0.0, **more):
        super().__init__(worker=worker, **more)
        self.seconds, self.length, self.responses, self.tail = seconds, length, responses, tail
        self.busy, self.slower, self.version = 0.0, 1.0, 1.0

    def second(self, now):
        self.set(catalog.HEARTBEAT, now)
        self.set(catalog.PROCESS_ID, 4000 + int(self.worker))
        self.set(catalog.ROLE, 1.0, "rollout")
        self.set(catalog.POLICY_VERSION, self.version)
        for name in catalog.ACTIVITIES:
            self.set(catalog.ACTIVITY, float(name == "generate"), name)
        self.add(catalog.ENV_STEPS, 0.0)
        self.add(catalog.ROLLOUT_SECONDS, 1.0)
        self.add(catalog.WORKER_PHASE, 1.0, "generate")
        self.busy += 1.0
        longest = self.length / (1.0 - self.tail)
        took = self.seconds * self.slower / (1.0 - self.tail)
        if self.busy >= took:
            self.busy -= took
            self.set(catalog.PROGRESS, now)
            self.add(catalog.ROLLOUTS, 1.0)
            self.add(catalog.GENERATION_SECONDS, took)
            self.add(catalog.TOKENS, 10.0 * self.responses, "in")
            self.add(catalog.TOKENS, self.length * (self.responses - 1) + longest, "out")
            self.add(catalog.RESPONSES, self.responses - 1.0, "complete")
            self.add(catalog.RESPONSES, 1.0, "truncated")
            self.add(catalog.GENERATION_LENGTH, self.length, "body")
            if self.responses >= 4:  # as a recorder counts it
                self.add(catalog.GENERATION_LENGTH, longest - self.length, "tail")
                self.add(catalog.TAIL_RESPONSES, 1.0)
            for quantile in catalog.QUANTILES:
                self.set(catalog.RESPONSE_LENGTH, self.length if quantile < 0.9 else longest, str(quantile))
                self.set(catalog.ROLLOUT_LATENCY, took, str(quantile))


class FakeReward(FakeProcess):
    """A reward worker that is busy for a share of each second, in phases and without rollouts."""

    def __init__(self, worker="9", busy=0.2, **more):
        super().__init__(worker=worker, **more)
        self.busy = busy

    def second(self, now):
        self.set(catalog.HEARTBEAT, now)
        self.set(catalog.PROGRESS, now)
        self.set(catalog.ROLE, 1.0, "reward")
        for name in catalog.ACTIVITIES:
            self.set(catalog.ACTIVITY, float(name == ("reward" if self.busy > 0.5 else "waiting")), name)
        self.add(catalog.ROLLOUTS, 0.0)
        self.add(catalog.WORKER_PHASE, self.busy, "reward")


class FakeController(FakeDriver):
    """The driver of a run that trains a language model: an update a second, groups, a buffer, weights that it sends."""

    def __init__(self, phases=None, equal=0.1, **more):
        super().__init__(**more)
        self.phases = phases or {"sample": 0.4, "train": 0.4, "weight_sync": 0.05, "other": 0.15}
        self.equal, self.syncs, self.depth, self.capacity = equal, True, 20.0, 64.0

    def second(self, now):
        self.set(catalog.HEARTBEAT, now)
        self.set(catalog.RUN_INFO, 1.0, "verl", "GRPO", "async", "digits")
        self.set(catalog.RUN_START, self.started)
        for name in catalog.RUN_STATES:
            self.set(catalog.RUN_STATE, float(name == "training"), name)
        self.set(catalog.ITERATION_SECONDS, 1.0)
        self.set(catalog.LAST_UPDATE, now)
        self.add(catalog.UPDATES, 1.0)
        self.set(catalog.LEARNER_VERSION, self.numbers[catalog.UPDATES, ()])
        for phase, share in self.phases.items():
            self.add(catalog.PHASE_SECONDS, share, phase)
        self.add(catalog.GROUPS, 8.0 * (1.0 - self.equal), "yes")
        self.add(catalog.GROUPS, 8.0 * self.equal, "no")
        self.set(catalog.BUFFER_DEPTH, self.depth)
        self.set(catalog.BUFFER_CAPACITY, self.capacity)
        self.set(catalog.BUFFER_OLDEST, now - 2.0)
        if self.syncs:
            self.add(catalog.WEIGHT_SYNCS, 1.0)
            self.add(catalog.WEIGHT_SYNC_SECONDS, 0.05)
            self.add(catalog.WEIGHT_SYNC_BYTES, 1e6)

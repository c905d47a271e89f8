"""Scenarios on a model of a cluster: what is built, what goes wrong, and what should be said about it first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.diagnosis_model import FOREIGN, FOREVER, RLLIB, START, Cluster, Pauses, Work, build
from raymon import catalog

Act = Callable[[Cluster], None]
FAULT_AFTER: Final = 60.0
WATCH_SECONDS: Final = 75.0
HUNG_SECONDS: Final = 700.0
"""A hang is watched for so long that fixed time-outs of ten minutes are reached."""
HALT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Simulated:
    """One scenario.

    Attributes:
        make: Seed to cluster, with its fault among its events.
        expected: Codes of which one must be the first alarm; empty when nothing is wrong.
        fault_after: Seconds of healthy training before the fault; 0 when it is there from the start.
        seconds: How long it is watched in all.
        weak: A fault that costs little or shows late; reported apart.
        limit_seconds: The slowest alarm that passes.
        heals_after: Seconds after which the fault is over; an unexpected alarm from then on is a false one.
    """

    name: str
    make: Callable[[int], Cluster]
    expected: frozenset[str] = frozenset()
    fault_after: float = FAULT_AFTER
    seconds: float = FAULT_AFTER + WATCH_SECONDS
    weak: bool = False
    limit_seconds: float = 15.0
    heals_after: float = FOREVER


def scenarios(report_seconds: float) -> Iterator[Simulated]:
    """Yield every scenario with exports every so many seconds."""
    yield from _stragglers(report_seconds)
    yield from _stalls(report_seconds)
    yield from _others(report_seconds)
    yield from _trainers(report_seconds)


def healthy(report_seconds: float, hours: float) -> Iterator[Simulated]:
    """Yield healthy runs of different nature that come to about so many hours."""
    runs = tuple(_healthy(report_seconds))
    seconds = hours * 3600.0 / len(runs)
    for name, make in runs:
        yield Simulated(f"healthy: {name}", make, fault_after=0.0, seconds=seconds)


def _with(make: Callable[[int], Cluster], *events: tuple[float, Act]) -> Callable[[int], Cluster]:
    def seeded(seed: int) -> Cluster:
        cluster = make(seed)
        cluster.events.extend(events)
        return cluster

    return seeded


def _fleet(count: int, report: float, work: Work | None = None, **options: object) -> Callable[[int], Cluster]:
    def seeded(seed: int) -> Cluster:
        return build([work or Work()] * count, seed, report_seconds=report, **options)  # type: ignore[arg-type]

    return seeded


def _slow(number: int, factor: float) -> Act:
    def act(cluster: Cluster) -> None:
        cluster.workers[number].factor = lambda _: factor

    return act


def _blinking(number: int, factor: float, seconds: float) -> Act:
    def act(cluster: Cluster) -> None:
        begun = cluster.now
        cluster.workers[number].factor = lambda now: factor if int((now - begun) / seconds) % 2 == 0 else 1.0

    return act


def _hang(number: int) -> Act:
    return lambda cluster: cluster.workers[number].freeze(cluster.now, FOREVER)


def _stop(number: int) -> Act:
    def act(cluster: Cluster) -> None:
        cluster.workers[number].freeze(cluster.now, FOREVER)
        cluster.workers[number].silent_until = FOREVER

    return act


def _limit(report: float) -> float:
    return 15.0 if report <= 1.0 else 45.0


def _stragglers(report: float) -> Iterator[Simulated]:
    wanted = frozenset({"straggler_bound"})
    limit = _limit(report)
    for sync in (False, True):
        mode = "sync" if sync else "async"
        for factor in (1.3, 1.5, 1.8, 2.5, 4.0, 8.0):
            make = _with(_fleet(6, report, synchronous=sync), (FAULT_AFTER, _slow(2, factor)))
            name = f"one of 6 workers {factor:g} times slower, {mode}"
            yield Simulated(name, make, wanted, weak=factor < 1.8, limit_seconds=limit)
        make = _with(_fleet(3, report, synchronous=sync), (FAULT_AFTER, _slow(1, 3.0)))
        yield Simulated(f"one of 3 workers 3 times slower, {mode}", make, wanted, limit_seconds=limit)
        make = _with(_fleet(2, report, synchronous=sync), (FAULT_AFTER, _slow(1, 3.0)))
        yield Simulated(f"one of 2 workers 3 times slower, {mode}", make, wanted, limit_seconds=limit)
    make = _with(_fleet(6, report), (FAULT_AFTER, _blinking(4, 4.0, 20.0)))
    yield Simulated("one of 6 workers 4 times slower every other 20 s", make, wanted, limit_seconds=limit)
    make = _with(_fleet(6, report), (1.0, _slow(2, 3.0)))
    yield Simulated("one of 6 workers 3 times slower from the start", make, wanted, 0.0, 90.0, limit_seconds=limit + 15)
    make = _with(_fleet(12, report, nodes=3), (FAULT_AFTER, _slow(2, 3.0)), (FAULT_AFTER, _slow(7, 4.0)))
    yield Simulated("two of 12 workers slower, 3 nodes", make, wanted, limit_seconds=limit)
    tail = Work(tail_ratio=1 / 300)
    make = _with(_fleet(6, report, tail), (FAULT_AFTER, _slow(2, 8.0)))
    yield Simulated("one of 6 workers 8 times slower, heavy tails", make, wanted, weak=True, limit_seconds=limit)
    make = _with(_fleet(64, report, nodes=4), (FAULT_AFTER, _slow(40, 2.5)))
    yield Simulated("one of 64 workers 2.5 times slower", make, wanted, limit_seconds=limit)


def _stalls(report: float) -> Iterator[Simulated]:
    stalled, lost = frozenset({"worker_stalled"}), frozenset({"workers_lost"})
    limit, long = _limit(report), FAULT_AFTER + HUNG_SECONDS
    for sync in (False, True):
        mode = "sync" if sync else "async"
        for name, act in (("hangs", _hang(1)), ("is stopped", _stop(1))):
            make = _with(_fleet(4, report, synchronous=sync), (FAULT_AFTER, act))
            yield Simulated(f"one of 4 workers {name}, {mode}", make, stalled, seconds=long, limit_seconds=limit)
        make = _with(_fleet(4, report, synchronous=sync), (FAULT_AFTER, lambda c: c.crash(c.workers[1])))
        yield Simulated(f"one of 4 workers crashes, {mode}", make, lost, limit_seconds=limit)
    make = _with(_fleet(4, report), (FAULT_AFTER, lambda c: c.crash(c.workers[1], FOREVER)))
    yield Simulated("one of 4 workers crashes and is given up", make, lost, limit_seconds=limit)
    make = _with(_fleet(6, report), (FAULT_AFTER, _hang(1)), (FAULT_AFTER, _hang(4)))
    yield Simulated("two of 6 workers hang", make, stalled, limit_seconds=limit)
    make = _with(_fleet(6, report), (FAULT_AFTER, _hang(1)), (FAULT_AFTER, _slow(4, 4.0)))
    both = stalled | {"straggler_bound"}
    yield Simulated("one of 6 workers hangs, another is 4 times slower", make, both, limit_seconds=limit)
    make = _with(_fleet(4, report), (2.0, _hang(1)))
    yield Simulated("one of 4 workers hangs from the start", make, stalled, 0.0, 90.0, limit_seconds=limit + 15)
    rare = Work(tail_ratio=1 / 300)
    make = _with(_fleet(4, report, rare), (FAULT_AFTER, _hang(1)))
    yield Simulated("one of 4 workers hangs, heavy tails", make, stalled, limit_seconds=limit)
    work = Work(step_seconds=0.02, steps=500)
    make = _with(_fleet(4, report, work), (FAULT_AFTER, _hang(1)))
    yield Simulated("one of 4 workers hangs in rollouts of 10 s", make, stalled, limit_seconds=limit)
    make = _with(_fleet(64, report, nodes=4), (FAULT_AFTER, _hang(40)))
    yield Simulated("one of 64 workers hangs", make, stalled, limit_seconds=limit)
    make = _with(_fleet(1000, report, Work(steps=64, step_seconds=0.02), nodes=8), (20.0, _hang(400)))
    yield Simulated("one of 1000 workers hangs", make, stalled, 20.0, 50.0, limit_seconds=limit)


def _fails(*numbers: int) -> Act:
    def act(cluster: Cluster) -> None:
        for number in numbers or range(len(cluster.workers)):
            cluster.workers[number].fails = True

    return act


def _leak(cluster: Cluster) -> None:
    cluster.workers[1].growth_bytes = 20e6


def _stop_driver(cluster: Cluster) -> None:
    cluster.driver.frozen_until = cluster.driver.silent_until = FOREVER


def _hang_driver(cluster: Cluster) -> None:
    cluster.driver.frozen_until = FOREVER


def _freeze_exporter(cluster: Cluster) -> None:
    cluster.frozen = True


def _skip_updates(cluster: Cluster) -> None:
    cluster.driver.add(catalog.NONFINITE_UPDATES, 5.0)


def _diverge(cluster: Cluster) -> None:
    cluster.driver.extra[catalog.KL, ()] = 2.0


def _fill_store(cluster: Cluster) -> None:
    cluster.store_bytes = 950e6


def _cut_node(cluster: Cluster) -> None:
    cluster.cut.add("10.0.0.3")


def _halt_node(cluster: Cluster) -> None:
    cluster.halt("10.0.0.3", HALT_SECONDS)


def _others(report: float) -> Iterator[Simulated]:
    limit = _limit(report)
    cases: tuple[tuple[str, Act, str], ...] = (
        ("every rollout fails", _fails(), "rollouts_failing"),
        ("every rollout of one worker fails", _fails(1), "rollouts_failing"),
        ("worker leaks 20 MB/s", _leak, "memory_growth"),
        ("driver is stopped", _stop_driver, "driver_gone"),
        ("driver hangs", _hang_driver, "no_progress"),
        ("exporter is frozen", _freeze_exporter, "stale"),
        ("loss not finite", _skip_updates, "loss_not_finite"),
        ("KL divergence of 2 nats", _diverge, "diverging"),
        ("object store is full", _fill_store, "object_store"),
    )
    for name, act, expected in cases:
        make = _with(_fleet(4, report), (FAULT_AFTER, act))
        seconds = FAULT_AFTER + (HUNG_SECONDS if name.startswith("driver") else WATCH_SECONDS)
        yield Simulated(name, make, frozenset({expected}), seconds=seconds, limit_seconds=limit)
    make = _with(_fleet(2, report), (0.0, _fails()))
    yield Simulated("every rollout fails from the start", make, frozenset({"rollouts_failing"}), 0.0, 60.0)
    make = _with(_fleet(6, report, nodes=3), (FAULT_AFTER, _cut_node))
    yield Simulated("a node of three does not answer", make, frozenset({"node_silent"}), limit_seconds=limit)
    heals = {"seconds": FAULT_AFTER + 90.0, "limit_seconds": limit, "heals_after": FAULT_AFTER + HALT_SECONDS}
    make = _with(
        _fleet(6, report, nodes=3), (FAULT_AFTER, _cut_node), (FAULT_AFTER + HALT_SECONDS, lambda c: c.cut.clear())
    )
    yield Simulated("a node of three does not answer for 30 s", make, frozenset({"node_silent"}), **heals)
    for sync in (False, True):
        make = _with(_fleet(6, report, nodes=3, synchronous=sync), (FAULT_AFTER, _halt_node))
        # synchronous sampling waits for the node: the run makes no progress until it is back
        expected = frozenset({"node_silent", "no_progress"} if sync else {"node_silent"})
        yield Simulated(f"a node of three sleeps for 30 s, {'sync' if sync else 'async'}", make, expected, **heals)


def _trainers(report: float) -> Iterator[Simulated]:
    limit = _limit(report)
    slow, stalled = frozenset({"straggler_bound"}), frozenset({"worker_stalled"})
    for sync in (False, True):
        mode = "sync" if sync else "async"
        foreign = _fleet(4, report, synchronous=sync, trainer=FOREIGN, learn_ratio=1.0 if sync else 0.5)
        make = _with(foreign, (FAULT_AFTER, _slow(2, 4.0)))
        yield Simulated(f"foreign loop, {mode}: one of 4 workers 4 times slower", make, slow, limit_seconds=limit)
        make = _with(foreign, (FAULT_AFTER, _hang(1)))
        yield Simulated(f"foreign loop, {mode}: one of 4 workers hangs", make, stalled, limit_seconds=limit)
    make = _with(foreign, (FAULT_AFTER, _stop(1)))
    yield Simulated("foreign loop: one of 4 workers is stopped", make, stalled, limit_seconds=limit)
    make = _with(foreign, (FAULT_AFTER, _fails()))
    yield Simulated("foreign loop: every rollout fails", make, frozenset({"rollouts_failing"}), limit_seconds=limit)
    rllib = _fleet(3, report, synchronous=True, trainer=RLLIB)
    make = _with(rllib, (FAULT_AFTER, _slow(1, 4.0)))
    yield Simulated("RLlib: one of 3 env runners 4 times slower", make, slow, limit_seconds=limit)
    make = _with(rllib, (FAULT_AFTER, _hang(1)))
    yield Simulated("RLlib: one of 3 env runners hangs", make, stalled, limit_seconds=limit)
    make = _with(rllib, (FAULT_AFTER, lambda c: c.crash(c.workers[1])))
    yield Simulated("RLlib: an env runner crashes", make, frozenset({"workers_lost"}), limit_seconds=limit)


def _healthy(report: float) -> Iterator[tuple[str, Callable[[int], Cluster]]]:
    yield "asynchronous", _fleet(6, report)
    yield "synchronous", _fleet(6, report, synchronous=True)
    yield "one worker", _fleet(1, report)
    yield "64 workers on 4 nodes", _fleet(64, report, nodes=4)
    yield "heavy tails, asynchronous", _fleet(6, report, Work(tail_ratio=1 / 300))
    yield "heavy tails, synchronous", _fleet(6, report, Work(tail_ratio=1 / 300), synchronous=True)
    yield "rollouts of very different length", _fleet(6, report, Work(steps=400, length_sigma=1.0))
    yield "the same, counted at their end", _fleet(6, report, Work(steps=400, length_sigma=1.0, counts_steps=False))
    yield "rollouts of 20 s", _fleet(4, report, Work(step_seconds=0.05, steps=400))
    yield "rollouts of 20 s, counted at their end", _fleet(4, report, Work(0.05, 400, counts_steps=False))
    yield "workers of different speed by design", _designed(report)
    yield "worker hovers at the limit", _hovering(report)
    yield "curriculum", _curriculum(report)
    yield "evaluation every 100 updates, no phase", _paused(report, Pauses(100, 20.0, "other"))
    yield "checkpoint every 50 updates", _paused(report, Pauses(50, 15.0, "checkpoint"))
    yield "machine sleeps for half a minute", _sleeping(report)
    yield "clock of a node is set, forth and back", _clocks(report, "10.0.0.2")
    yield "clock of all nodes and the viewer is set, forth and back", _clocks(report, "")
    yield "loaded machine", _loaded(report)
    yield (
        "foreign loop, workers train themselves",
        _fleet(4, report, synchronous=True, trainer=FOREIGN, learn_ratio=1.0),
    )
    yield "foreign loop, asynchronous", _fleet(4, report, trainer=FOREIGN)
    yield "RLlib", _fleet(3, report, synchronous=True, trainer=RLLIB)


def _designed(report: float) -> Callable[[int], Cluster]:
    return lambda seed: build([Work(0.008 * (1.0 + 0.5 * number)) for number in range(5)], seed, report_seconds=report)


def _hovering(report: float) -> Callable[[int], Cluster]:
    def seeded(seed: int) -> Cluster:
        cluster = build([Work()] * 6, seed, report_seconds=report)
        cluster.workers[3].factor = lambda now: 1.3 + 0.25 * ((now - START) % 120.0 < 60.0)
        return cluster

    return seeded


def _curriculum(report: float) -> Callable[[int], Cluster]:
    def seeded(seed: int) -> Cluster:
        cluster = build([Work()] * 6, seed, report_seconds=report)
        for worker in cluster.workers:
            late = float(worker.rng.uniform(0.0, 10.0))
            worker.factor = lambda now, late=late: 1.0 + 0.5 * int((now - START - late) / 300.0)  # type: ignore[misc]
        return cluster

    return seeded


def _paused(report: float, pauses: Pauses) -> Callable[[int], Cluster]:
    def seeded(seed: int) -> Cluster:
        cluster = build([Work()] * 4, seed, report_seconds=report, synchronous=True)
        cluster.driver.pauses = pauses
        return cluster

    return seeded


def _sleeping(report: float) -> Callable[[int], Cluster]:
    def seeded(seed: int) -> Cluster:
        cluster = build([Work()] * 4, seed, report_seconds=report)
        cluster.events.extend((300.0 * (number + 1), lambda c: c.sleep(30.0)) for number in range(100))
        return cluster

    return seeded


def _clocks(report: float, node: str) -> Callable[[int], Cluster]:
    """Set clocks wrong by two minutes for a minute, ahead and behind in turn."""

    def seeded(seed: int) -> Cluster:
        cluster = build([Work()] * 6, seed, report_seconds=report, nodes=3)
        for number, offset in enumerate((120.0, 0.0, -120.0, 0.0) * 25):
            cluster.events.append((60.0 * (number + 1), lambda c, offset=offset: c.set_clock(offset, node)))  # type: ignore[misc]
        return cluster

    return seeded


def _loaded(report: float) -> Callable[[int], Cluster]:
    def seeded(seed: int) -> Cluster:
        cluster = build([Work(noise=0.8)] * 4, seed, report_seconds=report)
        for process in cluster.processes():
            process.jitter_seconds = 0.6
        for worker in cluster.workers:
            phase = float(worker.rng.uniform(0.0, 50.0))
            worker.factor = lambda now, phase=phase: 1.0 + 0.3 * (((now + phase) % 50.0) < 20.0)  # type: ignore[misc]
        return cluster

    return seeded

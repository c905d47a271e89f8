"""What can happen to a run, and what should be said about it: the scenarios of `benchmarks/diagnosis.py`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Action = Literal[
    "",
    "stop-worker",
    "kill-worker",
    "kill-workers",
    "stop-driver",
    "kill-driver",
    "freeze-exporter",
    "load",
    "pause-all",
]

FAULT_AFTER: Final = 25.0
"""Seconds of training before a fault begins: warm-up and grace periods are over, the healthy part is judged too."""
WATCH_AFTER: Final = 20.0
"""Seconds a fault is watched."""

SIMULATED: Final = (
    "--env",
    "raymon/Simulated-v0?low_seconds=0.001&high_seconds=0.003",
    "--workers",
    "3",
    "--envs-per-worker",
    "4",
    "--fragment-steps",
    "16",
    "--minibatch",
    "64",
    "--step-threads",
    "0",
)
CARTPOLE: Final = ("--workers", "2", "--envs-per-worker", "16", "--fragment-steps", "64")
SYNC: Final = ("--sampler", "sync")
STEP: Final = ("--sampler", "step", "--workers", "3")
LONG: Final = (
    "--env",
    SIMULATED[1],
    "--workers",
    "3",
    "--envs-per-worker",
    "2",
    "--fragment-steps",
    "1000",
    "--minibatch",
    "512",
    "--step-threads",
    "0",
)
RLLIB: Final = ("--engine", "rllib", "--workers", "2", "--envs-per-worker", "4", "--minibatch", "128")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run and what should be said about it.

    Attributes:
        name: What happens, with its strength.
        arguments: Options of `raymon train`.
        expected: States of the run's verdict that are right; empty means that nothing must be alarmed about.
        action: Something done from outside when the fault is due.
        fault_after: Seconds of training before the fault; what is alarmed about earlier is a false alarm. None when the
            run has its trait from the start, so that there is no healthy part.
        watch: Seconds watched after the fault, or altogether without one.
    """

    name: str
    arguments: tuple[str, ...]
    expected: frozenset[str] = frozenset()
    action: Action = ""
    fault_after: float | None = FAULT_AFTER
    watch: float = WATCH_AFTER


def _injected(name: str, base: tuple[str, ...], fault: str, *expected: str) -> Scenario:
    return Scenario(name, (*base, "--inject", f"{fault} after={FAULT_AFTER:g}s"), frozenset(expected))


def _slow() -> Iterable[Scenario]:
    for factor in (3, 5, 10):
        fault = f"slow worker=1 factor={factor}"
        yield _injected(f"one of 3 workers {factor} times slower, async", SIMULATED, fault, "straggler_bound")
    fault = "slow worker=1 factor=5"
    yield _injected("one of 3 workers 5 times slower, sync", (*SIMULATED, *SYNC), fault, "straggler_bound")
    yield _injected("one of 2 workers 5 times slower, CartPole", CARTPOLE, fault, "straggler_bound")
    yield _injected("one of 3 workers 4 times slower, long rollouts", LONG, "slow worker=1 factor=4", "straggler_bound")
    six = (*SIMULATED, "--workers", "6", *SYNC)
    yield _injected("one of 6 workers 3 times slower, sync", six, "slow worker=4 factor=3", "straggler_bound")
    lame = SIMULATED[1] + '&slowdown={"1":5.0}'
    runners = (*RLLIB, "--env", lame, "--workers", "3", "--fragment-steps", "16")
    yield Scenario(
        "RLlib: one of 3 env runners 5 times slower", runners, frozenset({"straggler_bound"}), fault_after=None
    )
    yield _injected("one of 3 workers 5 times slower, step", (*SIMULATED, *STEP), fault, "straggler_bound")


def _lost() -> Iterable[Scenario]:
    for sampler, base in (("async", SIMULATED), ("sync", (*SIMULATED, *SYNC)), ("step", (*SIMULATED, *STEP))):
        yield _injected(f"environment hangs, {sampler}", base, "hang worker=1", "worker_stalled")
        yield _injected(f"worker crashes, {sampler}", base, "crash worker=1", "workers_lost")
    yield _injected("environment hangs, long rollouts", LONG, "hang worker=1", "worker_stalled")
    yield _injected("environment raises, async", SIMULATED, "env-error worker=0", "workers_lost")
    several = (*SIMULATED, "--workers", "6", "--inject", f"hang worker=4 after={FAULT_AFTER:g}s")
    yield _injected("environments of two of 6 workers hang", several, "hang worker=1", "worker_stalled")
    once = (*SIMULATED, "--max-restarts", "0")
    yield _injected("worker crashes and is given up", once, "crash worker=1", "workers_lost")
    often = (*SIMULATED, "--max-restarts", "2")
    yield _injected("worker crashes again and again", often, "crash worker=1 times=9", "workers_lost")
    stalled, lost = frozenset({"worker_stalled"}), frozenset({"workers_lost"})
    yield Scenario("worker stopped (SIGSTOP), async", SIMULATED, stalled, "stop-worker")
    yield Scenario("worker stopped (SIGSTOP), sync", (*SIMULATED, *SYNC), stalled, "stop-worker")
    yield Scenario("worker killed (SIGKILL), CartPole", CARTPOLE, lost, "kill-worker")
    yield Scenario("all workers killed (SIGKILL)", SIMULATED, lost, "kill-workers")
    gone = frozenset({"driver_gone", "killed", "stale"})
    yield Scenario("driver killed (SIGKILL)", SIMULATED, gone, "kill-driver")
    yield Scenario("driver stopped (SIGSTOP)", SIMULATED, frozenset({"driver_gone"}), "stop-driver")
    yield Scenario("exporter frozen (SIGSTOP of Ray's agent)", SIMULATED, frozenset({"stale"}), "freeze-exporter")
    yield Scenario("RLlib: env runner stopped (SIGSTOP)", RLLIB, stalled | {"no_progress"}, "stop-worker")
    yield Scenario("RLlib: env runner killed (SIGKILL)", RLLIB, lost, "kill-worker")


def _memory_and_learning() -> Iterable[Scenario]:
    for megabytes in (10, 40):
        yield _injected(f"worker leaks {megabytes} MB/s", SIMULATED, f"leak worker=1 mb={megabytes}", "memory_growth")
    full = frozenset({"references_kept", "object_store"})
    leak = f"ref-leak mb=40 after={FAULT_AFTER:g}s"
    yield Scenario("driver fills the object store, 40 MB/s", (*SIMULATED, "--inject", leak), full)
    for megabytes in (1, 5):
        fault = f"ref-leak mb={megabytes}"
        yield _injected(f"driver keeps references, {megabytes} MB/s", SIMULATED, fault, "references_kept")
    for factor in (10, 30):
        fault = f"slow-learner factor={factor}"
        yield _injected(f"learner {factor} times slower", SIMULATED, fault, "learner_bound")
    yield _injected("loss not finite, async", SIMULATED, "nan-loss times=3", "loss_not_finite")
    yield _injected("loss not finite, sync", (*CARTPOLE, *SYNC), "nan-loss times=3", "loss_not_finite")
    wild = (*CARTPOLE, "--learning-rate", "0.3", "--no-anneal", "--epochs", "10")
    yield Scenario(
        "learning rate a hundred times too high", wild, frozenset({"diverging", "loss_not_finite"}), fault_after=None
    )


def _configured() -> Iterable[Scenario]:
    slow = (
        "--env",
        "raymon/Simulated-v0?low_seconds=0.01&high_seconds=0.03",
        "--workers",
        "2",
        "--envs-per-worker",
        "2",
        "--fragment-steps",
        "16",
        "--minibatch",
        "32",
        "--step-threads",
        "0",
    )
    environment = frozenset({"environment_bound"})
    yield Scenario("slow environment, async", slow, environment, fault_after=None)
    yield Scenario("slow environment, sync", (*slow, *SYNC), environment, fault_after=None)
    runners = (*RLLIB, "--env", slow[1], "--fragment-steps", "8")
    yield Scenario("RLlib: slow environment", runners, environment, fault_after=None)
    heavy = (*CARTPOLE, "--epochs", "20", "--hidden", "256", "256")
    yield Scenario("learner too heavy", heavy, frozenset({"learner_bound"}), fault_after=None)
    tiny = (
        "--workers",
        "2",
        "--envs-per-worker",
        "1",
        "--fragment-steps",
        "4",
        "--minibatch",
        "8",
        "--epochs",
        "1",
        *SYNC,
    )
    calls = frozenset({"overhead_bound", "sampling_bound", "weights_bound", "learner_bound", "healthy"})
    yield Scenario("calls too small, sync", tiny, calls, fault_after=None)


def _healthy() -> Iterable[Scenario]:
    for name, base in (
        ("CartPole, async", CARTPOLE),
        ("CartPole, sync", (*CARTPOLE, *SYNC)),
        ("simulated, async", SIMULATED),
        ("simulated, step", (*SIMULATED, *STEP)),
        ("RLlib", RLLIB),
    ):
        yield Scenario(f"healthy: {name}", base, watch=45.0, fault_after=None)
    yield Scenario("healthy: CartPole, async, machine loaded", CARTPOLE, action="load", watch=30.0)
    yield Scenario("healthy: simulated, async, machine loaded", SIMULATED, action="load", watch=30.0)
    yield Scenario("healthy: the whole run paused 6 s", SIMULATED, action="pause-all", watch=30.0)
    graded = SIMULATED[1] + '&slowdown={"0":1.0,"1":1.5,"2":2.0,"3":2.5}'
    design = ("--env", graded, *SIMULATED[2:], "--workers", "4")
    yield Scenario("healthy: four workers of different speed by design", design, watch=45.0, fault_after=None)
    long = (*LONG, "--workers", "2")
    yield Scenario("healthy: rollouts of 4 s", long, watch=45.0, fault_after=None)
    longer = (*long, "--fragment-steps", "6000")
    yield Scenario("healthy: rollouts of 24 s", longer, watch=60.0, fault_after=None)
    yield Scenario("healthy: one worker", (*SIMULATED, "--workers", "1"), watch=45.0, fault_after=None)


SCENARIOS: Final = (*_slow(), *_lost(), *_memory_and_learning(), *_configured(), *_healthy())

"""A small trainer on Ray that is not raymon's, instrumented in three lines: `raymon.instrument` and `DriverMonitor`.

    python -m benchmarks.foreign_trainer ADDRESS RUN CASE FOLDER

The case begins when the file `FOLDER/fault` appears. Each line of output is the number of steps so far.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import ray

import raymon
from benchmarks.death_cases import DEATHS, DeathCase
from benchmarks.hang_cases import CASES, Case, Place

WORKERS: Final = 3
FAULTY: Final = (1, 2)
DIVERGING_SECONDS: Final = 15.0
MOST_KL: Final = 1.0
"""Nats; the trainer gives up when its updates are larger for `DIVERGING_SECONDS`."""
LEARNING_RATE: Final = 0.01


def find(name: str) -> Case | DeathCase | None:
    """Return the case with a name; None for a trainer without trouble."""
    return next((case for case in (*CASES, *DEATHS) if case.name == name), None)


class Env:
    """An environment whose step takes a few milliseconds."""

    def __init__(self, number: int, case: str, folder: Path) -> None:
        chosen = find(case)
        kinds = {"worker": (1,), "async": (1,), "pair": FAULTY}
        self._faulty = chosen is not None and number in kinds.get(chosen.where, ())
        self._function = chosen.function if chosen is not None else None
        self._fault, self.place = folder / "fault", Place(folder)
        self._wrong_reward = chosen is not None and chosen.where == "reward"
        self._return = 0.0

    def step(self) -> float:
        """Take a step; hang in it once the fault is due."""
        time.sleep(0.003)
        if self._faulty and self._function is not None and self._fault.exists():
            self._function(self.place)
        if self._wrong_reward and self._fault.exists():  # the return so far, where the reward of the step belongs
            self._return += 1.0
            return self._return
        return 1.0


class Sampler:
    """A worker that samples fragments of 20 steps."""

    def __init__(self, number: int, case: str, folder: str) -> None:
        chosen = find(case)
        if chosen is not None and chosen.where == "constructor" and chosen.function is not None:
            chosen.function(Place(Path(folder)))
        self.number, self._env = number, Env(number, case, Path(folder))

    def meet(self, peer: Any) -> int:  # noqa: ANN401  # a handle of Ray
        """Learn who the other worker is; return the process id."""
        self._env.place = Place(self._env.place.folder, peer)
        return os.getpid()

    def sample(self) -> list[float]:
        """Return the rewards of 20 steps."""
        return [self._env.step() for _ in range(20)]

    def produce(self, mailbox: Any) -> None:  # noqa: ANN401  # a handle of Ray
        """Put fragments into the mailbox for ever."""
        while True:
            mailbox.put.remote(self.sample())


class AsyncSampler(Sampler):
    """The same with a coroutine."""

    async def sample(self) -> list[float]:  # type: ignore[override]
        """Return the rewards of 20 steps."""
        return [self._env.step() for _ in range(20)]


@ray.remote(num_cpus=0)
class Mailbox:
    """An actor between workers and driver."""

    def __init__(self) -> None:
        import asyncio

        self._fragments: asyncio.Queue[list[float]] = asyncio.Queue(100)

    async def put(self, fragment: list[float]) -> None:
        """Keep a fragment."""
        await self._fragments.put(fragment)

    async def get(self) -> list[float]:
        """Return the next fragment."""
        return await self._fragments.get()


class Policy:
    """A Gaussian policy with one parameter, its mean, which follows the rewards."""

    def __init__(self) -> None:
        self._mean, self._baseline = 0.0, 1.0

    def update(self, rewards: list[float]) -> float:
        """Learn from a fragment; return the KL divergence from the policy before, in nats."""
        advantage = sum(rewards) / len(rewards) - self._baseline
        self._baseline += LEARNING_RATE * advantage
        step = LEARNING_RATE * advantage
        self._mean += step
        return step * step / 2.0


def learn(case: str, folder: Path) -> None:
    """Learn from a fragment; hang in it once the fault is due."""
    time.sleep(0.005)
    chosen = find(case)
    if chosen is not None and chosen.where == "driver" and chosen.function and (folder / "fault").exists():
        chosen.function(Place(folder))


def main() -> None:
    """Train until killed."""
    address, run, case, folder = sys.argv[1:]
    chosen = find(case)
    kind = chosen.where if chosen is not None else "worker"
    ray.init(address, log_to_driver=False)
    driver = raymon.DriverMonitor(run, workers=WORKERS)
    plain = AsyncSampler if kind == "async" else Sampler
    sampler = ray.remote(num_cpus=0)(raymon.instrument(plain, rollout="sample", steps=len, worker="number"))
    second = {"resources": {"second": 0.1}} if os.environ.get("FOREIGN_SECOND") else {}
    workers = [
        sampler.options(**(second if number == 1 else {})).remote(number, case, folder)
        for number in range(1 if kind == "mailbox" else WORKERS)
    ]
    if kind == "constructor":
        time.sleep(4.0)
    peers = [
        workers[FAULTY[1]] if number == FAULTY[0] else workers[min(1, len(workers) - 1)]
        for number in range(len(workers))
    ]
    pids = ray.get([worker.meet.remote(peer) for worker, peer in zip(workers, peers, strict=True)])
    (Path(folder) / "pids").write_text(" ".join(map(str, pids)))
    mailbox = Mailbox.remote() if kind == "mailbox" else None
    if mailbox is not None:
        for worker in workers:
            worker.produce.remote(mailbox)
    pending = {} if mailbox is not None else {worker.sample.remote(): worker for worker in workers}
    steps, diverged, policy = 0, 0.0, Policy()
    while True:
        with driver.iteration():
            with driver.phase("sample"):
                if mailbox is not None:
                    fragment = ray.get(mailbox.get.remote())
                else:
                    done, _ = ray.wait(list(pending))
                    worker = pending.pop(done[0])
                    fragment = ray.get(done[0])
                    pending[worker.sample.remote()] = worker
            with driver.phase("learn"):
                learn(case, Path(folder))
                if kind == "nan" and (Path(folder) / "fault").exists():
                    diverged = diverged or time.monotonic()
                    driver.update(loss=float("nan"), nonfinite=1)
                    if time.monotonic() - diverged > DIVERGING_SECONDS:
                        raise FloatingPointError("the loss is not finite")
                if kind == "reward":
                    kl = policy.update(fragment)
                    driver.update(kl=kl)
                    diverged = (diverged or time.monotonic()) if kl > MOST_KL else 0.0
                    if diverged and time.monotonic() - diverged > DIVERGING_SECONDS:
                        raise ArithmeticError(f"the KL divergence is {kl:.2g} nats, above {MOST_KL:g}")
        steps += len(fragment)
        print(steps, flush=True)


if __name__ == "__main__":
    main()

"""Samplers, which collect fragments: in this process, strictly on-policy, or overlapped. Run in the driver.

Every sampler has `collect`, which returns the fragments of one update (fewer or none if the run stops), and `end`. The
sampler with one call per environment step is in `stepping`.
"""

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import ray

from raymon.ppo.actions import Floats
from raymon.ppo.fragment_ledger import FragmentLedger
from raymon.ppo.fragments import Fragment
from raymon.ppo.normalize import Scaling
from raymon.ppo.phases import Phases
from raymon.ppo.pool import Slot, WorkerPool
from raymon.ppo.worker import Worker

POLL_SECONDS: Final = 0.2
"""Longest wait for workers between two checks of stop requests and time-outs."""
_DIRECT_BYTES: Final = 100_000
"""Ray passes arguments up to this size inside the call; larger ones are put into the object store once."""


class PolicySnapshot(NamedTuple):
    """A version of the policy, as sent to workers."""

    weights: Floats
    version: int
    scaling: Scaling | None


class Sampler(Protocol):
    """What the training loop needs from a sampler."""

    def collect(self, policy: PolicySnapshot) -> list[Fragment]:
        """Return the fragments of one update."""

    def drain(self, seconds: float) -> None:
        """Receive running calls for at most `seconds`, so that the ledger balances."""

    def end(self, seconds: float) -> None:
        """Let the workers flush and end, within `seconds`."""


class LocalSampler:
    """One worker in this process, without Ray: the same steps as `sync` with one worker."""

    def __init__(self, worker: Worker, ledger: FragmentLedger, phases: Phases) -> None:
        self._worker, self._ledger, self._phases = worker, ledger, phases
        worker.start()

    def collect(self, policy: PolicySnapshot) -> list[Fragment]:
        """Sample one fragment."""
        with self._phases("sample"):
            self._ledger.receive(self._worker.sample(*policy))
        self._ledger.called()
        return self._ledger.take(1)

    def drain(self, seconds: float) -> None:
        """Do nothing: no call is ever running."""

    def end(self, seconds: float) -> None:  # noqa: ARG002  # nothing to wait for
        """Close the environments."""
        self._worker.close()


class PoolSampler:
    """The base of samplers with actors: it sends work and receives fragments."""

    def __init__(self, pool: WorkerPool, ledger: FragmentLedger, phases: Phases, stopping: Callable[[], bool]) -> None:
        self._pool, self._ledger, self._phases, self._stopping = pool, ledger, phases, stopping
        self._sent: tuple[int, Any] = (-1, None)

    def _give_work(self, slots: list[Slot], policy: PolicySnapshot) -> None:
        with self._phases("weights"):
            for slot in slots:
                self._pool.call(slot, "sample", self._argument(policy), policy.version, policy.scaling)
                self._ledger.monitor.put_bytes("weights", policy.weights.nbytes)

    def _argument(self, policy: PolicySnapshot) -> Any:  # noqa: ANN401  # an array or a reference to it
        if policy.weights.nbytes <= _DIRECT_BYTES:
            return policy.weights
        if self._sent[0] != policy.version:
            self._release()
            ref = ray.put(policy.weights)
            self._ledger.monitor.hold(ref, nbytes=policy.weights.nbytes)
            self._sent = (policy.version, ref)
        return self._sent[1]

    def _release(self) -> None:
        if self._sent[1] is not None:
            self._ledger.monitor.release(self._sent[1])
        self._sent = (-1, None)

    def _take_in(self, seconds: float) -> None:
        with self._phases("sample"):
            answered = self._pool.wait(seconds)
        with self._phases("transfer"):
            for slot in sorted(answered, key=lambda slot: slot.worker):
                if (fragment := self._pool.fetch(slot)) is not None:
                    self._ledger.receive(fragment)

    def drain(self, seconds: float) -> None:
        """Receive fragments that are nearly done, so that the ledger balances."""
        deadline = time.perf_counter() + seconds
        while self._pool.busy() and time.perf_counter() < deadline:
            self._take_in(POLL_SECONDS)
        self._release()

    def end(self, seconds: float) -> None:
        """Let the workers flush and end."""
        self._pool.end(seconds)


class SyncSampler(PoolSampler):
    """Strictly on-policy: every worker samples with the same policy, and all are waited for."""

    def collect(self, policy: PolicySnapshot) -> list[Fragment]:
        """Return one fragment of every worker that is up, in worker order."""
        while self._pool.first_starts() and not self._stopping():
            self._take_in(POLL_SECONDS)
        while not self._ledger.waiting and not self._stopping():
            self._give_work(self._pool.idle(), policy)
            while self._pool.busy() and not self._stopping():
                self._take_in(POLL_SECONDS)
            if not self._ledger.waiting:
                self._take_in(POLL_SECONDS)
        if self._stopping():
            return []
        self._ledger.waiting.sort(key=lambda fragment: fragment.worker)
        return self._ledger.take(len(self._ledger.waiting))


class AsyncSampler(PoolSampler):
    """Overlapped: fragments are used as they come, and workers sample on while the learner learns."""

    def __init__(
        self,
        pool: WorkerPool,
        ledger: FragmentLedger,
        phases: Phases,
        stopping: Callable[[], bool],
        batch: int,
        max_lag: int,
    ) -> None:
        super().__init__(pool, ledger, phases, stopping)
        self._batch, self._max_lag = batch, max_lag

    def collect(self, policy: PolicySnapshot) -> list[Fragment]:
        """Return the first fragments that are fresh enough; their workers are busy again already."""
        while not self._stopping():
            self._ledger.drop_stale(policy.version, self._max_lag)
            self._give_work(self._wanted(), policy)
            if len(self._ledger.waiting) >= self._batch:
                return self._ledger.take(self._batch)
            self._take_in(POLL_SECONDS)
        return []

    def _wanted(self) -> list[Slot]:
        """Return the workers that get work; with no lag allowed, no more than this update still needs."""
        idle = self._pool.idle()
        if self._max_lag:
            return idle
        missing = self._batch - len(self._ledger.waiting) - self._pool.busy()
        return idle[: max(0, missing)]

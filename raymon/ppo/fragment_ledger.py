"""The driver's ledger: every received fragment is trained on, dropped for a named reason, or still waiting."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from raymon import DriverMonitor
from raymon.ppo.fragments import Fragment


@dataclass
class FragmentLedger:
    """Counts of fragments and environment steps, mirrored to the metrics.

    Attributes:
        waiting: Fragments in the driver that no update has used yet.
        losses: Number of workers lost, by reason.
    """

    monitor: DriverMonitor
    received: int = 0
    received_steps: int = 0
    trained: int = 0
    trained_steps: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    dropped_steps: int = 0
    waiting: list[Fragment] = field(default_factory=list)
    losses: dict[str, int] = field(default_factory=dict)
    restarts: int = 0
    given_up: list[int] = field(default_factory=list)
    calls: int = 0

    def receive(self, fragment: Fragment) -> None:
        """Record a received fragment; drop it at once if its numbers are not finite."""
        self._enter(fragment)
        if len(fragment.returns):
            self.monitor.episodes(fragment.returns.tolist(), fragment.lengths.tolist())
        if fragment.finite():
            self.waiting.append(fragment)
        else:
            self.drop(fragment, "invalid")

    def lose(self, part: Fragment, reason: str) -> None:
        """Record and drop the part of a fragment that will never be complete."""
        self._enter(part)
        self.drop(part, reason)

    def _enter(self, fragment: Fragment) -> None:
        self.received += 1
        self.received_steps += fragment.env_steps
        self.monitor.received(
            fragment.worker,
            seconds=fragment.seconds,
            env_steps=fragment.env_steps,
            nbytes=fragment.nbytes,
            policy_version=fragment.version,
        )

    def drop(self, fragment: Fragment, reason: str) -> None:
        """Record a fragment, already removed from `waiting`, as dropped."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        self.dropped_steps += fragment.env_steps
        self.monitor.dropped(reason, fragments=1, env_steps=fragment.env_steps)

    def drop_stale(self, version: int, max_lag: int) -> None:
        """Drop waiting fragments of policies more than `max_lag` updates older than `version`."""
        fresh = [fragment for fragment in self.waiting if version - fragment.version <= max_lag]
        for fragment in self.waiting:
            if version - fragment.version > max_lag:
                self.drop(fragment, "stale")
        self.waiting = fresh

    def take(self, count: int) -> list[Fragment]:
        """Take the oldest waiting fragments for an update."""
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return taken

    def train(self, fragments: Sequence[Fragment], version: int) -> None:
        """Record fragments as trained on by the policy `version`."""
        steps = sum(fragment.env_steps for fragment in fragments)
        self.trained += len(fragments)
        self.trained_steps += steps
        self.monitor.trained(len(fragments), steps, lags=[version - fragment.version for fragment in fragments])

    def close(self) -> None:
        """Drop the fragments that still wait at the end."""
        for fragment in self.waiting:
            self.drop(fragment, "shutdown")
        self.waiting = []

    def balanced(self) -> bool:
        """Return whether received = trained + dropped + waiting, in fragments and in steps."""
        waiting_steps = sum(fragment.env_steps for fragment in self.waiting)
        fragments = self.trained + sum(self.dropped.values()) + len(self.waiting)
        return self.received == fragments and self.received_steps == (
            self.trained_steps + self.dropped_steps + waiting_steps
        )

    def called(self, calls: int = 1) -> None:
        """Count sampling calls to actors."""
        self.calls += calls
        self.monitor.called(calls)

    def lost(self, worker: int, reason: str) -> None:
        """Count a lost worker."""
        self.losses[reason] = self.losses.get(reason, 0) + 1
        self.monitor.worker_lost(worker, reason)

    def restarted(self, worker: int, reason: str) -> None:
        """Count a worker that was replaced and has answered."""
        self.restarts += 1
        self.monitor.worker_restarted(worker, reason)

    def give_up(self, worker: int) -> None:
        """Record that a worker was given up."""
        self.given_up.append(worker)
        self.monitor.worker_given_up(worker)

    def as_plain(self) -> dict[str, Any]:
        """Return the ledger as plain data for the summary."""
        skipped = ("monitor", "waiting")
        plain = {name: value for name, value in vars(self).items() if name not in skipped}
        return {**plain, "waiting": len(self.waiting), "balanced": self.balanced()}

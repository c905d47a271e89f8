"""What a run has done so far, as everything that reports it needs it: console, records, summary."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

RECENT_EPISODES: Final = 100
_RATE_SECONDS: Final = 5.0


@dataclass
class Progress:
    """Counters of a run; resumed ones go on where they were.

    Attributes:
        update: Policy updates made: the policy's version.
        env_steps: Environment steps trained on.
        before_seconds: Training time before this process, of a resumed run.
        began: When training began in this process, by `perf_counter`.
    """

    target: int
    update: int = 0
    env_steps: int = 0
    before_seconds: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    episodes: int = 0
    returns: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_EPISODES))
    lengths: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT_EPISODES))
    nonfinite_updates: int = 0
    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def seconds(self) -> float:
        """Return how long training has been going on."""
        return self.before_seconds + time.perf_counter() - self.began

    def trained(self, steps: int) -> None:
        """Count one update."""
        self.update += 1
        self.env_steps += steps
        now = time.perf_counter()
        self._marks.append((now, self.env_steps))
        while len(self._marks) > 2 and now - self._marks[0][0] > _RATE_SECONDS:
            self._marks.popleft()

    def ended(self, returns: Sequence[float], lengths: Sequence[int]) -> None:
        """Count episodes that ended."""
        self.episodes += len(returns)
        self.returns.extend(returns)
        self.lengths.extend(lengths)

    def return_mean(self) -> float | None:
        """Return the mean return of the last 100 episodes; None before there are any."""
        return sum(self.returns) / len(self.returns) if self.returns else None

    def solved(self, wanted: float | None) -> bool:
        """Tell whether the mean return of 100 episodes has reached what is wanted."""
        mean = self.return_mean()
        return wanted is not None and mean is not None and len(self.returns) == RECENT_EPISODES and mean >= wanted

    def remaining(self) -> float:
        """Return the share of the run still to come, 1 to 0."""
        return max(0.0, 1.0 - self.env_steps / self.target)

    def steps_per_second(self) -> float:
        """Return the rate over the last seconds."""
        if len(self._marks) < 2:
            return 0.0
        (start, before), (end, after) = self._marks[0], self._marks[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def overall_rate(self) -> float:
        """Return environment steps per second of training time since the beginning."""
        seconds = self.seconds()
        return self.env_steps / seconds if seconds > 0 else 0.0

    def eta_seconds(self) -> float | None:
        """Return when the run will end at the present rate; None when it stands still."""
        rate = self.steps_per_second()
        return max(0, self.target - self.env_steps) / rate if rate > 0 else None

    def counters(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {
            "update": self.update,
            "env_steps": self.env_steps,
            "time_seconds": self.seconds(),
            "episodes": self.episodes,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "nonfinite_updates": self.nonfinite_updates,
        }

    def restore(self, counters: dict[str, Any]) -> None:
        """Go on from what `counters` returned."""
        self.update, self.env_steps = counters["update"], counters["env_steps"]
        self.before_seconds = counters["time_seconds"]
        self.episodes, self.nonfinite_updates = counters["episodes"], counters["nonfinite_updates"]
        self.returns.extend(counters["returns"])
        self.lengths.extend(counters["lengths"])

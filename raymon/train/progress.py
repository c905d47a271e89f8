"""The counters of a run, for everything that reports them: console, records, summary."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

RECENT_EPISODES: Final = 100
_RATE_SECONDS: Final = 5.0


@dataclass
class Progress:
    """Counters of a run; a resumed run continues them.

    Attributes:
        max_env_steps: Environment steps after which the run ends; None if only time ends it.
        max_seconds: Seconds of training after which the run ends; None if only steps end it.
        update: Policy updates made: the policy's version.
        env_steps: Environment steps trained on.
        before_seconds: Training time of a resumed run before this process.
        began: When training began in this process, by `perf_counter`.
    """

    max_env_steps: int | None = None
    max_seconds: float | None = None
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
        """Return how long the run has been training."""
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
        """Return the mean return of the last 100 episodes; None before the first."""
        return sum(self.returns) / len(self.returns) if self.returns else None

    def solved(self, target: float | None) -> bool:
        """Return whether the mean return of 100 episodes has reached the target."""
        mean = self.return_mean()
        return target is not None and mean is not None and len(self.returns) == RECENT_EPISODES and mean >= target

    def remaining(self) -> float:
        """Return the share of the run that remains, 1 to 0, by the limit that is reached first."""
        by_steps = self.env_steps / self.max_env_steps if self.max_env_steps else 0.0
        by_time = self.seconds() / self.max_seconds if self.max_seconds else 0.0
        return max(0.0, 1.0 - max(by_steps, by_time))

    def target(self) -> int:
        """Return the environment steps at which the run will end: the limit, or fewer if its time ends before.

        An estimate from the time that remains is rounded to two digits; 0 while it is unknown.
        """
        seconds, rate = self.remaining_seconds(), self.steps_per_second()
        if seconds is None or rate <= 0:
            return self.max_env_steps or 0
        reached = float(f"{self.env_steps + seconds * rate:.2g}")
        return max(self.env_steps, int(min(reached, self.max_env_steps or reached)))

    def remaining_seconds(self) -> float | None:
        """Return the seconds until the time limit; None without one."""
        return None if self.max_seconds is None else max(0.0, self.max_seconds - self.seconds())

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
        """Return the seconds until the run ends at the present rate; None if that is unknown."""
        rate, by_time = self.steps_per_second(), self.remaining_seconds()
        if self.max_env_steps is None or rate <= 0:
            return by_time
        by_steps = max(0, self.max_env_steps - self.env_steps) / rate
        return by_steps if by_time is None else min(by_steps, by_time)

    def row(self) -> dict[str, Any]:
        """Return the first columns of an update's row in the records."""
        return {
            "update": self.update,
            "env_steps": self.env_steps,
            "time_seconds": self.seconds(),
            "steps_per_second": self.steps_per_second(),
        }

    def totals(self) -> dict[str, Any]:
        """Return what the summary of a run says of its length and speed."""
        return {
            "updates": self.update,
            "env_steps": self.env_steps,
            "time_seconds": self.seconds(),
            "steps_per_second": self.overall_rate(),
        }

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
        """Continue from what `counters` returned."""
        self.update, self.env_steps = counters["update"], counters["env_steps"]
        self.before_seconds = counters["time_seconds"]
        self.episodes, self.nonfinite_updates = counters["episodes"], counters["nonfinite_updates"]
        self.returns.extend(counters["returns"])
        self.lengths.extend(counters["lengths"])

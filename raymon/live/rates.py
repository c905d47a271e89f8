"""Growth per second of counters, and what follows from it for rollouts, over windows that suit their length."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from raymon import catalog
from raymon.catalog import Metric
from raymon.health.windows import window_seconds
from raymon.live.subject import Interval, Key, Subject, key_of

BATCHES_SECONDS: Final = 4.0
"""Batches of responses are counted with their exact durations, so that a shorter window than that of rates suffices."""
LONG_WINDOW_SECONDS: Final = 60.0
FEWEST_ROLLOUTS: Final = 3.0
FEWEST_GROWTHS: Final = 8
"""Number of increases of the steps after which the usual pause between them is known."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of one worker or driver over the last seconds.

    Attributes:
        per_second: Counter to its growth per second.
        mean_rollout_seconds: Mean duration of the rollouts that ended.
        rollout_steps: Environment steps per rollout.
        step_seconds: Time in rollouts per environment step.
        longest_pause_seconds: The longest time for which steps stood still; known where rollouts are long.
        token_seconds: What is counted, `response` or `longest`, to the time of generation per token.
        cpu_wait_ratio: Share of the time of generation for which it waited for a CPU core.
    """

    per_second: Mapping[Key, float] = field(default_factory=dict)
    mean_rollout_seconds: float | None = None
    rollout_steps: float | None = None
    step_seconds: float | None = None
    longest_pause_seconds: float | None = None
    token_seconds: Mapping[str, float] = field(default_factory=dict)
    cpu_wait_ratio: float | None = None

    def of(self, metric: Metric, *values: str) -> float | None:
        """Return the growth per second of one counter; None while not known."""
        return self.per_second.get((metric.name, *values))


def worker_rates(subject: Subject, window: float, steady_seconds: float) -> Rates:
    """Return the rates of a worker over about `window` seconds.

    Rollouts are counted when they end. Where they are so long that the window holds fewer than three, it is widened;
    not so for steps that are counted as they are taken, which never stand still for `steady_seconds`.
    """
    span = subject.growth(window)
    if span is None:
        return Rates()
    rollouts, steps = _rollouts(subject, span), span
    pause = None
    if (subject.grown(span, catalog.ROLLOUTS) or 0.0) < FEWEST_ROLLOUTS:
        pause = subject.longest_pause(FEWEST_GROWTHS)
        longer = subject.growth(LONG_WINDOW_SECONDS) or span
        rollouts = _rollouts(subject, longer)
        if FEWEST_ROLLOUTS * (rollouts.mean_rollout_seconds or 0.0) > window:
            span = longer
        if pause is None or pause >= steady_seconds:
            steps = span
    per_second = subject.growth_per_second(span)
    step_seconds = None
    for source in (steps, span):
        if taken := subject.grown(source, catalog.ENV_STEPS):
            per_second[key_of(catalog.ENV_STEPS)] = taken / source.seconds
            step_seconds = (subject.grown(source, catalog.ROLLOUT_SECONDS) or 0.0) / taken
            break
    batches = subject.whole_growths(key_of(catalog.TOKENS, "out"), BATCHES_SECONDS)
    return Rates(
        mean_rollout_seconds=rollouts.mean_rollout_seconds,
        rollout_steps=rollouts.rollout_steps,
        per_second=per_second,
        step_seconds=step_seconds,
        longest_pause_seconds=pause,
        token_seconds=_token_seconds(subject, batches) if batches else {},
        cpu_wait_ratio=_cpu_wait_ratio(subject, batches) if batches else None,
    )


def _cpu_wait_ratio(subject: Subject, span: Interval) -> float | None:
    """Return the share of the generation for which the process waited for a core; None if that is not known.

    Not of rollouts in environments: workers wait between them, too, and nothing says how much of it was when.
    """
    waited, seconds = subject.grown(span, catalog.CPU_WAIT_SECONDS), subject.grown(span, catalog.GENERATION_SECONDS)
    return None if waited is None or not seconds else min(1.0, waited / seconds)


def _token_seconds(subject: Subject, span: Interval) -> Mapping[str, float]:
    """Return the time of generation per token over the last batches; both are counted when a batch ends."""
    seconds = subject.grown(span, catalog.GENERATION_SECONDS)
    tokens = {
        "response": subject.grown(span, catalog.TOKENS, "out"),
        "longest": sum(subject.grown(span, catalog.GENERATION_LENGTH, part) or 0.0 for part in ("body", "tail")),
    }
    return {name: seconds / number for name, number in tokens.items() if number} if seconds else {}


def _rollouts(subject: Subject, span: Interval) -> Rates:
    """Return the mean duration of a span's rollouts and the steps in one; neither when none ended."""
    count = subject.grown(span, catalog.ROLLOUTS)
    if not count:
        return Rates()
    seconds = subject.grown(span, catalog.ROLLOUT_SECONDS) or 0.0
    steps = subject.grown(span, catalog.ENV_STEPS) or 0.0
    return Rates(mean_rollout_seconds=seconds / count, rollout_steps=steps / count)


def driver_rates(driver: Subject, report_seconds: float | None) -> Rates:
    """Return the rates of a driver; over a longer window where iterations are long."""
    window = window_seconds(report_seconds)
    span = driver.growth(window)
    if span is not None and (driver.grown(span, catalog.UPDATES) or 0.0) < 2.0:
        span = driver.growth(LONG_WINDOW_SECONDS)
    return Rates() if span is None else Rates(driver.growth_per_second(span))

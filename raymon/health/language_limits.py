"""What limits the speed of training a language model: generation, its tail, rewards, training, weights.

Durations of generation follow the lengths that the responses happen to have. A worker that drew long ones is not slow,
and a step that waits for the last of them is bound by their tail: both are said from the lengths.
"""

from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Final

from raymon.format import count, duration, share, size
from raymon.health.impact import limit_cost, with_cost
from raymon.health.shares import busy_ratio, is_asynchronous, role_phases, tail_ratio
from raymon.health.thresholds import Thresholds
from raymon.health.verdicts import Finding
from raymon.views import RunView, WorkerView

_LONG_RATIO: Final = 1.3
"""A worker drew long responses if its rollouts take so much longer than the others', and its tokens do not."""
_CLEARLY: Final = 0.1
_FULL_RATIO: Final = 0.95
_IDLE_RATIO: Final = 0.05

_SHORTER_TAIL: Final = (
    "Limit the response length{max_response_length}, resume long responses in the next step{partial_rollout}, or train "
    "while the last ones are generated{asynchronous}."
)
_GENERATE_FASTER: Final = (
    "Add rollout workers{rollout_workers}, generate more responses at once{concurrency}, or limit their "
    "length{max_response_length}."
)
_SCORE_FASTER: Final = (
    "Add reward workers{reward_workers}, score a batch concurrently, or begin with the responses that have ended."
)
_SYNC_LESS: Final = (
    "Synchronize less often{sync_interval}, in larger pieces{sync_bucket}, or over a faster path{sync_path}."
)
_TRAIN_FASTER: Final = (
    "More rollout workers will not help; try larger minibatches{minibatch}, fewer epochs{epochs} or more trainer "
    "processes{trainers}."
)


def tail_share(run: RunView) -> float:
    """Return for which share of the step only the last few responses of a batch are running."""
    return (tail_ratio(run.flow) or 0.0) * _awaited_ratio(run)


def tail(run: RunView) -> Finding:
    """Return that the last few responses take a large share of the step, and who drew long ones."""
    last = share(run.flow.tail_responses_ratio) if run.flow.tail_responses_ratio else "few"
    sentence = f"The last {last} of the responses take {share(tail_share(run))} of the step"
    unlucky = _drew_long_ones(run)
    end = f"; worker {unlucky.worker} is not slow, it drew long ones." if unlucky else "."
    return Finding("tail_bound", "info", sentence + end, _SHORTER_TAIL)


def without_phases(run: RunView, limits: Thresholds) -> Iterator[tuple[Finding, float]]:
    """Yield what limits a run whose driver names no phases, and its share of the time, from what its workers do."""
    trainers, rollouts = role_phases(run, "trainer"), role_phases(run, "rollout")
    trains, generates = busy_ratio(trainers), busy_ratio(rollouts)
    finding, ratio = None, 0.0
    if trainers and 1.0 - trains >= limits.trainer_starved_ratio:
        ratio = 1.0 - trains
        finding = _awaited(run, f"The trainer is idle {share(ratio)} of the time", limits)
    elif trainers and trains >= limits.workers_busy_ratio:
        ratio = trains
        finding = _limit("learner_bound", f"The trainer is busy {share(ratio)} of the time.", _TRAIN_FASTER)
    elif rollouts and generates >= limits.workers_busy_ratio:
        ratio = generates
        finding = _awaited(run, f"The rollout workers are busy {share(ratio)} of the time", limits)
    if finding is not None:
        yield finding, ratio


def full_buffer(run: RunView) -> Iterator[Finding]:
    """Yield that a buffer with a limit is full, so that rollout workers wait for the trainer."""
    depth, capacity = run.flow.buffer_depth, run.flow.buffer_capacity
    if depth and capacity and depth >= _FULL_RATIO * capacity:
        age = run.flow.buffer_oldest_age_seconds
        old = f"; the oldest was generated {duration(age)} ago" if age else ""
        sentence = f"The buffer is full ({count(depth)} of {count(capacity)} samples){old}."
        advice = "Generation waits for the trainer: use fewer rollout workers{rollout_workers}, or train faster."
        waiting = role_phases(run, "rollout").get("waiting")
        yield with_cost(_limit("buffer_overfull", sentence, advice), limit_cost(run, waiting) if waiting else None)


def _limit(code: str, sentence: str, advice: str) -> Finding:
    return Finding(code, "info", sentence, advice)


def _awaited_ratio(run: RunView) -> float:
    """Return for which share of the step training waits for generation."""
    named = run.phase_ratio.get("generate", 0.0) + run.phase_ratio.get("sample", 0.0)
    trainers = role_phases(run, "trainer")
    return named or (1.0 - busy_ratio(trainers) if trainers else 1.0)


def _generation(run: RunView, limits: Thresholds) -> Finding | None:
    doing = "Waiting for samples" if is_asynchronous(run) else "Generating responses"
    return _awaited(run, f"{doing} takes {share(_awaited_ratio(run))} of each iteration", limits)


def _awaited(run: RunView, opening: str, limits: Thresholds) -> Finding | None:
    """Return what training waits for: rewards, the last responses, or generation as a whole.

    None while every rollout worker is nearly idle, as when a run begins: it is not known what training waits for.
    """
    rollouts, rewards = role_phases(run, "rollout"), role_phases(run, "reward")
    if busy_ratio(rewards) >= max(limits.workers_busy_ratio, busy_ratio(rollouts) + _CLEARLY):
        sentence = f"{opening}; the reward workers are busy {share(busy_ratio(rewards))} of the time"
        others = f", the rollout workers {share(busy_ratio(rollouts))}" if rollouts else ""
        return _limit("reward_bound", f"{sentence}{others}.", _SCORE_FASTER)
    if (scoring := rollouts.get("reward", 0.0)) >= limits.scoring_bound_ratio:
        sentence = f"{opening}; the rollout workers compute rewards {share(scoring)} of the time."
        return _limit(
            "reward_bound", sentence, "Leave rewards to reward workers{reward_workers}, or score concurrently."
        )
    if tail_share(run) >= limits.tail_bound_ratio:
        return tail(run)
    known = [
        busy_ratio(worker.phase_ratio) for worker in run.workers if worker.role == "rollout" and worker.phase_ratio
    ]
    if known and max(known) < _IDLE_RATIO:
        return None
    speed = run.flow.tokens_per_second.get("out")
    at = f" ({count(speed)} tokens/s)" if speed else ""
    busy = f"; the rollout workers are busy {share(busy_ratio(rollouts))} of the time{at}" if rollouts else at
    code = "trainer_starved" if is_asynchronous(run) or "idle" in opening else "generation_bound"
    return _limit(code, f"{opening}{busy}.", _GENERATE_FASTER)


def _drew_long_ones(run: RunView) -> WorkerView | None:
    """Return the rollout worker whose rollouts take far longer although its tokens take no longer; None without any."""
    timed = [w for w in run.workers if w.role == "rollout" and w.mean_rollout_seconds and w.unit == "token"]
    if len(timed) < 2:
        return None
    longest = max(timed, key=lambda worker: worker.mean_rollout_seconds or 0.0)
    others = [worker for worker in timed if worker is not longest]
    typical = median(worker.mean_rollout_seconds or 0.0 for worker in others)
    cost = median(worker.step_seconds or 0.0 for worker in others)
    slow = (longest.step_seconds or 0.0) > _LONG_RATIO * cost
    return longest if (longest.mean_rollout_seconds or 0.0) > _LONG_RATIO * typical and not slow else None


def _reward(run: RunView, limits: Thresholds) -> Finding | None:
    rewards, rollouts = role_phases(run, "reward"), role_phases(run, "rollout")
    taken = share(run.phase_ratio["reward"])
    if rewards and busy_ratio(rewards) < min(limits.workers_busy_ratio, busy_ratio(rollouts) - _CLEARLY):
        opening = f"The driver waits {taken} of each iteration for rewards, and the reward workers for responses"
        return _awaited(run, opening, limits)
    workers = f"; the reward workers are busy {share(busy_ratio(rewards))} of the time" if rewards else ""
    return _limit("reward_bound", f"Computing rewards takes {taken} of each iteration{workers}.", _SCORE_FASTER)


def _reference(run: RunView, _: Thresholds) -> Finding:
    ratio = share(run.phase_ratio["reference"])
    sentence = f"Log-probabilities of the reference model take {ratio} of each iteration."
    advice = "Compute them in larger batches{reference_batch}, or train without a KL penalty{kl_penalty}."
    return _limit("reference_bound", sentence, advice)


def _advantage(run: RunView, _: Thresholds) -> Finding:
    sentence = f"Computing advantages takes {share(run.phase_ratio['advantage'])} of each iteration."
    return _limit("advantage_bound", sentence, "It is arithmetic on a few numbers: `raymon profile` shows what costs.")


def _train(run: RunView, _: Thresholds) -> Finding:
    ratio = run.phase_ratio.get("train", 0.0) + run.phase_ratio.get("learn", 0.0)
    depth = run.flow.buffer_depth
    waiting = f"; {count(depth)} samples wait in the buffer" if depth else ""
    return _limit("learner_bound", f"Training takes {share(ratio)} of each iteration{waiting}.", _TRAIN_FASTER)


def _weight_sync(run: RunView, _: Thresholds) -> Finding:
    ratio = run.phase_ratio.get("weight_sync", 0.0) + run.phase_ratio.get("weights", 0.0)
    took, bytes_each = run.flow.weight_sync_seconds, run.flow.weight_sync_bytes
    each = " and ".join(
        part for part in (duration(took) if took else "", size(bytes_each) if bytes_each else "") if part
    )
    sentence = f"Synchronizing weights takes {share(ratio)} of each iteration{f' ({each} each time)' if each else ''}."
    return _limit("weight_sync_bound", sentence, _SYNC_LESS)


Limit = tuple[str, Callable[[RunView, Thresholds], Finding | None]]
LANGUAGE_LIMITS: Final[Mapping[str, Limit]] = {
    "sample": ("sampling_bound_ratio", _generation),
    "generate": ("sampling_bound_ratio", _generation),
    "reward": ("scoring_bound_ratio", _reward),
    "reference": ("scoring_bound_ratio", _reference),
    "advantage": ("scoring_bound_ratio", _advantage),
    "train": ("learner_bound_ratio", _train),
    "learn": ("learner_bound_ratio", _train),
    "weight_sync": ("weights_bound_ratio", _weight_sync),
    "weights": ("weights_bound_ratio", _weight_sync),
}
"""Phase of the driver to the threshold of its share and what explains it, where a language model is trained."""

"""Environments with steps of milliseconds, stepped concurrently in threads.

Every environment belongs to one thread from the first call on, so it may hold sockets or contexts that are bound to a
thread. With `send` and `receive` each advances at its own pace (`raymon.envs.collect` collects fragments that way);
`step` moves all in lock-step and waits for the slowest. Threads help as long as a step waits or releases the GIL.
"""

import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final

import gymnasium
import numpy as np

from raymon.envs.env_error import EnvError
from raymon.envs.spaces import Array, action_form, observation_form
from raymon.envs.vector import Step, broken, seeds_for

_CLOSE_SECONDS: Final = 5.0
_RESET: Final = object()
_Order = tuple[int, Any, int | None] | None
_Result = tuple[Any, Any, Any, Any, dict[str, Any]]


class ThreadedVector:
    """N environments in up to N threads.

    Attributes:
        num_envs: N.
        single_observation_space: Flat Box `[D]` float32.
        single_action_space: What the policy acts in.
        observations: `[N, D]` float32, the last observation of each environment that is not in flight.
        rewards, terminated, truncated: `[N]`, of the last step of each environment that is not in flight.
        around: Called in an environment's thread with its step, which it must call and return; None leaves it out.
        started: Whether the environments were reset.
    """

    def __init__(
        self,
        envs: Sequence[gymnasium.Env[Any, Any]],
        *,
        seed: int,
        worker: int,
        threads: int | None = None,
        timeout_seconds: float = 300.0,
    ) -> None:
        """Start the threads.

        Args:
            envs: The environments; environment i is stepped by thread i modulo `threads`.
            seed: The run's seed.
            worker: The worker's number.
            threads: How many threads; one per environment when None.
            timeout_seconds: An environment that takes longer for one step or reset is reported as hung.
        """
        self.num_envs = size = len(envs)
        self._envs, self._seed, self._worker, self._timeout = list(envs), seed, worker, timeout_seconds
        self._observation = observation_form(envs[0].observation_space)
        self._action = action_form(envs[0].action_space)
        self.single_observation_space = self._observation.space
        self.single_action_space = self._action.space
        self.observations = np.zeros((size, *self.single_observation_space.shape), np.float32)
        self.rewards = np.zeros(size, np.float32)
        self.terminated, self.truncated = np.zeros(size, bool), np.zeros(size, bool)
        self.around: Callable[[Callable[[], _Result]], _Result] | None = None
        self.started = False
        self._done = [False] * size
        self._sent_at: dict[int, float] = {}
        self._ready: SimpleQueue[int | tuple[int, Exception]] = SimpleQueue()
        count = min(threads or size, size)
        self._inboxes: list[SimpleQueue[_Order]] = [SimpleQueue() for _ in range(count)]
        self._threads = [
            threading.Thread(target=self._serve, args=(inbox,), name=f"env-{number}", daemon=True)
            for number, inbox in enumerate(self._inboxes)
        ]
        for thread in self._threads:
            thread.start()

    def reset(self, *, seed: int | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode everywhere; without a seed, takes the seed given at construction."""
        self._drain()
        seeds = seeds_for(self._seed if seed is None else seed, self._worker, self.num_envs)
        for number, env_seed in enumerate(seeds):
            self._order(number, _RESET, env_seed)
        self._drain()
        self.started = True
        return self.observations.copy(), {}

    def step(self, actions: Array) -> Step:
        """Take one step everywhere, waiting for the slowest; see `Vector.step`."""
        self.send(range(self.num_envs), actions)
        self._drain()
        return self.observations.copy(), self.rewards.copy(), self.terminated.copy(), self.truncated.copy(), {}

    def send(self, numbers: Sequence[int], actions: Array) -> None:
        """Let the environments `numbers` `[B]`, none of them in flight, take a step with `actions` `[B, ...]`."""
        for number, action in zip(numbers, self._action.split(actions), strict=True):
            self._order(number, action, None)

    def receive(self) -> list[int]:
        """Wait for at least one environment in flight and return the numbers of all that have answered.

        Their results are in `observations`, `rewards`, `terminated` and `truncated`.

        Raises:
            EnvError: An environment failed, or is in flight for longer than the time-out.
        """
        numbers = []
        for answer in self._answers():
            if not isinstance(answer, int):
                raise broken(self._worker, answer[0], answer[1]) from answer[1]
            del self._sent_at[answer]
            numbers.append(answer)
        if self._left() <= 0:  # whether or not the others answer
            raise EnvError(
                f"environment {next(iter(self._sent_at))} of worker {self._worker} has not answered for "
                f"{self._timeout:g} s; it hangs, or a step takes longer than the time-out allows"
            )
        return numbers

    def close(self) -> None:
        """End the threads and close the environments; one that hangs is left behind."""
        for inbox in self._inboxes:
            inbox.put(None)
        deadline = time.monotonic() + _CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _order(self, number: int, action: Any, seed: int | None) -> None:  # noqa: ANN401  # any environment's action
        if number in self._sent_at:
            raise EnvError(f"environment {number} is still stepping; receive it before sending the next action")
        self._sent_at[number] = time.monotonic()
        self._inboxes[number % len(self._inboxes)].put((number, action, seed))

    def _answers(self) -> list[int | tuple[int, Exception]]:
        """Wait for an answer; return all that have arrived, none if the slowest environment has hung meanwhile."""
        if not self._sent_at:
            raise EnvError("no environment is in flight; send actions before receiving")
        answers = []
        with contextlib.suppress(Empty):
            answers.append(self._ready.get(timeout=max(0.0, self._left())))
            while True:
                answers.append(self._ready.get_nowait())
        return answers

    def _left(self) -> float:
        """Return the seconds until the environment that is longest in flight counts as hung."""
        since = next(iter(self._sent_at.values()), math.inf)  # in the order of sending
        return since + self._timeout - time.monotonic()

    def _drain(self) -> None:
        while self._sent_at:
            self.receive()

    def _serve(self, inbox: "SimpleQueue[_Order]") -> None:
        served: set[int] = set()
        while (order := inbox.get()) is not None:
            number, action, seed = order
            served.add(number)
            try:
                self._advance(number, action, seed)
            except Exception as error:  # noqa: BLE001  # handed to the thread that receives, which raises it
                self._ready.put((number, error))
            else:
                self._ready.put(number)
        for number in served:
            with contextlib.suppress(Exception):
                self._envs[number].close()  # type: ignore[no-untyped-call]  # not annotated in gymnasium

    def _advance(self, number: int, action: Any, seed: int | None) -> None:  # noqa: ANN401  # any environment's action
        env = self._envs[number]
        reward: Any = 0.0
        terminated = truncated = False
        if action is _RESET:
            observation = env.reset(seed=seed)[0]
        elif self._done[number]:
            observation = env.reset()[0]
        else:
            step = functools.partial(env.step, action)
            observation, reward, terminated, truncated, _ = step() if self.around is None else self.around(step)
        self.observations[number] = self._observation.row(observation)
        self.rewards[number], self.terminated[number], self.truncated[number] = reward, terminated, truncated
        self._done[number] = bool(terminated or truncated)

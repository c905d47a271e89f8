"""Collects fragments from environments that advance at their own pace.

In lock-step, every step takes as long as the slowest environment's. Here each environment gets its next action as soon
as it has answered, in small inference batches, so the worker reaches the sum of its environments' rates. Runs in the
worker instead of its lock-step loop if `make_vector` returned a `ThreadedVector`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from gymnasium import spaces

from raymon.envs.spaces import Array
from raymon.envs.threaded import ThreadedVector

Policy = Callable[[Array, Array, Array], tuple[Array, Mapping[str, Array]]]
"""(observations `[B, D]`, step in segment `[B]`, environment `[B]`) to (actions `[B, ...]`, named extras `[B, ...]`).

It runs in the collecting thread between steps, so injected faults may act in it.
"""


@dataclass(slots=True)
class SampledFragment:
    """One fragment: N segments of T consecutive steps, each of one environment.

    Attributes:
        observations: `[T, N, D]` float32, as the policy saw them.
        actions: `[T, N, ...]`.
        rewards: `[T, N]` float32.
        terminated, truncated: `[T, N]` bool.
        valid: `[T, N]` bool, False where the step was a reset and the action was ignored.
        extras: What the policy returned besides the actions (log-probabilities, values), `[T, N, ...]` each.
        last_observations: `[N, D]`, after the last step, to bootstrap from.
        environments: `[N]`, the environment of each segment.
        version: The oldest policy version that acted in the fragment.
        returns, lengths: Of the episodes that ended since the last fragment.
        environment_seconds: Wall time spent waiting for environments.
    """

    observations: Array
    actions: Array
    rewards: Array
    terminated: Array
    truncated: Array
    valid: Array
    extras: dict[str, Array]
    last_observations: Array
    environments: Array
    version: int
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    environment_seconds: float = 0.0


class FragmentCollector:
    """Collects fragments `[T, N]` from N concurrently stepping environments.

    Example:
        >>> from raymon.envs import make_vector
        >>> vector = make_vector("CartPole-v1", 3, seed=1, worker=0, step_threads=3)
        >>> collector = FragmentCollector(vector, 5)
        >>> sampled = collector.collect(lambda seen, step, env: (np.zeros(len(seen), np.int64), {}))
        >>> sampled.observations.shape
        (5, 3, 4)
        >>> vector.close()

    A fragment is complete as soon as N segments are, from whichever environments: a fast one may contribute two, a slow
    one none, and none waits for another. A segment may begin under one policy version and end under the next
    (`SampledFragment.version` is the oldest). With `strict`, every environment contributes exactly one segment, all of
    one version; each fragment then waits for the slowest environment.
    """

    def __init__(self, vector: ThreadedVector, steps: int, *, strict: bool = False) -> None:
        self._vector, self._steps, self._strict = vector, steps, strict
        size, width = vector.num_envs, vector.single_observation_space.shape[0]
        space = vector.single_action_space
        dtype = np.float32 if isinstance(space, spaces.Box) else np.int64
        slots = 2 * size  # N unfinished segments and fewer than N complete ones
        self._store: dict[str, Array] = {
            "observations": np.zeros((slots, steps, width), np.float32),
            "actions": np.zeros((slots, steps, *(space.shape or ())), dtype),
            "rewards": np.zeros((slots, steps), np.float32),
            "terminated": np.zeros((slots, steps), bool),
            "truncated": np.zeros((slots, steps), bool),
            "valid": np.zeros((slots, steps), bool),
        }
        self._extras: dict[str, Array] = {}
        self._last = np.zeros((slots, width), np.float32)
        self._owner, self._version = np.zeros(slots, np.int64), np.zeros(slots, np.int64)
        self._free, self._complete = list(range(slots)), list[int]()
        self._slot, self._time = np.full(size, -1, np.int64), np.zeros(size, np.int64)
        self._ended = np.zeros(size, bool)
        self._return, self._length = np.zeros(size), np.zeros(size, np.int64)
        self._waiting: list[int] | None = None  # None: nothing collected yet

    def collect(
        self, policy: Policy, version: int = 0, on_steps: Callable[[int], None] | None = None
    ) -> SampledFragment:
        """Return the next fragment.

        Args:
            policy: Called for every batch of environments that are ready, with the step in the segment and the number
                of each environment, so that random numbers can be drawn for the whole fragment beforehand.
            version: The version of the policy.
            on_steps: Called with the number of environment steps after every batch, so that progress shows at once.

        Raises:
            EnvError: An environment failed or hangs.
        """
        began, inference = time.perf_counter(), 0.0
        returns: list[float] = []
        lengths: list[int] = []
        if self._waiting is None:
            if not self._vector.started:
                self._vector.reset()
            self._waiting = list(range(self._vector.num_envs))
        act, self._waiting = self._waiting, []
        while True:
            if act:
                since = time.perf_counter()
                self._act(np.array(act), policy, version)
                inference += time.perf_counter() - since
            ready = self._vector.receive()
            act = self._record(np.array(ready), returns, lengths, on_steps)
            if len(self._complete) >= self._vector.num_envs:
                self._waiting += act
                sampled = self._assemble()
                sampled.returns, sampled.lengths = returns, lengths
                sampled.environment_seconds = time.perf_counter() - began - inference
                return sampled

    def _act(self, numbers: Array, policy: Policy, version: int) -> None:
        for number in numbers[self._slot[numbers] < 0]:
            slot = self._free.pop()
            self._slot[number], self._time[number] = slot, 0
            self._owner[slot], self._version[slot] = number, version
        slots, times = self._slot[numbers], self._time[numbers]
        observations = self._vector.observations[numbers]
        actions, extras = policy(observations, times, numbers)
        self._store["observations"][slots, times] = observations
        self._store["actions"][slots, times] = actions
        self._store["valid"][slots, times] = ~self._ended[numbers]
        for name, values in extras.items():
            if name not in self._extras:
                shape = (len(self._owner), self._steps, *values.shape[1:])
                self._extras[name] = np.zeros(shape, values.dtype)
            self._extras[name][slots, times] = values
        self._vector.send(numbers.tolist(), actions)

    def _record(
        self, numbers: Array, returns: list[float], lengths: list[int], on_steps: Callable[[int], None] | None
    ) -> list[int]:
        """Store the results of environments `numbers`; return those that may act at once."""
        vector, slots, times = self._vector, self._slot[numbers], self._time[numbers]
        self._store["rewards"][slots, times] = vector.rewards[numbers]
        self._store["terminated"][slots, times] = vector.terminated[numbers]
        self._store["truncated"][slots, times] = vector.truncated[numbers]
        valid = ~self._ended[numbers]
        self._return[numbers] += np.nan_to_num(vector.rewards[numbers], nan=0.0, posinf=0.0, neginf=0.0)
        self._length[numbers] += valid
        self._ended[numbers] = vector.terminated[numbers] | vector.truncated[numbers]
        for number in numbers[self._ended[numbers]]:
            returns.append(float(self._return[number]))
            lengths.append(int(self._length[number]))
            self._return[number], self._length[number] = 0.0, 0
        self._time[numbers] += 1
        if on_steps is not None:
            on_steps(int(valid.sum()))
        full = self._time[numbers] == self._steps
        for number in numbers[full]:
            slot = int(self._slot[number])
            self._last[slot] = vector.observations[number]
            self._complete.append(slot)
            self._slot[number] = -1
        if not self._strict:
            return [int(number) for number in numbers]
        self._waiting = [*(self._waiting or ()), *numbers[full].tolist()]
        return [int(number) for number in numbers[~full]]

    def _assemble(self) -> SampledFragment:
        size = self._vector.num_envs
        slots, self._complete = self._complete[:size], self._complete[size:]
        if self._strict:
            slots.sort(key=lambda slot: int(self._owner[slot]))
        parts = {name: np.ascontiguousarray(values[slots].swapaxes(0, 1)) for name, values in self._store.items()}
        extras = {name: np.ascontiguousarray(values[slots].swapaxes(0, 1)) for name, values in self._extras.items()}
        self._free += slots
        return SampledFragment(
            observations=parts["observations"],
            actions=parts["actions"],
            rewards=parts["rewards"],
            terminated=parts["terminated"],
            truncated=parts["truncated"],
            valid=parts["valid"],
            extras=extras,
            last_observations=self._last[slots],
            environments=self._owner[slots],
            version=int(self._version[slots].min()),
        )

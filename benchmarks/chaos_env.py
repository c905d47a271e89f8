"""An environment that fails on request: `benchmarks.chaos_env:Chaos-v0?folder=FOLDER`.

A file `FOLDER/N.request` names what the environment of worker N does next. While it lasts, the file is called
`N.active`; whoever removes that ends it.
"""

import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

ID = "Chaos-v0"
_STEP_SECONDS = 0.01
_PIECE_SECONDS = 0.2
_MEMORY_PIECE_BYTES = 2_000_000
_MOST_MEMORY_BYTES = 600_000_000
_STORE_PIECE_BYTES = 8_000_000
_MOST_STORE_BYTES = 160_000_000


class Chaos(gym.Env[Any, Any]):
    """Steps of ten milliseconds; raises, hangs, allocates memory or fills the object store when asked to."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # gymnasium declares it so

    def __init__(self, folder: str = ".", worker: int = 0, render_mode: str | None = None) -> None:
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.render_mode = render_mode
        self._request, self._active = (Path(folder) / f"{worker}.{state}" for state in ("request", "active"))
        self._kind = ""
        self._kept: list[Any] = []
        self._due = 0.0
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed, options=options)
        self._steps = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:  # noqa: ANN401  # any action
        """Take a step, with what was requested."""
        del action
        time.sleep(_STEP_SECONDS)
        self._look()
        if self._kind:
            self._fail()
        self._steps += 1
        return self._observation(), 1.0, self._steps >= 50, False, {}

    def _observation(self) -> Any:  # noqa: ANN401  # an array
        return self.np_random.uniform(-1.0, 1.0, 4).astype(np.float32)

    def _look(self) -> None:
        """Take over a request; of several environments of a worker, one gets it."""
        try:
            kind = self._request.read_text()
            self._request.rename(self._active)
        except FileNotFoundError:
            return
        if kind == "error":
            self._active.unlink()
            raise RuntimeError("the simulator refused the action")
        self._kind = kind

    def _fail(self) -> None:
        while self._kind == "hang" and self._active.exists():
            time.sleep(0.05)
        if not self._active.exists():
            self._kind = ""
            self._kept.clear()
        elif time.monotonic() > self._due:
            self._due = time.monotonic() + _PIECE_SECONDS
            self._grow()

    def _grow(self) -> None:
        if self._kind == "memory" and len(self._kept) * _MEMORY_PIECE_BYTES < _MOST_MEMORY_BYTES:
            self._kept.append(b"x" * _MEMORY_PIECE_BYTES)
        elif self._kind == "store" and len(self._kept) * _STORE_PIECE_BYTES < _MOST_STORE_BYTES:
            import ray  # only where there is one

            self._kept.append(ray.put(np.ones(_STORE_PIECE_BYTES, np.uint8)))


if ID not in gym.registry:
    gym.register(ID, entry_point=Chaos, kwargs={"worker": 0})

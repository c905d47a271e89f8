"""The modules of verl whose functions raymon wraps, and the finder that waits for them to be imported."""

import importlib.abc
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

from raymon.verl import actors, controller
from raymon.verl.wrapping import harmless

SEAMS: Final[Mapping[str, Callable[[ModuleType], None]]] = {
    "verl.single_controller.base.decorator": actors.wrap_register,
    "verl.single_controller.base.worker": actors.wrap_worker,
    "verl.experimental.agent_loop.agent_loop": actors.wrap_agent_loop,
    "verl.experimental.reward_loop.reward_loop": actors.wrap_reward_loop,
    "verl.workers.rollout.llm_server": actors.wrap_client,
    "verl.trainer.ppo.ray_trainer": controller.wrap_trainer,
    "verl.trainer.ppo.v1.trainer_base": controller.wrap_trainer,
    "verl.utils.profiler": controller.wrap_profiler,
    "verl.utils.tracking": controller.wrap_tracking,
    "verl.trainer.ppo.core_algos": controller.wrap_advantages,
}


class Seams(importlib.abc.MetaPathFinder):
    """Finds the modules of `SEAMS` as the other finders do, and wraps what each holds once it is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's spec with a loader that wraps; None for every other module."""
        if fullname not in SEAMS:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute, wrap = spec.loader.exec_module, harmless(SEAMS[fullname])

            def exec_module(module: ModuleType) -> None:
                execute(module)
                wrap(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def install(self) -> None:
        """Wrap what is imported already, and wait for the rest."""
        for name in SEAMS:
            if name in sys.modules:
                harmless(SEAMS[name])(sys.modules[name])
        sys.meta_path.insert(0, self)

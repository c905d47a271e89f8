"""Injected faults that act in the driver: references never dropped, a slow learner, a loss that is not a number."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from raymon import DriverMonitor
from raymon.ppo.faults import DRIVER_FAULTS, Fault
from raymon.ppo.learner import Learner


class DriverFaults:
    """Does what `--inject` asks of the driver, around each update."""

    def __init__(self, faults: Sequence[Fault], monitor: DriverMonitor) -> None:
        self._faults = [fault for fault in faults if fault.kind in DRIVER_FAULTS]
        self._monitor = monitor
        self._poisoned = 0
        self._leaked: list[Any] = []
        self._leaked_bytes = 0

    def before(self, learner: Learner, elapsed: float) -> None:
        """Act before an update."""
        for fault in self._faults:
            if fault.active(elapsed):
                if fault.kind == "nan-loss" and self._poisoned < fault.strength:
                    self._poisoned += 1
                    learner.poisoned = True
                elif fault.kind == "ref-leak":
                    self._leak(fault, elapsed)

    def after(self, learned_seconds: float, elapsed: float) -> None:
        """Act after an update that took so long."""
        for fault in self._faults:
            if fault.kind == "slow-learner" and fault.active(elapsed):
                time.sleep((fault.strength - 1.0) * learned_seconds)

    def _leak(self, fault: Fault, elapsed: float) -> None:
        """Put about `strength` megabytes a second into the object store and keep the references."""
        import ray

        missing = int(fault.strength * 1e6 * (elapsed - fault.after)) - self._leaked_bytes
        if missing < min(fault.strength, 1.0) * 2e5 or not ray.is_initialized():
            return
        ref = ray.put(np.zeros(missing, np.uint8))
        self._monitor.hold(ref, nbytes=missing)
        self._leaked.append(ref)
        self._leaked_bytes += missing

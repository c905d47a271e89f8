"""Ways in which a foreign trainer dies, and what the first cause is called in each."""

import ctypes
import itertools
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.hang_cases import Place, socket_recv

DISK: Final = "disk"
"""Folder of a case where a small disk is mounted."""


@dataclass(frozen=True, slots=True)
class DeathCase:
    """One kind of death.

    Attributes:
        name: In the table.
        expected: Pattern of the sentence of the first cause.
        function: What the trainer does; None if something is done to it from outside.
        where: Which part of the trainer calls the function, as in `hang_cases.Case`; also `constructor`, and `nan` and
            `reward` for losses and rewards that become wrong.
        kill: Who gets the signal: `worker`, `driver`, `raylet`, `gcs_server`, `node`; empty for nobody.
        signal: The signal from outside.
        after: Seconds after the fault at which the signal is sent.
        head: Options of the cluster; a case with some, or one that ends the cluster, has a cluster of its own.
        disk_megabytes: Size of a disk that is mounted in the folder of the case; needs root. 0 for none.
    """

    name: str
    expected: str
    function: Callable[[Place], None] | None = None
    where: str = "worker"
    kill: str = ""
    signal: int = 9
    after: float = 0.0
    head: tuple[str, ...] = ()
    disk_megabytes: int = 0

    @property
    def alone(self) -> bool:
        """Return whether the case needs a cluster of its own."""
        return bool(self.head) or self.kill in ("raylet", "gcs_server", "node")


def segmentation_fault(_: Place) -> None:
    """Read memory that does not exist, as a faulty simulator in C does."""
    ctypes.string_at(0)


def exit_at_once(_: Place) -> None:
    """End the process as a simulator with a licence problem does."""
    os._exit(3)


def exit_in_order(_: Place) -> None:
    """End the process with `sys.exit`."""
    sys.exit(1)


def interrupt(_: Place) -> None:
    """Raise as a simulator does that maps a signal of its own to Ctrl-C."""
    raise KeyboardInterrupt


def exception_in_environment(_: Place) -> None:
    """Raise as an environment that got a bad action."""
    raise ValueError("the simulator refused the action")


def missing_module(_: Place) -> None:
    """Import a simulator that is not installed on the node."""
    import simulator_that_is_not_installed  # type: ignore[import-not-found]  # noqa: F401


def exception_in_learner(_: Place) -> None:
    """Read a key that a fragment lacks."""
    batch: dict[str, float] = {}
    batch["advantages"]


def full_disk(place: Place) -> None:
    """Write checkpoints of a megabyte until the disk is full."""
    for number in itertools.count():
        (place.folder / DISK / f"{number}.ckpt").write_bytes(bytes(1_000_000))


def allocate(_: Place) -> None:
    """Allocate memory until somebody ends the process."""
    kept: list[Any] = []
    while True:
        kept.append(bytearray(b"x" * 25_000_000))
        time.sleep(0.25)


def fill_object_store(_: Place) -> None:
    """Put objects into Ray's store and keep every reference."""
    import numpy as np
    import ray

    kept: list[Any] = []
    while True:
        kept.append(ray.put(np.ones(20_000_000, np.uint8)))
        time.sleep(0.3)


DEATHS: Final = (
    DeathCase("worker killed (SIGKILL)", r"^Worker 1 died", kill="worker"),
    DeathCase("KeyboardInterrupt in a worker", r"^Worker 1 ", interrupt),
    DeathCase("segmentation fault in a worker", r"^Worker 1 crashed .*SIGSEGV.*segmentation_fault", segmentation_fault),
    DeathCase("os._exit in a worker", r"^Worker 1 died", exit_at_once),
    DeathCase("sys.exit in a worker", r"^Worker 1 ", exit_in_order),
    DeathCase(
        "exception in an environment", r"^Worker 1 raised ValueError: the simulator refused", exception_in_environment
    ),
    DeathCase("import error in an actor", r"No module named 'simulator_that", missing_module, where="constructor"),
    DeathCase(
        "exception in the learner",
        r"^The driver raised KeyError: 'advantages', in exception_in_learner",
        exception_in_learner,
        where="driver",
    ),
    DeathCase(
        "disk full of checkpoints",
        r"^A disk was full at .*: the driver raised OSError: .*No space left on device, in full_disk",
        full_disk,
        where="driver",
        disk_megabytes=8,
    ),
    DeathCase(
        "disk full in a worker",
        r"^A disk was full at .*: worker 1 raised OSError: .*No space left on device, in full_disk",
        full_disk,
        disk_megabytes=8,
    ),
    DeathCase("loss that is not finite", r"not finite", where="nan"),
    DeathCase("wrong reward that diverges", r"^The last update moved the policy by .* nats of KL", where="reward"),
    DeathCase("driver killed (SIGKILL)", r"^The driver died", kill="driver"),
    DeathCase("driver interrupted (Ctrl-C)", r"^The driver was interrupted \(Ctrl-C\)", kill="driver", signal=2),
    DeathCase("driver terminated (SIGTERM)", r"^The driver ended .*SIGTERM", kill="driver", signal=15),
    DeathCase("hang, then killed by its user", r"^Worker 1 is stalled", socket_recv, kill="driver", after=16.0),
    DeathCase(
        "object store full, then killed by its user",
        r"object store|ObjectStoreFull|references",
        fill_object_store,
        where="driver",
        kill="driver",
        after=40.0,
        head=("no-spilling",),
    ),
    DeathCase(
        "out of memory (Ray's monitor)",
        r"^Worker 1 was killed for memory|^(A worker|Worker \d) was killed for memory.* it is worker 1 whose",
        allocate,
        head=("memory",),
    ),
    DeathCase("raylet killed", r"^Node \S+ was lost", kill="raylet"),
    DeathCase("control store (GCS) killed", r"control store", kill="gcs_server"),
    DeathCase("node gone", r"^Node \S+ was lost .*worker 1", kill="node", head=("second",)),
)

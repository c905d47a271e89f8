"""What `raymon top --once --json` must show of a run of verl."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from options import WORKERS

Report = dict[str, Any]


def _workers(report: Report, role: str) -> list[dict[str, Any]]:
    return [worker for worker in report["workers"] if worker["role"] == role]


def _phases(report: Report, role: str) -> set[str]:
    return {phase for worker in _workers(report, role) for phase, ratio in worker["phases"].items() if ratio}


ON: Final[dict[str, Callable[[Report], bool]]] = {
    "the run has the name of the experiment": lambda report: report["run"] == "sums",
    "the run trains": lambda report: report["run_state"] == "training",
    "every worker of the worker group is a trainer": lambda report: len(_workers(report, "trainer")) == WORKERS,
    "every agent loop worker is a rollout worker": lambda report: len(_workers(report, "rollout")) == WORKERS,
    "the reward worker is one": lambda report: len(_workers(report, "reward")) == 1,
    "every worker has a state and a process id": lambda report: all(w["state"] and w["pid"] for w in report["workers"]),
    "trainers train, infer and send weights": lambda report: (
        {"train", "inference", "weight_sync"} <= _phases(report, "trainer")
    ),
    "rollout workers generate": lambda report: "generate" in _phases(report, "rollout"),
    "the reward worker scores": lambda report: "reward" in _phases(report, "reward"),
    "the controller has phases": lambda report: (
        {"generate", "inference", "advantage", "train", "weight_sync"}
        <= {phase for phase, ratio in report["phases"].items() if ratio}
    ),
    "responses and tokens flow": lambda report: report["flow"]["tokens_per_second"]["out"] > 0,
    "weights are synchronized": lambda report: report["flow"]["weight_syncs_per_second"] > 0,
    "bytes of weights are known": lambda report: report["flow"]["weight_sync_bytes"] > 0,
    "groups are counted": lambda report: sum(report["flow"]["groups"].values()) > 0,
}
SEPARATE: Final[dict[str, Callable[[Report], bool]]] = {
    "one worker each trains, is the critic, is the reference": lambda report: all(
        len(_workers(report, role)) == 1 for role in ("trainer", "critic", "reference")
    ),
    "every worker has a state and a process id": ON["every worker has a state and a process id"],
    "the critic trains and infers values": lambda report: {"train", "inference"} <= _phases(report, "critic"),
    "the reference computes log-probabilities": lambda report: _phases(report, "reference") >= {"reference"},
    "the trainer trains and sends weights": lambda report: {"train", "weight_sync"} <= _phases(report, "trainer"),
    "the controller waits for the reference": lambda report: report["phases"]["reference"] > 0,
    "bytes of weights are known": ON["bytes of weights are known"],
}
OFF: Final[dict[str, Callable[[Report], bool]]] = {
    "nothing is recorded with RAYMON_VERL=0": lambda report: report["run"] is None and not report["workers"],
}


def failures(report: Report, checks: Mapping[str, Callable[[Report], bool]]) -> list[str]:
    """Return which checks fail."""
    return [what for what, holds in checks.items() if not _holds(holds, report)]


def _holds(check: Callable[[Report], bool], report: Report) -> bool:
    try:
        return check(report)
    except KeyError:
        return False

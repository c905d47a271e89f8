"""What `raymon top --once --json` and the status page must show of a run of verl.

The page is that of the last moment that `raymon top` saw, as HTML under the key `page` of the report.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from options import WORKERS

Report = dict[str, Any]
HEALTHY: Final = ("running", "waiting", "suspect")
"""The states of a worker that works; on a busy CPU one may be silent for some seconds."""
SECTIONS: Final = ("language", "workers", "phases", "activity")


def _workers(report: Report, role: str) -> list[dict[str, Any]]:
    return [worker for worker in report["workers"] if worker["role"] == role]


def _phases(report: Report, role: str) -> set[str]:
    return {phase for worker in _workers(report, role) for phase, ratio in worker["phases"].items() if ratio}


def _working(worker: Mapping[str, Any]) -> bool:
    """Return whether a worker is well, known by its process, and has spent time in a phase of its work."""
    works = any(ratio for phase, ratio in worker["phases"].items() if phase != "waiting")
    return worker["state"] in HEALTHY and bool(worker["pid"]) and works


def _drawn(report: Report) -> bool:
    """Return whether the page has its sections, none of them broken, and every worker."""
    page = report["page"]
    rows = all(f'data-worker="{worker["worker"]}"' in page for worker in report["workers"])
    return rows and "broken" not in _sections(page) and _sections(page) >= set(SECTIONS)


def _sections(page: str) -> set[str]:
    return set(re.findall(r'data-section="(\w+)"', page))


ON: Final[dict[str, Callable[[Report], bool]]] = {
    "the run has the name of the experiment": lambda report: report["run"] == "sums",
    "the run trains": lambda report: report["run_state"] == "training",
    "every worker of the worker group is a trainer": lambda report: len(_workers(report, "trainer")) == WORKERS,
    "every agent loop worker is a rollout worker": lambda report: len(_workers(report, "rollout")) == WORKERS,
    "the reward worker is one": lambda report: len(_workers(report, "reward")) == 1,
    "every worker works, in phases, and has a process id": lambda report: all(map(_working, report["workers"])),
    "the status page shows every worker, and no section fails": _drawn,
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
    **{
        name: ON[name] for name in ("every worker works, in phases, and has a process id", "bytes of weights are known")
    },
    "the status page shows every worker, and no section fails": _drawn,
    "the critic trains and infers values": lambda report: {"train", "inference"} <= _phases(report, "critic"),
    "the reference computes log-probabilities": lambda report: _phases(report, "reference") >= {"reference"},
    "the trainer trains and sends weights": lambda report: {"train", "weight_sync"} <= _phases(report, "trainer"),
    "the controller waits for the reference": lambda report: report["phases"]["reference"] > 0,
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

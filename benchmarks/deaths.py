"""Does `raymon postmortem` name the first cause of a death? Real deaths of trainers that are not raymon's own.

    python -m benchmarks.deaths                       # every case, about half a minute each
    python -m benchmarks.deaths --only driver
    python -m benchmarks.deaths --write docs/incidents.md

Half a second after the death the watcher, which recorded, is killed with SIGKILL; the post-mortem has nothing but what
it had written by then.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support import short_folder

from benchmarks.chaos_cluster import disk
from benchmarks.death_cases import DEATHS, DISK, DeathCase
from benchmarks.processes import begun, below
from benchmarks.watched import Head, Program, TroubleError, await_result, put_table, watch

HALF_SECOND: Final = 0.5
WARM_UP_SECONDS: Final = 6.0
DEATH_SECONDS: Final = 90.0
ROOM_BYTES: Final = 700_000_000
"""How much a worker can allocate until Ray's monitor of memory ends it."""
HEAD: Final = ("| Death | First cause | Right |", "|---|---|---|")


@dataclass(frozen=True, slots=True)
class Result:
    """What the post-mortem said about one case."""

    case: DeathCase
    sentence: str = ""
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Return whether the first cause is right."""
        return not self.problem and re.search(self.case.expected, self.sentence) is not None

    def row(self) -> str:
        """Return the row of the table."""
        said = self.sentence.replace("|", "/") or self.problem or "nothing"
        return f"| {self.case.name} | {said[:320]} | {'yes' if self.passed else '**no**'} |"


def start_head(case: DeathCase | None, folder: Path) -> Head:
    """Start the cluster that a case needs."""
    folder.mkdir(exist_ok=True)
    options = case.head if case is not None else ()
    if "no-spilling" in options:
        return Head(folder, automatic_object_spilling_enabled=False)
    if "memory" in options:
        rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (int(rows[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
        threshold = (total - free + 2 * ROOM_BYTES) / total
        environment = {"RAY_memory_usage_threshold": f"{threshold:.4f}", "RAY_memory_monitor_refresh_ms": "250"}
        return Head(folder, environment=environment)
    return Head(folder, nodes=2 if "second" in options else 1)


def play(case: DeathCase, number: int, head: Head, folder: Path) -> Result:
    """Run one case on a cluster: train, record, die, kill the watcher, ask for the post-mortem."""
    own = folder / f"death-{number}"
    own.mkdir()
    with disk(own / DISK, case.disk_megabytes) if case.disk_megabytes else contextlib.nullcontext():
        return _play(case, head, own)


def _play(case: DeathCase, head: Head, own: Path) -> Result:
    run = own.name
    urls = [part for url in head.metrics_urls[1:] for part in ("--metrics-url", url)]
    watcher = watch(own, head.metrics_url, "--record", str(own / "recording"), *urls)
    command = [sys.executable, "-m", "benchmarks.foreign_trainer", head.address, run, case.name, str(own)]
    trainer = Program(command, own / "trainer.log", FOREIGN_SECOND="1" if "second" in case.head else "")
    try:
        if case.where == "constructor":
            time.sleep(2 * WARM_UP_SECONDS)  # a trainer that fails at once is recorded only by a watcher that runs
        else:
            await_result(
                lambda: len(trainer.text().splitlines()) > 3 and (own / "pids").exists(), 90.0, "training begins"
            )
            time.sleep(WARM_UP_SECONDS)
        (own / "fault").touch()
        time.sleep(case.after)
        victims = _victims(case, head, trainer, own)
        since = {pid: begun(pid) for pid in (*victims, trainer.process.pid)}
        for pid in victims if case.kill else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, case.signal)
        await_result(lambda: not all(_alive(pid, since[pid]) for pid in since), DEATH_SECONDS, "the death", every=0.02)
        time.sleep(HALF_SECOND)
        watcher.kill()
        return Result(case, *_postmortem(own, run))
    except TroubleError as error:
        return Result(case, problem=f"{error}: {trainer.text()[-200:]}".replace("\n", " "))
    finally:
        watcher.kill()
        trainer.kill()


def _victims(case: DeathCase, head: Head, trainer: Program, own: Path) -> list[int]:
    """Return the processes whose end is the death."""
    pids = [int(word) for word in (own / "pids").read_text().split()] if (own / "pids").exists() else []
    if case.kill in ("raylet", "gcs_server"):
        return head.raylets(case.kill)[:1]
    if case.kill == "node":
        return below(head.raylets("raylet")[-1])
    if (
        case.kill == "driver"
        or case.where in ("driver", "constructor", "nan", "reward")
        or case.name.startswith("exception")
    ):
        return [trainer.process.pid]
    return pids[1:2]


def _alive(pid: int, since: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z" and begun(pid) == since


def _postmortem(own: Path, run: str) -> tuple[str, str]:
    """Return (sentence of the first cause, why there is none)."""
    command = [sys.executable, "-m", "raymon", "postmortem", str(own / "recording"), "--run", run, "--json"]
    reply = subprocess.run(command, capture_output=True, text=True, check=False, cwd=own)
    try:
        first = json.loads(reply.stdout)["first"]
    except (ValueError, KeyError):
        return "", (reply.stderr or reply.stdout).strip()[-300:]
    return (first["sentence"], "") if first else ("", "no cause is known")


def play_all(cases: Sequence[DeathCase]) -> list[Result]:
    """Run cases one after the other; those that do not end the cluster share one."""
    results = []
    with short_folder() as folder:
        shared: Head | None = None
        for number, case in enumerate(cases):
            head = shared
            if case.alone:
                head = start_head(case, folder / f"h{number}")
            elif head is None:
                head = shared = start_head(None, folder / "h")
            assert head is not None
            results.append(play(case, number, head, folder))
            if case.alone:
                head.kill()
            print(results[-1].row(), flush=True)
        if shared is not None:
            shared.kill()
    return results


def main() -> int:
    """Play the chosen cases; exit code 0 when all are right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="cases with this in their name; repeatable")
    parser.add_argument("--write", type=Path, help="page of the docs to put the table into")
    args = parser.parse_args()
    results = play_all([case for case in DEATHS if not args.only or any(word in case.name for word in args.only)])
    passed = sum(result.passed for result in results)
    lines = [*HEAD, *[result.row() for result in results], "", f"{passed} of {len(results)} right."]
    print("\n".join(["", *lines]))
    if args.write:
        put_table(args.write, "deaths", lines)
    return 0 if passed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())

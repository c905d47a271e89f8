"""Does raymon stay calm for hours? Real healthy runs of different nature, watched by one `raymon watch`.

    python -m benchmarks.healthy --hours 0.2
    python -m benchmarks.healthy --hours 10 --outcomes hours.jsonl --write docs/diagnosis.md

All run at the same time on one Ray cluster, so ten hours in all take less than one and a half. `--outcomes` keeps
the hours of earlier runs. Whatever raymon calls *warning* or *critical* is a false alarm, and so is an incident.
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from support import short_folder

from benchmarks.healthy_trainers import NATURES as EVERY
from benchmarks.watched import ROOT, Head, Program, TroubleError, await_result, put_table, watch

HEAD: Final = ("| Healthy run | Hours | Alarms | Incidents |", "|---|---|---|---|")
MARK: Final = "healthy hours"
ALARM: Final = re.compile(r"^(\S+) (\S+) \[(warning|critical|incident)\] (.*)$", re.MULTILINE)
NATURES: Final = {kind: nature for kind, nature in EVERY.items() if kind != "many"}
OTHERS: Final = {
    "rllib": "RLlib: PPO, two env runners",
    "grpo": "GRPO on a language model (`examples/grpo.py`)",
}


def command(kind: str, address: str, folder: Path) -> list[str]:
    """Return the command line of a trainer."""
    if kind == "grpo":
        options = ("--updates", "1000000", "--rest", "6", "--learning-rate", "1e-6")  # solved, it has no signal left
        return [sys.executable, str(ROOT / "examples" / "grpo.py"), *options]
    if kind == "rllib":
        return [sys.executable, "-m", "benchmarks.foreign_rllib", address, "rllib", "none", str(folder)]
    return [sys.executable, "-m", "benchmarks.healthy_trainers", address, kind]


def observe(kinds: Iterable[str], hours: float) -> list[dict[str, Any]]:
    """Run the trainers until they have run so long in all; return the outcome of each.

    Raises:
        TroubleError: One does not begin, or ends by itself.
    """
    trainers: dict[str, Program] = {}
    with short_folder() as folder:
        head = Head(folder, environment={"RAY_worker_niceness": "0"})  # other programs may run beside the hours
        watcher = watch(folder, head.metrics_url)
        try:
            for kind in kinds:
                own = folder / kind
                own.mkdir()
                trainer = Program(command(kind, head.address, own), own / "log", RAY_ADDRESS=head.address)
                trainers[kind] = trainer
                await_result(lambda trainer=trainer: trainer.text().count("\n") > 5, 300.0, f"{kind} begins")
            began = time.monotonic()
            while (seconds := time.monotonic() - began) < hours * 3600.0 / len(trainers):
                if ended := [kind for kind, trainer in trainers.items() if trainer.process.poll() is not None]:
                    raise TroubleError(f"{ended[0]} ended: {trainers[ended[0]].text()[-1000:]}")
                time.sleep(1.0)
            said = ALARM.findall(watcher.text())
        finally:
            for program in (*trainers.values(), watcher):
                program.end()
            head.kill()
    return [
        {
            "kind": kind,
            "seconds": round(seconds),
            "alarms": [f"{at} {what}" for at, run, level, what in said if run == kind and level != "incident"],
            "incidents": [f"{at} {what}" for at, run, level, what in said if run == kind and level == "incident"],
        }
        for kind in trainers
    ]


def summary(outcomes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the table of all outcomes and a sentence."""
    every = list(outcomes)
    rows, abouts = [], {kind: nature.about for kind, nature in NATURES.items()} | OTHERS
    for kind, about in abouts.items():
        own = [outcome for outcome in every if outcome["kind"] == kind]
        if own:
            alarms, incidents = (sum(len(each[name]) for each in own) for name in ("alarms", "incidents"))
            rows.append(f"| {about} | {sum(each['seconds'] for each in own) / 3600:.1f} | {alarms} | {incidents} |")
    alarms, incidents = (sum(len(each[name]) for each in every) for name in ("alarms", "incidents"))
    hours = sum(each["seconds"] for each in every) / 3600
    machine = f"{os.cpu_count()} cores, Python {sys.version.split()[0]}"
    return [*HEAD, *rows, "", f"{alarms} alarms and {incidents} incidents in {hours:.1f} healthy hours. {machine}."]


def main() -> int:
    """Observe, print the table; exit code 1 if there was any alarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*NATURES, *OTHERS], default=[], help="a run; repeatable")
    parser.add_argument("--hours", type=float, default=1.0, help="of all runs together")
    parser.add_argument("--outcomes", type=Path, help="file to append the outcomes to; the table holds all in it")
    parser.add_argument("--write", type=Path, help="page of the docs to put the table into")
    args = parser.parse_args()
    try:
        outcomes = observe(args.only or [*NATURES, *OTHERS], args.hours)
    except TroubleError as error:
        sys.exit(str(error))
    if args.outcomes:
        with args.outcomes.open("a") as file:
            file.writelines(json.dumps(outcome) + "\n" for outcome in outcomes)
        outcomes = [json.loads(line) for line in args.outcomes.read_text().splitlines()]
    lines = summary(outcomes)
    print("\n".join([*lines, "", *[each for outcome in outcomes for each in outcome["alarms"] + outcome["incidents"]]]))
    if args.write:
        put_table(args.write, MARK, lines)
    return int(any(outcome["alarms"] or outcome["incidents"] for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())

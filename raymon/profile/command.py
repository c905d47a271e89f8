"""`raymon profile`: look into a live run for some seconds, say what was found, write a report.

Exit codes: 0 profiled, 1 profiled in part, 2 nothing could be profiled or wrong use.
"""

import argparse
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from raymon.catalog import DRIVER
from raymon.errors import UserError
from raymon.format import duration, share
from raymon.html.words import headline
from raymon.live import targets
from raymon.live.collector import Collector
from raymon.live.snapshot import Snapshot
from raymon.profile import findings, stacks, timeline
from raymon.profile.findings import Findings, Process
from raymon.profile.node import Gathered, gather
from raymon.profile.remote import RemoteError, Wanted, gather_on
from raymon.profile.report import last_sentence, report
from raymon.views import RunView

WARM_UP_SECONDS: Final = 4.0
"""The collector looks that long before workers are chosen: rates need some flushes."""
FIND_SECONDS: Final = 12.0
MOST_SAMPLED: Final = 16
MOST_RATE: Final = 200
"""Above that py-spy itself slows the process down: 1,000 samples a second cost a quarter of its speed."""


def parser() -> argparse.ArgumentParser:
    """Return the options of `raymon profile`."""
    made = argparse.ArgumentParser(
        prog="raymon profile",
        description="Look into a live run for some seconds: flame graphs of the driver, the slowest and a usual "
        "worker, what the slow one does longer, a timeline of all phases, who holds the others up. Writes report.html, "
        "timeline.json (ui.perfetto.dev) and the stacks (speedscope.app).",
        epilog="Exit codes: 0 profiled, 1 profiled in part, 2 nothing could be profiled.",
    )
    made.add_argument("--seconds", type=float, default=10.0, help="how long to look; 10 by default")
    made.add_argument(
        "--worker",
        action="append",
        default=[],
        metavar="N",
        help="sample this worker's stacks; repeat for several; `driver`, `all`",
    )
    made.add_argument("--rate", type=int, default=100, help=f"samples a second of each process, at most {MOST_RATE}")
    made.add_argument("--output", default="", metavar="DIR", help="where to write; by default in the run's directory")
    made.add_argument("--run", default="", help="the run; otherwise the newest live one")
    made.add_argument(
        "--address",
        default="",
        metavar="HOST:PORT",
        help="the Ray cluster, for workers on other nodes; otherwise that of the node here",
    )
    targets.add_options(made)
    return made


def main(arguments: list[str]) -> int:
    """Run `raymon profile`; see the module for the exit codes."""
    made = parser()
    given = made.parse_args(arguments)
    if not 1.0 <= given.seconds <= 300.0:
        made.error(f"--seconds: found {given.seconds:g}, expected 1 to 300")
    if not 1 <= given.rate <= MOST_RATE:
        made.error(f"--rate: found {given.rate}, expected 1 to {MOST_RATE}")
    targets.use_token(given.token_file, os.environ)
    try:
        chosen = targets.choose(given.metrics_url, given.discovery_file, given.dashboard_url)
    except ValueError as error:
        made.error(str(error))
    collector = Collector(chosen)
    collector.start()
    try:
        return _profile(collector, given)
    finally:
        collector.stop()


class ProfileError(UserError):
    """Nothing can be profiled."""


def _profile(collector: Collector, given: argparse.Namespace) -> int:
    run = _live_run(collector, given.run)
    sampled = _sampled(collector.snapshot(), run, given.worker)
    folder = _folder(given.output, run.run)
    print(
        f"profiling {run.run} for {duration(given.seconds)}: phases of all, stacks of {', '.join(sampled)}", flush=True
    )
    gathered, notes = _gather(collector.snapshot(), run, sampled, given)
    found = _findings(collector.snapshot(), run, gathered, given.seconds, notes)
    _write(folder, found, gathered, run)
    _tell(found, folder)
    if not found.tracks and not any(process.stacks for process in found.processes):
        return 2
    return 1 if found.notes or any(process.problem for process in found.processes) else 0


def _live_run(collector: Collector, name: str) -> RunView:
    """Wait until a live run has been watched for a while, and return it."""
    begun = time.monotonic()
    while True:
        snapshot = collector.snapshot()
        run = snapshot.run(name or None)
        spent = time.monotonic() - begun
        if run is not None and run.state not in ("finished", "failed") and _processes(run) and spent >= WARM_UP_SECONDS:
            return run
        if spent >= FIND_SECONDS or (spent >= WARM_UP_SECONDS and snapshot.problem):
            if run is not None:
                raise ProfileError(f"run {run.run!r} has ended ({run.state}); only a live run can be profiled")
            if name and snapshot.runs:
                there = ", ".join(view.run for view in snapshot.runs[:8])
                raise ProfileError(f"there is no run {name!r}; there are {there}")
            raise ProfileError(snapshot.problem or "no run was seen; start one, or name its node with --metrics-url")
        time.sleep(0.1)


def _processes(run: RunView) -> dict[str, tuple[str, int]]:
    """Return node and process id of every process of the run that is there, by name."""
    found = {f"worker {w.worker}": (w.node or "", w.pid) for w in run.workers if w.pid is not None}
    if run.driver_pid is not None:
        found = {DRIVER: (run.driver_node or "", run.driver_pid), **found}
    return found


def _sampled(snapshot: Snapshot, run: RunView, asked: Sequence[str]) -> list[str]:
    """Return the processes whose stacks are sampled: those asked for, else the driver and the workers that matter."""
    known = _processes(run)
    if "all" in asked:
        names = list(known)
    elif asked:
        names = [DRIVER if one == DRIVER else f"worker {one}" for one in asked]
    else:
        workers = findings.chosen_workers(run, snapshot.verdicts[run.run])
        names = [name for name in (DRIVER, *(f"worker {worker}" for worker in workers)) if name in known]
    if missing := [name for name in names if name not in known]:
        there = ", ".join(name.removeprefix("worker ") for name in known)
        raise ProfileError(f"run {run.run!r} has no {missing[0]}; it has {there}")
    return list(dict.fromkeys(names))[:MOST_SAMPLED]


def _folder(asked: str, run: str) -> Path:
    """Return the folder of the report, made and empty of one: given, in the run's directory, or beside it."""
    name = f"profile-{time.strftime('%Y%m%d-%H%M%S')}"
    plain = re.sub(r"[^\w.-]+", "-", run).lstrip(".") or "run"
    at_home = Path("runs") / plain
    folder = Path(asked) if asked else at_home / name if at_home.is_dir() else Path(f"raymon-{plain}-{name}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProfileError(f"cannot write to {folder}: {error.strerror}; name another folder with --output") from error
    if not os.access(folder, os.W_OK):
        raise ProfileError(f"cannot write to {folder}; name another folder with --output")
    return folder


def _gather(
    snapshot: Snapshot, run: RunView, sampled: Sequence[str], given: argparse.Namespace
) -> tuple[dict[str, Gathered], list[str]]:
    """Profile the processes where they are, here and elsewhere at once; return what came by node, and what did not."""
    wanted = _by_node(run, sampled)
    urls = {target.url for target in snapshot.targets}
    here = {node.address: node for node in targets.local_nodes(Path("/proc")) if node.url() in urls}
    away = {node: wish for node, wish in wanted.items() if node not in here}
    address = given.address or next((node.gcs_address for node in here.values() if node.gcs_address), "")
    gathered: dict[str, Gathered] = {}
    notes: list[str] = []
    with ThreadPoolExecutor() as pool:
        jobs = {
            node: pool.submit(gather, here[node].session, wish.pids, wish.sampled, given.seconds, given.rate)
            for node, wish in wanted.items()
            if node in here
        }
        far = pool.submit(gather_on, address, away, given.seconds, given.rate) if away and address else None
        for node, job in jobs.items():
            try:
                gathered[node] = job.result()
            except OSError as error:
                notes.append(
                    f"The folder of the Ray session cannot be written to ({error.strerror}): run as Ray's user."
                )
        if far is not None:
            try:
                gathered.update(far.result())
            except RemoteError as error:
                notes.append(f"Processes on {', '.join(away)} were not profiled: {error}.")
        elif away:
            notes.append(
                f"Processes on {', '.join(away)} were not profiled: name the cluster with --address HOST:PORT."
            )
    return gathered, notes


def _by_node(run: RunView, sampled: Sequence[str]) -> dict[str, Wanted]:
    """Return what is wanted of each node."""
    pids: dict[str, list[int]] = {}
    chosen: dict[str, list[int]] = {}
    for name, (node, pid) in _processes(run).items():
        pids.setdefault(node, []).append(pid)
        if name in sampled:
            chosen.setdefault(node, []).append(pid)
    return {node: Wanted(tuple(found), tuple(chosen.get(node, ()))) for node, found in pids.items()}


def _findings(
    snapshot: Snapshot, run: RunView, gathered: Mapping[str, Gathered], seconds: float, notes: list[str]
) -> Findings:
    """Put together what came; names and processes are those of `run`, as it was when the profile began."""
    now = snapshot.run(run.run) or run
    known = _processes(run)
    processes = [
        _process(gathered[node], pid, name)
        for name, (node, pid) in known.items()
        if node in gathered and (pid in gathered[node].stacks or pid in gathered[node].problems)
    ]
    traces = [trace for part in gathered.values() for trace in part.traces]
    tracks = [track for track in timeline.tracks(traces) if track.run == run.run]
    noted = {track.name for track in tracks}
    silent = [name for name, (node, _) in known.items() if node in gathered and name not in noted]
    if silent:
        notes = [*notes, f"No phases came from {', '.join(silent[:8])}: stopped, ended, or of an older raymon."]
    notes += [f"{t.name} noted more phases than there was room for; {t.lost} are missing." for t in tracks if t.lost]
    return Findings(
        now,
        snapshot.verdicts[now.run],
        seconds,
        snapshot.taken_at,
        processes,
        tracks,
        timeline.last_arrivals(tracks),
        findings.compare(now, processes),
        findings.rollouts_of(tracks),
        notes,
    )


def _process(part: Gathered, pid: int, name: str) -> Process:
    stands = stacks.standing(part.dumps.get(pid, ""))
    return Process(name, pid, stacks.parse(part.stacks.get(pid, "")), stands, part.problems.get(pid, ""))


def _write(folder: Path, found: Findings, gathered: Mapping[str, Gathered], run: RunView) -> None:
    (folder / "report.html").write_text(report(found), encoding="utf-8")
    (folder / "timeline.json").write_text(json.dumps(timeline.chrome(found.tracks)), encoding="utf-8")
    for name, (node, pid) in _processes(run).items():
        if node in gathered and (text := gathered[node].stacks.get(pid)):
            (folder / f"stacks-{name.replace(' ', '-')}.txt").write_text(text, encoding="utf-8")


def _tell(found: Findings, folder: Path) -> None:
    print(f"\n{headline(found.verdict.state)}: {found.verdict.sentence}")
    if found.verdict.advice:
        print(f"What to do: {found.verdict.advice}")
    if found.run.phase_ratio:
        parts = sorted(found.run.phase_ratio.items(), key=lambda item: -item[1])
        print("iteration:  " + ", ".join(f"{phase} {share(ratio)}" for phase, ratio in parts if ratio >= 0.005))
    if found.last is not None:
        print(last_sentence(found))
    if found.comparison is not None:
        compared = found.comparison
        print(f"What worker {compared.slow} does longer than worker {compared.usual}, per thousand environment steps:")
        for item in compared.differences[:4]:
            print(f"  {duration(item.seconds):>8} against {duration(item.against):>8}  {item.place}")
    stuck = {item.worker for item in found.verdict.workers if item.state == "stalled"}
    for process in found.processes:
        _tell_process(process, process.name.removeprefix("worker ") in stuck)
    for note in found.notes:
        print(f"note: {note}")
    print(f"\nreport:     {folder / 'report.html'}")
    print(f"timeline:   {folder / 'timeline.json'} (open it at ui.perfetto.dev)")
    print(f"stacks:     {folder}/stacks-*.txt (open them at speedscope.app)")


def _tell_process(process: Process, stuck: bool) -> None:
    if process.problem:
        print(f"{process.name} (pid {process.pid}): {process.problem}")
        return
    waits = process.waiting_ratio()
    parts = [f"{share(ratio)} {place}" for place, ratio in process.busiest()[:3]]
    parts += [f"waits for Ray {share(waits)}"] if waits >= 0.005 else []
    print(f"{process.name}: {', '.join(parts) or 'no sample'}")
    if stuck:
        for thread, frames in process.stands[:4]:
            print(f"  it is stalled; {thread} stands in")
            for frame in frames[:8]:
                print(f"      {frame}")

"""What a profile collects: timelines of processes, sampled stacks, dumps; through to report and terminal."""

import contextlib
import functools
import io
import json
from pathlib import Path
from random import Random
from typing import Any, Final

from fuzz import metrics, mutation
from fuzz.drawn import check_html, check_terminal
from fuzz.harness import Check, Harness
from raymon.incident import stack_groups
from raymon.live.collector import Collector
from raymon.live.scrape import Page
from raymon.live.snapshot import Snapshot
from raymon.profile import gathering, node, printing, remote_nodes, timeline
from raymon.profile.node import Gathered
from raymon.profile.report import report
from raymon.profile.stacks import current_frames

_NODE: Final = "10.0.0.1"
REPORT_RATIO: Final = 0.25
"""Share of the inputs for which the report is drawn, which takes most of the time."""


@functools.cache
def _snapshot() -> Snapshot:
    collector = Collector(list(metrics.URLS), clock=lambda: metrics.NOW + 2)
    pages = [Page(url, body.encode()) for url, body in zip(metrics.URLS, metrics.bodies(2), strict=True)]
    return collector.digest(pages)


def _trace(worker: str, pid: int) -> dict[str, Any]:
    phases = ("learn", "sample", "other") if worker == "driver" else ("environment", "inference", "rollout")
    spans = [[phase, at + 0.1 * n, at + 1.0] for at in range(6) for n, phase in enumerate(phases)]
    parts = [["sending", at + 0.5, 0.05] for at in range(6)]
    began = metrics.NOW + 0.01 * pid
    return {"run": "run-0", "worker": worker, "pid": pid, "began": began, "seconds": 6.0, "spans": spans} | {
        "parts": parts,
        "lost": 0,
    }


_COLLAPSED: Final = (
    "thread (0x7F1): MainThread;main (train.py:10);step (my_env.py:40);recv (my_env.py:88) 90\n"
    "thread (0x7F1): MainThread;main (train.py:10);learn (raymon/ppo/learner.py:7) 30\n"
    "thread (0x7F2): ThreadPoolExecutor-0_0;_worker (concurrent/futures/thread.py:81) 120\n"
    "thread (0x7F3): ThreadPoolExecutor-0_1;work (my_env.py:5) 60\n"
)
_DUMP: Final = (
    'Process 4242: python train.py\nPython v3.11.2 (/usr/bin/python3.11)\n\nThread 4242 (idle): "MainThread"\n'
    "    recv (my_env.py:88)\n    step (my_env.py:40)\n    main (train.py:10)\n"
    'Thread 4243 (active): "raymon-flush"\n    wait (threading.py:320)\n'
)


def _timelines(folder: Path) -> Check:
    snapshot = _snapshot()
    run = snapshot.runs[0]
    pids = {name: pid for name, (_, pid) in run.processes().items()}
    traces = [_trace(name.removeprefix("worker "), pid) for name, pid in pids.items()]

    def check(random: Random) -> None:
        for number, trace in enumerate(traces):
            content = mutation.json_bytes(random, trace) if random.random() < 0.6 else json.dumps(trace).encode()
            (folder / f"{trace['pid']}-{number}.json").write_bytes(content)
        gathered = Gathered(node._await_traces(folder, set()))
        combined = gathering.combine(snapshot, run, {_NODE: gathered}, 6.0, [])
        if random.random() < REPORT_RATIO:
            check_html(report(combined))
        json.dumps(timeline.chrome(combined.tracks))

    return check


def _sampled_stacks(_folder: Path) -> Check:
    snapshot = _snapshot()
    run = snapshot.runs[0]
    known = run.processes()

    def check(random: Random) -> None:
        reply = {
            "traces": [],
            "stacks": {str(pid): mutation.text(random, _COLLAPSED) for _, pid in known.values()},
            "dumps": {str(pid): mutation.text(random, _DUMP) for _, pid in known.values()},
            "problems": {"1": "the process has ended"},
        }
        if random.random() < 0.2:
            reply = mutation.tree(random, reply)
        gathered = {address: remote_nodes._gathered(reply) for address, _ in known.values()}
        combined = gathering.combine(snapshot, run, gathered, 6.0, [])
        if random.random() < REPORT_RATIO:
            check_html(report(combined))
        with contextlib.redirect_stdout(io.StringIO()) as out:
            printing.print_result(combined, Path("folder"))
        check_terminal(out.getvalue())
        dumps = {name: current_frames(gathered[address].dumps.get(pid, "")) for name, (address, pid) in known.items()}
        stack_groups.sentence(stack_groups.grouped({name: threads[0][1] for name, threads in dumps.items() if threads}))

    return check


HARNESSES: Final = (
    Harness("timeline", "phases that processes recorded, to timeline, report and trace", _timelines),
    Harness("stacks", "sampled stacks and dumps of py-spy, to report and terminal", _sampled_stacks),
)

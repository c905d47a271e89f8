"""What does a viewer of hundreds of real actors cost? Real Ray workers, each in a process of its own.

    python -m benchmarks.actors                      # 200 actors: minutes to start, 13 GB of memory
    python -m benchmarks.actors --actors 50
    python -m benchmarks.actors --write docs/performance.md

All run on one node of one machine, which exports every ten seconds as Ray does by default. A collection is the scrape
of its page over HTTP and the verdict; an interaction is typing into the page's search in a headless Chromium until the
table shows the one worker that is asked for. The memory is that of all processes of Ray, trainer included.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Final

from support import chromium_page, free_port, get, poll, short_folder

from benchmarks.watched import Head, Program, TroubleError, await_result, put_table
from raymon.live.collector import Collector

MARK: Final = "actors"
START_SECONDS: Final = 300.0
START_SECONDS_EACH: Final = 10.0
ANSWER_SECONDS: Final = 120.0
RAY: Final = {
    "RAY_worker_niceness": "0",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_memory_monitor_refresh_ms": "0",  # it would end actors when other programs take the memory
    "RAY_enable_worker_prestart": "0",
}
"""Environment of the cluster: hundreds of processes that start on few cores miss the usual deadlines."""
ROUNDS: Final = 20
SETTLE_SECONDS: Final = 15.0
HEAD: Final = (
    "| Actors | All sample after | Memory of Ray | Page | Collection | CPU of it | Interaction | Verdict |",
    "|---|---|---|---|---|---|---|---|",
)


def measure(actors: int, folder: Path) -> list[str]:
    """Start the actors, watch them, use the page; return the table.

    Raises:
        TroubleError: They do not all sample in time.
    """
    head = Head(folder, environment=RAY, metrics_report_interval_ms=10_000)
    begun = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.healthy_trainers", head.address, "many", str(actors)]
    trainer = Program(command, folder / "train.log")
    port = free_port()
    page = None
    try:
        collector = Collector([head.metrics_url])
        limit = START_SECONDS + START_SECONDS_EACH * actors
        ended = trainer.process.poll
        await_result(lambda: ended() is not None or _running(collector) == actors, limit, "all actors sample", 2.0)
        if ended() is not None:
            raise TroubleError(f"the trainer ended with exit code {ended()}: {trainer.text()[-2000:]}")
        started = time.monotonic() - begun
        memory = sum(_share_bytes(pid) for pid in {*head.processes(), *trainer.processes()})
        status = ["-m", "raymon", "status", "--metrics-url", head.metrics_url, "--port", str(port)]
        page = Program([sys.executable, *status], folder / "status.log")
        await_result(lambda: get(f"http://127.0.0.1:{port}/"), 120.0, "the page answers")
        interactions = _interactions(f"http://127.0.0.1:{port}/", actors)
        time.sleep(SETTLE_SECONDS)
        wall, cpu = [], []
        for _ in range(ROUNDS):
            before = time.perf_counter(), time.process_time()
            snapshot = collector.collect()
            wall.append(time.perf_counter() - before[0])
            cpu.append(time.process_time() - before[1])
            time.sleep(1.0)
        view = snapshot.run("many")
        verdict = "none" if view is None else snapshot.verdicts[view.run].state
        size = len(get(head.metrics_url, ANSWER_SECONDS))
    finally:
        for program in (page, trainer):
            if program is not None:
                program.kill()
        head.kill()
    row = (
        f"| {actors} | {started:.0f} s | {memory / 1e9:.1f} GB | {size / 1e6:.1f} MB "
        f"| {statistics.median(wall):.2f} s | {statistics.median(cpu):.2f} s "
        f"| {1000 * statistics.median(interactions):.0f} ms | {verdict} |"
    )
    return [*HEAD, row, "", f"{os.cpu_count()} cores, Python {sys.version.split()[0]}."]


def _running(collector: Collector) -> int:
    view = collector.collect().run("many")
    return 0 if view is None else sum((worker.rollouts_total or 0.0) > 0.0 for worker in view.workers)


def _share_bytes(pid: int) -> int:
    """Return the memory of a process, of which shared pages count in part; 0 if it has ended."""
    try:
        rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        return int(rows["Pss"].split()[0]) * 1024
    except (OSError, KeyError):
        return 0


def _interactions(url: str, actors: int) -> list[float]:
    """Return the seconds from typing a worker's number until the table shows it alone."""
    seconds = []
    with chromium_page() as page:
        page.goto(url)
        page.wait_for_selector('.raymon .page[data-view="run"]', timeout=120_000)
        search = page.locator("input[data-bind=q]")
        for wanted in range(actors - 1, max(0, actors - 11), -1):
            begun = time.perf_counter()
            search.fill(f"worker {wanted}")
            poll(
                lambda wanted=wanted: (
                    page.locator("tr[data-worker]").count() == 1 and page.locator(f'tr[data-worker="{wanted}"]').count()
                ),
                ANSWER_SECONDS,
                f"worker {wanted} alone",
                every=0.01,
            )
            seconds.append(time.perf_counter() - begun)
    return seconds


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actors", type=int, default=200, help="how many (default: %(default)s)")
    parser.add_argument("--write", type=Path, help="page of the docs to put the table into")
    args = parser.parse_args()
    with short_folder() as folder:
        try:
            lines = measure(args.actors, folder)
        except TroubleError as error:
            sys.exit(str(error))
    print("\n".join(lines))
    if args.write:
        put_table(args.write, MARK, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())

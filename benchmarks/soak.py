"""Do memory, descriptors and threads stay flat in a long run? Training, page, watch and Prometheus at the same time.

    python -m benchmarks.soak --minutes 5
    python -m benchmarks.soak --minutes 240 --write docs/robustness.md  # the table, and docs/images/soak.svg

A headless Chromium looks at the page. Every process is measured every few seconds; growth is from the first minute
after warm-up to the last minute. Warm-up takes a minute, or 20 minutes of an hour and more: histories are full
after 15. Ray's own processes and Prometheus are shown, but not judged.
"""

import argparse
import re
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from support import chromium_page, get, short_folder

from benchmarks.chaos_cluster import Prometheus
from benchmarks.curves import Line, Panel, drawing
from benchmarks.processes import title
from benchmarks.training import FAST, machine, options
from benchmarks.watched import ROOT, Program, TroubleError, await_result, put_table, watch

SAMPLE_SECONDS: Final = 5.0
WARM_UP_SECONDS: Final = 60.0
LONG_SECONDS: Final = 3600.0
LONG_WARM_UP_SECONDS: Final = 1200.0
WINDOW_SECONDS: Final = 60.0
ALLOWED_BYTES: Final = 6e6
ALLOWED_RATIO: Final = 0.05
"""Growth of memory beyond both limits is too much."""
ALLOWED_DESCRIPTORS: Final = 3
ALLOWED_THREADS: Final = 2
PLOT: Final = ROOT / "docs" / "images" / "soak.svg"
HEAD: Final = ("| Process | Memory | Descriptors | Threads |", "|---|---|---|---|")
_KINDS: Final = {
    r"ray::Worker": "worker",
    r"raymon\.incident\.record": "recorder",
    r"raymon\.page\.serve": "page",
    r"raymon\.cluster\.cluster_state": "client of the control store",
    r"raymon train": "driver",
    r"raymon watch": "watch",
    r"prometheus ": "Prometheus",
    r"/raylet ": "Ray: raylet",
    r"gcs_server": "Ray: control store",
    r"^ray::DashboardAgent": "Ray: agent",
    r"dashboard/dashboard\.py": "Ray: dashboard",
}
"""Pattern of a command line to what the process is."""


@dataclass(frozen=True, slots=True)
class Size:
    """A process at one moment."""

    memory_bytes: float
    descriptors: float
    threads: float


@dataclass(slots=True)
class Process:
    """A process and its sizes."""

    name: str
    sizes: list[Size] = field(default_factory=list)

    def growth(self, window: int, warm: int) -> tuple[Size, Size]:
        """Return the medians of `window` sizes after `warm` ones, and at the end."""
        return _median(self.sizes[warm : warm + window]), _median(self.sizes[-window:])

    def row(self, window: int, warm: int) -> str:
        """Return the row of the table."""
        first, last = self.growth(window, warm)
        growth = last.memory_bytes / first.memory_bytes - 1.0
        memory = f"{first.memory_bytes / 1e6:.1f} → {last.memory_bytes / 1e6:.1f} MB ({growth:+.1%})"
        numbers = [
            f"{a:.0f} → {b:.0f}" for a, b in ((first.descriptors, last.descriptors), (first.threads, last.threads))
        ]
        return f"| {self.name} | {memory} | {' | '.join(numbers)} |"

    def is_own(self) -> bool:
        """Return whether it is a process of raymon, which is judged."""
        return not self.name.startswith(("Ray", "Prometheus"))

    def grows(self, window: int, warm: int) -> bool:
        """Return whether the growth is more than allowed."""
        if not self.is_own():
            return False
        first, last = self.growth(window, warm)
        return (
            last.memory_bytes - first.memory_bytes > max(ALLOWED_BYTES, ALLOWED_RATIO * first.memory_bytes)
            or last.descriptors - first.descriptors > ALLOWED_DESCRIPTORS
            or last.threads - first.threads > ALLOWED_THREADS
        )


def _median(sizes: list[Size]) -> Size:
    return Size(*(statistics.median(getattr(size, name) for size in sizes) for name in Size.__slots__))


def size_of(pid: int) -> Size | None:
    """Return the size of a process; None if it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        rows = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        descriptors = len(list((folder / "fd").iterdir()))
        return Size(int(rows["VmRSS"].split()[0]) * 1024, descriptors, int(rows["Threads"]))
    except (OSError, KeyError):
        return None


def measure(programs: Mapping[str, Program], seconds: float) -> dict[int, Process]:
    """Measure every process of the programs until the time is over; keep those that lived through it."""
    processes: dict[int, Process] = {}
    begin, rounds = time.monotonic(), 0
    while time.monotonic() - begin < seconds and programs["train"].process.poll() is None:
        rounds += 1
        for program in programs.values():
            for pid in program.processes():
                line = title(pid)
                name = next((name for pattern, name in _KINDS.items() if re.search(pattern, line)), "")
                if name and (size := size_of(pid)):
                    processes.setdefault(pid, Process(name)).sizes.append(size)
        time.sleep(SAMPLE_SECONDS)
    return {pid: process for pid, process in processes.items() if len(process.sizes) == rounds}


def plot(processes: Sequence[Process], warm: int, seconds: float) -> str:
    """Return a drawing of what raymon's processes have gained since warm-up, over the minutes of the run, as SVG."""
    own = [process for process in processes if process.is_own()]
    titles = {"memory_bytes": "resident memory, MB", "descriptors": "descriptors", "threads": "threads"}
    panels = []
    for quantity, words in titles.items():
        unit = 1e6 if quantity == "memory_bytes" else 1.0
        lines = []
        for process in own:
            values = [getattr(size, quantity) / unit for size in process.sizes[warm:]]
            minutes = [seconds * (warm + at) / len(process.sizes) / 60.0 for at in range(len(values))]
            lines.append(Line(process.name, minutes, [value - values[0] for value in values]))
        panels.append(Panel(f"{words}: growth since warm-up", lines))
    return drawing(panels, "minutes")


def soak(seconds: float, folder: Path) -> tuple[list[str], str, bool]:
    """Train, look and measure; return the table, the drawing, and whether everything is flat."""
    settings = {
        **FAST,
        "total-env-steps": 10**12,
        "anneal": False,
        "learning-rate": 1e-4,
        "ray-temp-dir": folder / "ray",
    }
    places = ("--name", "soak", "--runs", str(folder / "runs"))
    train = Program([sys.executable, "-m", "raymon", "train", *options(settings), *places], folder / "train.log")
    programs = {"train": train}
    try:
        await_result(lambda: "start-up " in train.text(), 300.0, f"training begins; {train.text()}")
        text = train.text()
        metrics_url = re.findall(r"^metrics +(\S+)", text, re.MULTILINE)[0]
        page_url = re.findall(r"^status page +(\S+)", text, re.MULTILINE)[0]
        programs["watch"] = watch(folder, metrics_url, "--record", str(folder / "recording"))
        prometheus = Prometheus(folder / "prometheus")
        programs["prometheus"] = prometheus.program
        prometheus.scrape((metrics_url,))
        await_result(lambda: get(page_url), 120.0, "the page answers")
        with chromium_page() as page:
            page.goto(page_url)
            page.wait_for_selector('.raymon .page[data-view="run"]', timeout=120_000)
            time.sleep(WARM_UP_SECONDS / 2)
            processes = measure(programs, seconds)
        updates = (folder / "runs" / "soak" / "progress.jsonl").read_text().count("\n")
    finally:
        for program in reversed(programs.values()):
            program.end()
    rounds = max(len(process.sizes) for process in processes.values())
    warm_up = LONG_WARM_UP_SECONDS if seconds >= LONG_SECONDS else WARM_UP_SECONDS
    warm = min(int(rounds * warm_up / seconds), rounds // 3)
    window = max(1, min(int(WINDOW_SECONDS / SAMPLE_SECONDS), rounds // 3))
    order = list(_KINDS.values())
    rows = sorted(processes.values(), key=lambda process: order.index(process.name))
    grown = [process.name for process in rows if process.grows(window, warm)]
    sentence = (
        f"{seconds / 60:.0f} minutes, {updates:,} updates; "
        f"{'growing: ' + ', '.join(grown) if grown else 'no process of raymon grows'}. {machine()}."
    )
    return [*HEAD, *[process.row(window, warm) for process in rows], "", sentence], plot(rows, warm, seconds), not grown


def main() -> int:
    """Run and print the table; exit code 1 if a process of raymon grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to measure")
    parser.add_argument("--write", type=Path, help="page of the docs to put the table into")
    args = parser.parse_args()
    with short_folder() as folder:
        try:
            lines, svg, flat = soak(args.minutes * 60, folder)
        except TroubleError as error:
            sys.exit(str(error))
    print("\n".join(lines))
    if args.write:
        put_table(args.write, "soak", [*lines, "", f"![Memory, descriptors and threads over time](images/{PLOT.name})"])
        PLOT.write_text(svg)
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())

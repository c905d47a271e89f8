"""Does the memory of a viewer stay flat for eight hours? The same code, accelerated and without Ray.

    python -m benchmarks.growth --collections 1000
    python -m benchmarks.growth --write docs/robustness.md          # the table, and docs/images/growth.svg

The loop of `raymon watch` and the server of `raymon status`, one after the other, each in a process of its own, read
the metrics page of a synthetic run with four workers, one of which stalls for a minute in every ten. Each collection is
a second later than the one before, but follows at once, so that 28,800 of them pass in minutes. A headless Chromium
looks at the page and has it drawn ten times a second. Growth counts in the second half: before, histories of fixed
length fill, modules are loaded and the allocator finds the size of what comes and goes.
"""

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stage import Stage
from support import chromium_page, free_port, get, short_folder
from synthetic_values import Process

from benchmarks.curves import Line, Panel, drawing
from benchmarks.growth_reader import RUN
from benchmarks.soak import Size, size_of
from benchmarks.training import machine
from benchmarks.watched import ROOT, Program, TroubleError, await_result, put_table
from raymon.catalog import DRIVER

COLLECTIONS: Final = 28_800
LEAST_COLLECTIONS: Final = 1_000
WORKERS: Final = 4
FAULT_EVERY: Final = 600
FAULT_SECONDS: Final = 60
SAMPLE_COLLECTIONS: Final = 30
ALLOWED_BYTES: Final = 3e6
LONGEST_SECONDS: Final = 7200.0
PLOT: Final = ROOT / "docs" / "images" / "growth.svg"
HEAD: Final = (
    "| Reader | Begin | Half | End | Growth in the second half | Descriptors | Threads |",
    "|---|---|---|---|---|---|---|",
)
NAMES: Final = {
    "watch": "`raymon watch`",
    "page": "`raymon status`, one viewer",
    "unseen": "`raymon status`, no viewer",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """The sizes of a process over the number of its collections."""

    name: str
    collections: list[int]
    sizes: list[Size]

    def growth_bytes(self) -> float:
        """Return the growth of the median of ten sizes in the second half."""
        return self._around(len(self.sizes)).memory_bytes - self._around(self._half()).memory_bytes

    def row(self) -> str:
        """Return the row of the table."""
        first, half, last = self._around(0), self._around(self._half()), self._around(len(self.sizes))
        sizes = " | ".join(f"{size.memory_bytes / 1e6:.1f} MB" for size in (first, half, last))
        others = " | ".join(
            f"{getattr(half, name):.0f} → {getattr(last, name):.0f}" for name in ("descriptors", "threads")
        )
        return f"| {NAMES[self.name]} | {sizes} | {self.growth_bytes() / 1e6:+.1f} MB | {others} |"

    def _half(self) -> int:
        return next(at for at, number in enumerate(self.collections) if number >= self.collections[-1] // 2)

    def _around(self, at: int) -> Size:
        begin = max(0, min(at, len(self.sizes) - 10))
        window = self.sizes[begin : begin + 10]
        return Size(*(statistics.median(getattr(size, name) for size in window) for name in Size.__slots__))


def cast(begin: float, stalled_at: float | None = None) -> list[Process]:
    """Return the processes of the run; the last worker stalls at a moment."""
    driver = Process(RUN, DRIVER, begin, 900, workers=WORKERS)
    workers = [Process(RUN, str(worker), begin, 1000 + worker) for worker in range(WORKERS - 1)]
    fault = "" if stalled_at is None else "stalled"
    last = Process(RUN, str(WORKERS - 1), begin, 1100, fault=fault, fault_at=stalled_at or 0.0)
    return [driver, *workers, last]


def measure(name: str, collections: int, folder: Path) -> Curve:
    """Start a reader and measure it until it has made its collections."""
    begin = time.time()
    folder.mkdir()
    with Stage(*cast(begin), clock=lambda: begin + stage.asked) as stage:
        port = free_port()
        place = (stage.url, str(folder), str(begin), *([] if name == "watch" else [str(port)]))
        kind = "watch" if name == "watch" else "page"
        reader = Program([sys.executable, "-m", "benchmarks.growth_reader", kind, *place], folder / "log")
        try:
            with _viewer(name, port):
                return _follow(name, collections, stage, begin, reader)
        finally:
            reader.end()


@contextlib.contextmanager
def _viewer(name: str, port: int) -> Iterator[None]:
    """Look at the page, if it has a viewer."""
    if name != "page":
        yield
        return
    url = f"http://127.0.0.1:{port}"
    await_result(lambda: get(url), 120.0, "the page answers")
    with chromium_page() as page:
        page.goto(url)
        page.wait_for_selector('.raymon .page[data-view="run"]', timeout=120_000)
        yield


def _follow(name: str, collections: int, stage: Stage, begin: float, reader: Program) -> Curve:
    curve = Curve(name, [], [])
    stalls, deadline = False, time.monotonic() + LONGEST_SECONDS
    while stage.asked < collections:
        if (size := size_of(reader.process.pid)) is None or time.monotonic() > deadline:
            raise TroubleError(f"{name} ended or is late: {reader.text()[-1000:]}")
        number = stage.asked
        if number >= SAMPLE_COLLECTIONS and number - (curve.collections or [0])[-1] >= SAMPLE_COLLECTIONS:
            curve.collections.append(number)
            curve.sizes.append(size)
        if stalls != (due := number % FAULT_EVERY >= FAULT_EVERY - FAULT_SECONDS):
            stalls = due
            stage.play(*cast(begin, begin + number if due else None))
        time.sleep(0.05)
    return curve


def plot(curves: Sequence[Curve]) -> str:
    """Return a drawing of megabytes over collections, as SVG."""
    lines = [
        Line(NAMES[curve.name].replace("`", ""), curve.collections, [size.memory_bytes / 1e6 for size in curve.sizes])
        for curve in curves
    ]
    return drawing([Panel("resident memory, MB", lines)], "collections, each a second later than the one before")


def main() -> int:
    """Measure, print and write; exit code 1 if a reader grows by more than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collections", type=int, default=COLLECTIONS, help="of each reader (default: %(default)s)")
    parser.add_argument("--only", choices=list(NAMES), action="append", help="measure this reader; repeat for several")
    parser.add_argument("--write", type=Path, help="a page with markers for the table")
    args = parser.parse_args()
    if args.collections < LEAST_COLLECTIONS:
        parser.error(f"--collections: found {args.collections}, expected at least {LEAST_COLLECTIONS}")
    curves = []
    with short_folder() as folder:
        try:
            for name in args.only or ("watch", "page"):
                curves.append(measure(name, args.collections, folder / name))
                print(curves[-1].row(), file=sys.stderr, flush=True)
        except TroubleError as error:
            sys.exit(str(error))
    grown = [NAMES[curve.name] for curve in curves if curve.growth_bytes() > ALLOWED_BYTES]
    result = f"growing: {', '.join(grown)}" if grown else f"none grows by more than {ALLOWED_BYTES / 1e6:.0f} MB"
    lines = [*HEAD, *[curve.row() for curve in curves], "", f"{args.collections:,} collections; {result}. {machine()}."]
    print("\n".join(lines))
    if args.write:
        put_table(args.write, "growth", [*lines, "", f"![Memory over collections](images/{PLOT.name})"])
        PLOT.write_text(plot(curves))
    return int(bool(grown))


if __name__ == "__main__":
    sys.exit(main())

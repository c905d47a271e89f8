"""How fast does the status page answer its viewer, and its health check, over a fleet of any size?

    python -m benchmarks.interaction                              # 100 to 10,000 workers, one after the other
    python -m benchmarks.interaction --workers 1000 --rounds 3
    python -m benchmarks.interaction --write docs/performance.md

The workers are those of `benchmarks.collection`, served over HTTP by another process, with exports every ten seconds
as Ray has them. `raymon status` collects them as always. In a headless Chromium one viewer sorts, filters, searches,
opens a worker, changes the span and asks for more rows, each from the click or the typed letter to the first picture
with the result. Then 200 clients ask for `/_stcore/health` once a second each, while the page is drawn for that
browser. Exit code 1 if a bar is missed, or if the page takes back what the viewer chose.
"""

import argparse
import asyncio
import multiprocessing
import random
import re
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final

from support import chromium_page, free_port, get, short_folder
from synthetic import fleet

from benchmarks.collection import WORKERS_PER_NODE
from benchmarks.fleet_server import serving
from benchmarks.processes import CpuSeconds
from benchmarks.soak import size_of
from benchmarks.training import machine
from benchmarks.watched import Program, TroubleError, await_result, put_table

MARK: Final = "interaction"
SIZES: Final = (100, 1000, 3000, 10_000)
START_SECONDS: Final = 300.0
SETTLE_SECONDS: Final = 30.0
PAUSE_SECONDS: Final = (0.3, 1.3)
"""Between two interactions: the page is drawn once a second, and they should not all meet the same moment of it."""
FIRST_PID: Final = 2000
"""Of the synthetic workers: a search for a larger number finds a process as well as a worker."""
CLIENTS: Final = 200
CLIENT_SECONDS: Final = 20.0
BAR_SECONDS: Final = 0.5
HEALTH_BAR_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 30.0
ACT: Final = """
(root, [target, text, shown, gone, limit, pause]) => new Promise((resolve, reject) => {
  const element = root.querySelector(target);
  if (!element) return reject(new Error(`nothing to click: ${target}`));
  const done = () => root.querySelector(shown) && !(gone && root.querySelector(gone));
  if (done()) return reject(new Error(`shown before: ${shown}`));
  let spent = 0, lost = 0;
  const observer = new MutationObserver(() => {
    if (spent) return void (lost += done() ? 0 : 1);
    if (!done()) return;
    requestAnimationFrame(() => setTimeout(() => (spent = performance.now() - begun)));
    setTimeout(() => (observer.disconnect(), resolve([spent, lost])), pause);
  });
  observer.observe(root, {subtree: true, childList: true, attributes: true});
  setTimeout(() => reject(new Error(`not within ${limit} s: ${shown}`)), 1000 * limit);
  const begun = performance.now();
  if (text === null) return element.click();
  element.focus();
  element.value = text;
  element.dispatchEvent(new Event("input", {bubbles: true, composed: true}));
})
"""
"""Clicks, or types; returns the milliseconds until the picture that shows the result, and how often the result was gone
again in the pause that follows."""


@dataclass(frozen=True, slots=True)
class Action:
    """What the viewer does, and how the page then differs.

    Attributes:
        target: Selector of what is clicked or typed into.
        shown: Selector of what is there afterwards, and was not there together with `gone`.
        gone: Selector of what is no longer there.
        text: What is typed; None for a click.
    """

    name: str
    target: str
    shown: str
    gone: str = ""
    text: str | None = None


def actions(wanted: int) -> tuple[Action, ...]:
    """Return a round of interactions, which ends as it begins; `wanted` is the worker that is searched."""
    search, other = "input[data-bind=q]", f'tr[data-worker]:not([data-worker="{wanted}"])'
    return (
        Action("sort", "th [data-set='order=steps']", "th[aria-sort] [data-set='order=steps']"),
        Action("filter", ".chip[data-set='state=stalled']", ".chip[data-set='state=stalled'][aria-pressed=true]"),
        Action("filter", ".chip[data-set='state=']", ".chip[data-set='state='][aria-pressed=true]"),
        Action("more rows", ".more .chip", "tbody tr:nth-child(26)"),
        Action("open", "tr[data-worker]", "[data-section=detail]"),
        Action("close", "[data-escape]", ".page", gone="[data-section=detail]"),
        Action("span", "[data-set='span=all']", "[data-set='span=all'][aria-pressed=true]"),
        Action("span", "[data-set='span=2m']", "[data-set='span=2m'][aria-pressed=true]"),
        Action("search", search, f'tr[data-worker="{wanted}"]', gone=other, text=f"worker {wanted}"),
        Action("search", search, other, text=""),
        Action("sort", "th [data-set='order=trouble']", "th[aria-sort] [data-set='order=trouble']"),
    )


@dataclass(frozen=True, slots=True)
class Cost:
    """What a viewer of some workers waits for.

    Attributes:
        collection: Duration of the last collection, as the page says.
        actions: Name of an interaction and its seconds, for each one.
        health: Seconds of each answer of the health check.
        unanswered: Requests for the health check without an answer.
        memory_bytes: Resident memory of the page's server.
        cores: CPU seconds that the server takes each second while one viewer looks.
    """

    workers: int
    nodes: int
    collection: str
    actions: tuple[tuple[str, float], ...]
    health: tuple[float, ...]
    unanswered: int
    memory_bytes: float
    cores: float

    @property
    def median(self) -> float:
        """The median of all interactions."""
        return statistics.median(seconds for _, seconds in self.actions)

    @property
    def p95(self) -> float:
        """The 95th percentile of all interactions."""
        return percentile([seconds for _, seconds in self.actions], 0.95)

    @property
    def slowest(self) -> tuple[str, float]:
        """The kind of interaction with the largest median, and that median."""
        kinds = {name for name, _ in self.actions}
        medians = {kind: statistics.median(spent for name, spent in self.actions if name == kind) for kind in kinds}
        return max(medians.items(), key=lambda item: item[1])

    @property
    def met(self) -> bool:
        """Whether both bars are met."""
        return self.p95 <= BAR_SECONDS and max(self.health) <= HEALTH_BAR_SECONDS and not self.unanswered


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def measure(workers: int, rounds: int, folder: Path) -> Cost:
    """Serve the workers, open the page, use it and ask for its health.

    Raises:
        TroubleError: The page does not show them, or an interaction has no result.
    """
    nodes, discovery, port = ceil(workers / WORKERS_PER_NODE), folder / "discovery.json", free_port()
    synthetic = fleet(workers, nodes, runs=1, faults={0: "stalled", 1: "slow"})
    with serving(synthetic, discovery):
        command = ["-m", "raymon", "status", "--discovery-file", str(discovery), "--port", str(port)]
        status = Program([sys.executable, *command, "--runs", str(folder / "runs")], folder / "status.log")
        try:
            return look(status, port, workers, nodes, rounds)
        finally:
            status.kill()


def look(status: Program, port: int, workers: int, nodes: int, rounds: int) -> Cost:
    """Open the page, use it and ask for its health.

    Raises:
        TroubleError: The page does not show the workers, or an interaction has no result.
    """
    url = f"http://127.0.0.1:{port}"
    await_result(lambda: get(url), 120.0, "the page answers")
    with chromium_page() as page, multiprocessing.get_context("spawn").Pool(1) as clients:
        page.goto(url)
        page.wait_for_selector(".raymon .page[data-view=run]", timeout=1000 * START_SECONDS)
        await_result(lambda: _complete(page, workers), START_SECONDS, f"the page shows {workers} workers", every=1.0)
        time.sleep(SETTLE_SECONDS)
        begun, used = time.monotonic(), cpu_seconds(status)
        spent = use(page, workers, rounds)
        cores = (cpu_seconds(status) - used) / (time.monotonic() - begun)
        health, unanswered = clients.apply(ask_health, (port, CLIENTS, CLIENT_SECONDS))
        collection = re.search(r"Last collection took (.*)", page.locator(".facts-line").inner_text())
    return Cost(
        workers=workers,
        nodes=nodes,
        collection=collection[1] if collection else "",
        actions=spent,
        health=health,
        unanswered=unanswered,
        memory_bytes=max(size.memory_bytes for pid in status.processes() if (size := size_of(pid))),
        cores=cores,
    )


def _complete(page: Any, workers: int) -> bool:  # noqa: ANN401  # playwright is optional
    table = page.locator("[data-section=workers]")
    stalled = table.locator("[data-set='state=stalled']").count()
    return bool(stalled) and f"{workers} in all" in table.inner_text()


def cpu_seconds(program: Program) -> float:
    """Return the CPU seconds of a program and its descendants so far."""
    seconds = CpuSeconds(program.process.pid)
    seconds.look()
    return seconds.total()


def use(page: Any, workers: int, rounds: int) -> tuple[tuple[str, float], ...]:  # noqa: ANN401  # playwright is optional
    """Return the kind and the seconds of each interaction.

    Raises:
        TroubleError: The page does not show the result of one.
    """
    root, draw = page.locator(".raymon"), random.Random(workers)
    spent = []
    for _ in range(rounds):
        for action in actions(draw.randrange(2, min(workers, FIRST_PID))):
            pause = 1000.0 * draw.uniform(*PAUSE_SECONDS)
            arguments = [action.target, action.text, action.shown, action.gone, ANSWER_SECONDS, pause]
            try:
                milliseconds, lost = root.evaluate(ACT, arguments)
            except Exception as error:
                shown = page.locator(".headline, .banner, .tools, .facts-line").all_inner_texts()
                raise TroubleError(f"{workers} workers, {action.name}: {error}\n{shown}") from error
            if lost:
                raise TroubleError(f"{workers} workers, {action.name}: the page took back what the viewer chose")
            spent.append((action.name, milliseconds / 1000.0))
    return tuple(spent)


def ask_health(port: int, clients: int, seconds: float) -> tuple[tuple[float, ...], int]:
    """Return the seconds of each answer to clients that ask once a second, and how many requests had none."""
    return asyncio.run(_ask_health(port, clients, seconds))


async def _ask_health(port: int, clients: int, seconds: float) -> tuple[tuple[float, ...], int]:
    answers: list[float] = []
    failures = 0
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        nonlocal failures
        await asyncio.sleep(number / clients)
        while (begun := time.monotonic()) < end:
            try:
                await asyncio.wait_for(_health(port), ANSWER_SECONDS)
                answers.append(time.monotonic() - begun)
            except (OSError, TimeoutError):
                failures += 1
            await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - begun)))

    await asyncio.gather(*(client(number) for number in range(clients)))
    return tuple(answers), failures


async def _health(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET /_stcore/health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        status = await reader.readline()
        await reader.read()
        if b" 200 " not in status:
            raise OSError(f"found {status!r}, expected 200")
    finally:
        writer.close()


def table(costs: Sequence[Cost]) -> list[str]:
    """Return the costs as a table."""
    lines = [
        "| Workers | Nodes | Collection | Interaction | 95 % within | Slowest kind | Health check | Slowest | Server |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cost in costs:
        kind, slowest = cost.slowest
        lines.append(
            f"| {cost.workers:,} | {cost.nodes} | {cost.collection} | {1000 * cost.median:.0f} ms "
            f"| {1000 * cost.p95:.0f} ms | {kind}, {1000 * slowest:.0f} ms "
            f"| {1000 * statistics.median(cost.health):.0f} ms | {1000 * max(cost.health):.0f} ms "
            f"| {cost.memory_bytes / 1e6:.0f} MB, {cost.cores:.2f} cores |"
        )
    return lines


def main() -> int:
    """Measure, print and write; exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, action="append", help="repeat for several sizes")
    parser.add_argument("--rounds", type=int, default=10, help="of eleven interactions each (default: %(default)s)")
    parser.add_argument("--write", type=Path, help="a page with markers for the table")
    args = parser.parse_args()
    about, costs = machine(), []
    for workers in sorted(args.workers or SIZES):
        with short_folder() as folder:
            try:
                costs.append(measure(workers, args.rounds, folder))
            except TroubleError as error:
                sys.exit(str(error))
        print(table(costs)[-1], file=sys.stderr, flush=True)
        for kind in dict.fromkeys(name for name, _ in costs[-1].actions):
            spent = [1000 * seconds for name, seconds in costs[-1].actions if name == kind]
            print(f"  {kind}: median {statistics.median(spent):.0f} ms, slowest {max(spent):.0f} ms", file=sys.stderr)
    lines = [*table(costs), "", f"{about}."]
    print("\n".join(lines))
    if args.write:
        put_table(args.write, MARK, lines)
    return int(not all(cost.met for cost in costs))


if __name__ == "__main__":
    sys.exit(main())

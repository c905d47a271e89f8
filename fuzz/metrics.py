"""Metrics pages, Prometheus's answers and recordings: through collector, verdicts and history to page and terminal."""

import functools
import gzip
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final

from rich.console import Console
from synthetic import Page as SyntheticPage
from synthetic import fleet

from fuzz import mutation
from fuzz.drawn import check_html, check_terminal
from fuzz.harness import BLOCK, Check, Harness
from raymon.health import ALERTS
from raymon.incident.postmortem import postmortem
from raymon.incident.postmortem import text as postmortem_text
from raymon.incident.recording_format import Encoder, header
from raymon.incident.replay import Replay
from raymon.live.collector import Collector
from raymon.live.parse import WANTED, Parser
from raymon.live.prometheus import Prometheus
from raymon.live.round import parse_round
from raymon.live.scrape import Page, Scraper
from raymon.live.series import HISTORY
from raymon.live.snapshot import Snapshot
from raymon.live.targets import Endpoints
from raymon.page import choice, layout
from raymon.top.json_output import report
from raymon.top.screen import screen

NOW: Final = 1_800_000_000.0
URLS: Final = ("http://10.0.0.1:8080/metrics",)
_SCOPE: Final = re.compile(r'(otel_scope_\w+|Version|SessionName)="[^"]*",?')
"""Labels that nothing reads; they only take time."""
_QUERIES: Final[Mapping[str, str]] = {"run": "run-0", "against": "run-1", "worker": "1", "rows": "50", "span": "10m"}
DRAWN_EVERY: Final = 8
"""Drawing the page takes ten times as long as everything before it; a drawn page shows what came since the last one."""


@functools.cache
def bodies(second: int) -> tuple[str, ...]:
    """Return the page of a node with a driver and three workers, one slow and one stalled, at a second of its life."""
    nodes = fleet(workers=3, nodes=1, runs=1, faults={1: "slow", 2: "stalled"}, started=NOW - 3600)
    return tuple(
        "".join(
            _short(line)
            for line in SyntheticPage(node).render(NOW + second).splitlines(keepends=True)
            if _is_read(line)
        )
        for node in nodes
    )


def _is_read(line: str) -> bool:
    return line.partition("{")[0] in WANTED


def _short(line: str) -> str:
    return _SCOPE.sub("", line)


def changed_page(random: Random, body: str) -> bytes:
    """Return a metrics page with some lines changed, or with the same label changed in every line."""
    lines = body.splitlines(keepends=True)
    if random.random() < 0.3:
        label = random.choice(('run="run-0"', 'worker="0"', 'worker="1"', 'NodeAddress="10.0.0.1"', 'WorkerId="'))
        name = label.partition("=")[0]
        text = mutation.hostile_text(random).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        new = f'{name}="{text}"' if label.count('"') == 2 else f'{name}="{text}'
        body = body.replace(label, new)
        lines = body.splitlines(keepends=True)
    for _ in range(mutation.few(random, 20)):
        at = random.randrange(len(lines))
        lines[at] = mutation.text(random, lines[at])
    page = "".join(lines).encode("utf-8", "surrogatepass")
    return mutation.data(random, page) if random.random() < 0.1 else page


def check_drawn(snapshot: Snapshot, random: Random, number: int) -> None:
    """Draw every eighth snapshot as page, terminal and JSON, and check them."""
    if number % DRAWN_EVERY != DRAWN_EVERY - 1:
        return
    query = {
        name: value if random.random() < 0.7 else mutation.hostile_text(random) for name, value in _QUERIES.items()
    }
    chosen = choice.from_query(query if random.random() < 0.5 else {})
    check_html(layout.page(snapshot, chosen, now=(snapshot.taken_monotonic or 0.0) + random.choice((0.5, 1000.0))))
    layout.title(snapshot, chosen)
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(screen(snapshot, snapshot.run(), "nothing", 40))
    check_terminal(console.file.getvalue())  # type: ignore[attr-defined]
    json.dumps(report(snapshot), allow_nan=False)


class _Clock:
    """Wall-clock seconds that a harness moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def _metrics_pages(_folder: Path) -> Check:
    clock = _Clock()
    collector = Collector(list(URLS), clock=clock)
    seconds = iter(range(BLOCK))

    def check(random: Random) -> None:
        second = next(seconds)
        clock.now = NOW + second
        if random.random() < 0.03:
            clock.now += random.choice((-1e6, -30.0, 3.0, 60.0, 1e6, 1e12))
        pages = []
        for url, body in zip(URLS, bodies(second), strict=True):
            if random.random() < 0.05:
                pages.append(Page(url, error="connection refused: nothing listens there"))
            else:
                pages.append(Page(url, changed_page(random, body) if random.random() < 0.8 else body.encode()))
        check_drawn(collector.digest(pages), random, second)

    return check


_LABELS: Final = {"alertname": "RaymonWorkerStalled", "severity": "critical", "run": "run-0", "worker": "1"}
_RULE: Final = {
    "name": sorted(ALERTS)[0],
    "alerts": [
        {
            "labels": _LABELS,
            "annotations": {"summary": "Worker 1 is stalled", "description": "No progress for 60 s"},
            "state": "firing",
            "activeAt": "2026-11-28T10:00:00.5Z",
        }
    ],
}
_ANSWERS: Final[Mapping[str, Any]] = {
    "rules": {"status": "success", "data": {"groups": [{"name": "raymon", "rules": [_RULE]}]}},
    "label": {"status": "success", "data": ["run-0", "run-1"]},
    "query_range": {
        "status": "success",
        "data": {
            "resultType": "matrix",
            "result": [{"metric": {"run": "run-0"}, "values": [[NOW - 60, "1.5"], [NOW - 45, "2"], [NOW - 30, "NaN"]]}],
        },
    },
}


class _Answering(Scraper):
    """Answers in place of Prometheus: one answer, chosen at random, is changed."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self._changed = random.choice(sorted(_ANSWERS))
        self._series = {entry.name: self._json("query_range") for entry in HISTORY[:2]}

    def fetch(self, urls: Iterable[str], headers: Mapping[str, str] | None = None) -> list[Page]:  # noqa: ARG002  # as the base class
        return [Page(url, self._answer(url)) for url in urls]

    def _answer(self, url: str) -> bytes:
        kind = next(name for name in _ANSWERS if f"/api/v1/{name}" in url)
        return self._random.choice(sorted(self._series.values())) if kind == "query_range" else self._json(kind)

    def _json(self, kind: str) -> bytes:
        sample = _ANSWERS[kind]
        return mutation.json_bytes(self._random, sample) if kind == self._changed else json.dumps(sample).encode()


def _prometheus_answers(_folder: Path) -> Check:
    clock = _Clock()
    collector = Collector(list(URLS), clock=clock)
    for second in range(3):
        clock.now = NOW + second
        plain = collector.digest([Page(url, body.encode()) for url, body in zip(URLS, bodies(second), strict=True)])

    def check(random: Random) -> None:
        prometheus = Prometheus("http://127.0.0.1:9090", _Answering(random))
        prometheus.refresh()
        histories = {run: prometheus.extended(run, history) for run, history in plain.histories.items()}
        snapshot = replace(plain, histories=histories, alerts=prometheus.alerts())
        assert not prometheus.alerts() or prometheus.has_rules(), "alerts without rules"
        check_drawn(snapshot, random, random.randrange(DRAWN_EVERY * 4))

    return check


@functools.cache
def recording_lines() -> tuple[str, ...]:
    """Return the lines of a short recording."""
    parser, encoder = Parser(), Encoder()
    endpoints = Endpoints(URLS, "recorded")
    lines = [header(NOW)]
    for second in range(3):
        pages = [Page(url, body.encode()) for url, body in zip(URLS, bodies(second), strict=True)]
        lines.append(encoder.encode(parse_round(pages, endpoints, NOW + second, parser)))
    return tuple(lines)


_DEATHS: Final = (
    '{"kind": "worker", "at": 1800000003.0, "pid": 2001, "node": "10.0.0.2", "detail": "The process was killed."}',
    '{"kind": "node", "at": 1800000004.0, "pid": 0, "node": "10.0.0.2", "detail": "The node is gone."}',
)
_SUMMARY: Final = {"state": "failed", "env_steps": 1000, "seconds": 12.5, "error": "a worker died"}


def changed_recording(random: Random) -> bytes:
    """Return a changed segment of a recording, compressed; sometimes its compressed bytes are changed."""
    lines = list(recording_lines())
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(lines))
        try:
            lines[at] = mutation.json_bytes(random, json.loads(lines[at])).decode(errors="surrogateescape")
        except (ValueError, RecursionError):  # it was changed before
            lines[at] = mutation.text(random, lines[at])
    if random.random() < 0.1:
        random.shuffle(lines)
    plain = "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n"
    packed = gzip.compress(plain, 1)
    return mutation.data(random, packed) if random.random() < 0.15 else packed


def _recordings(folder: Path) -> Check:
    numbers = iter(range(BLOCK))

    def check(random: Random) -> None:
        number = next(numbers)
        for name, lines in (("deaths.jsonl", _DEATHS), ("summary.json", [json.dumps(_SUMMARY)])):
            content = "\n".join(mutation.text(random, line) if random.random() < 0.5 else line for line in lines)
            (folder / name).write_text(content, encoding="utf-8", errors="surrogatepass")
        (folder / "20270115T080000.000.jsonl.gz").write_bytes(changed_recording(random))
        if number % 4 == 0:
            check_terminal(postmortem_text(postmortem(folder), folder))
        replay = Replay(folder)
        check_drawn(replay.at(random.choice((replay.first, NOW + 1, NOW + 3))), random, number)

    return check


def _post_mortems(folder: Path) -> Check:
    def check(random: Random) -> None:
        summary = mutation.json_bytes(random, _SUMMARY)
        (folder / "summary.json").write_bytes(summary)
        check_terminal(postmortem_text(postmortem(folder), folder))

    return check


HARNESSES: Final = (
    Harness("metrics-page", "metrics pages of a node, through to the drawn page", _metrics_pages, cost=4.0),
    Harness("prometheus", "Prometheus's answers: rules, labels, ranges", _prometheus_answers),
    Harness(
        "recording", "segments of a recording and its log of deaths, to page and post-mortem", _recordings, cost=8.0
    ),
    Harness("post-mortem", "a run's summary.json, to its post-mortem", _post_mortems),
)

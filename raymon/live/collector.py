"""The background thread behind every viewer: one collection a second, however many look, and fewer while nobody does.

Runs in the process of the page or the terminal view, never in the job. N viewers cost one collection: they all read the
last `Snapshot`, which nobody changes after it was made.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Final

from raymon.catalog import DRIVER_PHASES
from raymon.health import RunVerdict
from raymon.live.alerts import LocalAlerts
from raymon.live.debounce import Hold
from raymon.live.dither import Diffusion
from raymon.live.history import Ring, WorkerSample
from raymon.live.memory import Memory
from raymon.live.nodes import forget_nodes
from raymon.live.parse import Parser
from raymon.live.prometheus import Prometheus
from raymon.live.runs import LIVE_SECONDS, run_views
from raymon.live.scrape import Page, Scraper
from raymon.live.snapshot import Alert, RunHistory, Snapshot, TargetState
from raymon.live.targets import Found, Given, Local, Targets
from raymon.views import RunView, WorkerView

TARGETS_SECONDS: Final = 5.0
UNWATCHED_SECONDS: Final = 3.0
"""Between two collections while nobody looks: the history goes on, at a third of the cost."""
LEFT_SECONDS: Final = 10.0
"""Nobody looks when no snapshot was asked for within this time."""
MOST_RUNS: Final = 64
FORGET_ROUNDS: Final = 60
_NAN: Final = float("nan")
_log = logging.getLogger(__name__)


class Collector:
    """Scrape the targets once a second, less often while nobody looks; keep the last snapshot and a bounded history.

    Example:
        >>> collector = Collector(["10.0.0.5:8080"])
        >>> collector.start()  # doctest: +SKIP
        >>> collector.snapshot().runs  # doctest: +SKIP

    Args:
        targets: Metrics endpoints, or anything with `find()`; without any, the newest Ray session on this machine.
        period_seconds: Between two collections while somebody looks.
        prometheus_url: A Prometheus to take firing alerts and older history from; empty for none.
        prometheus_expected: Whether to say so when it does not answer; False where its address is only the usual one.
        clock: Wall-clock seconds; tests give their own.
    """

    def __init__(
        self,
        targets: Targets | Sequence[str] = (),
        period_seconds: float = 1.0,
        prometheus_url: str = "",
        prometheus_expected: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(targets, Sequence):
            targets = Given.of(targets) if targets else Local()
        self._targets: Targets = targets
        self._period = period_seconds
        self._clock = clock
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._looked_at = time.monotonic()
        self._thread: threading.Thread | None = None
        self._scraper, self._parser, self._memory = Scraper(), Parser(), Memory()
        self._rings: dict[str, Ring] = {}
        self._hold, self._phases, self._alarms = Hold(), Diffusion(), LocalAlerts()
        self._prometheus = Prometheus(prometheus_url) if prometheus_url else None
        self._prometheus_expected = prometheus_expected
        self._found, self._found_at = Found(), float("-inf")
        self._answers: dict[str, TargetState] = {}
        self._snapshot = Snapshot(taken_at=clock(), problem="The first collection has not ended yet.")

    def start(self) -> None:
        """Begin collecting in a daemon thread; a second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="raymon-collector", daemon=True)
            self._thread.start()
            if self._prometheus is not None:
                self._prometheus.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._wake.set()
        if self._prometheus is not None:
            self._prometheus.stop()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def snapshot(self) -> Snapshot:
        """Return what is known now; never waits."""
        if not self._watched():
            self._wake.set()
        self._looked_at = time.monotonic()
        return self._snapshot

    def collect(self) -> Snapshot:
        """Make one collection now, in the calling thread, and return its snapshot."""
        begun = time.perf_counter()
        found = self._find()
        pages = self._scraper.fetch(found.urls)
        return self.digest(pages, found, begun)

    def digest(self, pages: Sequence[Page], found: Found | None = None, begun: float | None = None) -> Snapshot:
        """Take in pages as they were fetched and make the snapshot: all of a collection but the network."""
        begun = time.perf_counter() if begun is None else begun
        found = found or Found(tuple(page.url for page in pages), "given pages")
        now = self._clock()
        answered = {page.url: self._parser.samples(page.body) for page in pages if not page.error}
        self._memory.absorb(answered, now)
        if self._parser.crowded:
            self._parser.keep(self._memory.alive())
        if answered and self._memory.round % FORGET_ROUNDS == 0:
            self._forget({page.url for page in pages}, now)
        views = run_views(self._memory, self._rings, now)[:MOST_RUNS]
        verdicts = {view.run: self._hold.judge(view, now) for view in views}
        for view in views:
            self._remember(view, verdicts[view.run], now)
        self._snapshot = Snapshot(
            taken_at=now,
            taken_monotonic=time.monotonic(),
            runs=views,
            verdicts=verdicts,
            histories=self._histories(views),
            alerts=self._alerts(views, verdicts, now),
            targets=self._target_states(pages, now),
            source=self._source(found, views),
            data_age_seconds=min((v.data_age_seconds for v in views if v.data_age_seconds is not None), default=None),
            problem=_problem(found, pages, views),
            rounds=self._snapshot.rounds + 1,
            round_seconds=time.perf_counter() - begun,
        )
        return self._snapshot

    def _run(self) -> None:
        while not self._stop.is_set():
            begun = time.perf_counter()
            try:
                self.collect()
            except Exception:  # noqa: BLE001 - a viewer must outlive whatever a page makes of it
                _log.exception("a collection failed; the next one is tried")
                self._snapshot = replace(self._snapshot, problem="The collection failed; its error is in the log.")
            period = self._period if self._watched() else max(self._period, UNWATCHED_SECONDS)
            self._wake.wait(max(0.05, period - (time.perf_counter() - begun)))
            self._wake.clear()

    def _watched(self) -> bool:
        return time.monotonic() - self._looked_at < LEFT_SECONDS

    def _find(self) -> Found:
        if time.perf_counter() - self._found_at > TARGETS_SECONDS or not self._found.urls:
            found = self._targets.find()
            if found.urls or not self._found.urls:
                self._found = found
            self._found_at = time.perf_counter()
        return self._found

    def _forget(self, asked: Set[str], now: float) -> None:
        self._parser.keep(self._memory.forget(MOST_RUNS, now))
        forget_nodes(self._memory, asked, now)
        runs = self._memory.heard.keys()
        self._rings = {run: ring for run, ring in self._rings.items() if run in runs}
        self._hold.keep(runs)
        self._phases.keep(runs)

    def _remember(self, view: RunView, verdict: RunVerdict, now: float) -> None:
        if view.data_age_seconds is None or view.data_age_seconds > LIVE_SECONDS:
            return
        ring = self._rings.setdefault(view.run, Ring())
        doing = {judged.worker: judged.state for judged in verdict.workers}
        workers = {
            worker.worker: self._sample(view.run, worker, doing.get(worker.worker, "unknown"))
            for worker in view.workers
        }
        ring.add(now, _values(view), workers)

    def _sample(self, run: str, worker: WorkerView, state: str) -> WorkerSample:
        if state in ("stalled", "restarting", "dead", "given_up", "starting"):
            doing = state
        elif state == "unknown":
            doing = "absent"
        else:
            doing = self._phases.next(run, worker.worker, worker.phase_ratio) or worker.activity or "absent"
        steps, rss = worker.steps_per_second, worker.rss_bytes
        latency = worker.latency_seconds.get("p95", _NAN)
        return WorkerSample(_NAN if steps is None else steps, _NAN if rss is None else rss, latency, doing)

    def _histories(self, views: tuple[RunView, ...]) -> dict[str, RunHistory]:
        frozen = {view.run: self._rings[view.run].freeze() for view in views if view.run in self._rings}
        if self._prometheus is None:
            return frozen
        return {run: self._prometheus.extended(run, history) for run, history in frozen.items()}

    def _alerts(self, views: Sequence[RunView], verdicts: Mapping[str, RunVerdict], now: float) -> tuple[Alert, ...]:
        asked = self._prometheus
        if asked is not None and asked.has_rules() and asked.knows(view.run for view in views):
            return asked.alerts()
        return self._alarms.firing(views, verdicts, now)

    def _source(self, found: Found, views: Sequence[RunView]) -> str:
        asked = self._prometheus
        if asked is None or not (asked.answers() or self._prometheus_expected):
            return found.source
        if not asked.answers():
            told = f" (which does not answer: {asked.error})"
        elif not asked.has_rules():
            told = " (without raymon's rules: alerts are evaluated here)"
        elif views and not asked.knows(view.run for view in views):
            told = " (which has not scraped these runs: alerts are evaluated here)"
        else:
            told = ""
        return f"{found.source}, and Prometheus {asked.url}{told}"

    def _target_states(self, pages: Sequence[Page], now: float) -> tuple[TargetState, ...]:
        states = []
        for page in pages:
            node = self._memory.nodes.get(page.url)
            ago = now - node.answered_at if node else None
            states.append(TargetState(page.url, page.error, ago, len(page.body), page.seconds))
        return tuple(states)


def _values(view: RunView) -> Mapping[str, float | None]:
    store = view.store
    return {
        "steps_per_second": view.steps_per_second,
        "trained_steps_per_second": view.trained_steps_per_second,
        "trained_steps": view.trained_steps,
        "iteration_seconds": view.iteration_seconds,
        "updates_per_second": view.updates_per_second,
        "policy_lag_mean": view.policy_lag_mean,
        "policy_lag_max": view.policy_lag_max,
        "store_used_bytes": store.used_bytes,
        "store_spilled_bytes": store.spilled_bytes,
        "refs_held": store.refs_held,
        "refs_held_bytes": store.refs_held_bytes,
        "workers_up": view.workers_by_state.get("up"),
        "driver_rss_bytes": view.driver_rss_bytes,
        **{f"put_{kind}_bytes_per_second": rate for kind, rate in store.put_bytes_per_second.items()},
        **{f"phase_{phase}": view.phase_ratio.get(phase) for phase in DRIVER_PHASES},
        **view.learning,
    }


def _problem(found: Found, pages: Sequence[Page], views: Sequence[RunView]) -> str:
    """Say what keeps the collector from seeing a live run; empty when it sees one."""
    if found.problem:
        return found.problem
    failed = [page for page in pages if page.error]
    if pages and len(failed) == len(pages):
        first = failed[0]
        return f"No metrics endpoint answers ({first.url}: {first.error}): the cluster has ended or cannot be reached."
    if views:
        return ""
    if failed:
        return f"No run was seen; {len(failed)} of {len(pages)} endpoints do not answer ({failed[0].error})."
    if not any(b"\nray_" in page.body or page.body.startswith((b"# HELP", b"ray_")) for page in pages):
        return f"What answers at {pages[0].url} is not the metrics page of a Ray node." if pages else "No endpoint."
    return "Ray answers, but no run has recorded anything yet: start `raymon train`, or instrument your trainer."

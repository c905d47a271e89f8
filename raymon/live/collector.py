"""The background thread behind every viewer: one collection a second for all viewers, and fewer without any.

Runs in the process of the page or the terminal view, never in the job. N viewers cost one collection: they all read the
last `Snapshot`, which is immutable.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from raymon.health import Finding, RunVerdict, WorkerVerdict
from raymon.live.baseline import Baseline
from raymon.live.collection_problem import SLOW_SECONDS, collection_problem, source_sentence
from raymon.live.courtesy import Courtesy
from raymon.live.debounce import Debounce
from raymon.live.driver_view import LIVE_SECONDS
from raymon.live.history import Ring, WorkerSample
from raymon.live.local_alerts import LocalAlerts
from raymon.live.memory import Memory
from raymon.live.node_views import forget_nodes
from raymon.live.parse import Parser
from raymon.live.prometheus import Prometheus
from raymon.live.round import Round, parse_round
from raymon.live.runs import run_views
from raymon.live.scrape import Page, Scraper
from raymon.live.series import history_values
from raymon.live.shown_phase import ShownPhases
from raymon.live.silent_process_reader import SilentProcessReader
from raymon.live.silent_processes import process_requests, with_silent_processes
from raymon.live.snapshot import FiringAlert, RunHistory, Snapshot, TargetState
from raymon.live.targets import Endpoints, LocalTargets, NamedTargets, Targets
from raymon.views import RunView, WorkerView

TARGETS_SECONDS: Final = 5.0
UNWATCHED_SECONDS: Final = 3.0
"""Between two collections without a viewer: the history continues at a third of the cost."""
LEFT_SECONDS: Final = 10.0
"""There is no viewer if no snapshot was requested for this long."""
MOST_RUNS: Final = 64
FORGET_ROUNDS: Final = 60
MOST_CHARTED: Final = 1e30
"""The history of workers is kept in 32-bit numbers; a larger one is not known."""
_log = logging.getLogger(__name__)


class Collector:
    """Scrape the targets once a second, less often without a viewer; keep the last snapshot and a bounded history.

    Example:
        >>> collector = Collector(["10.0.0.5:8080"])
        >>> collector.start()  # doctest: +SKIP
        >>> collector.snapshot().runs  # doctest: +SKIP

    Args:
        targets: Metrics endpoints, or anything with `find()`; by default the newest Ray session on this machine,
            and while a run lasts the one that it is in.
        period_seconds: Between two collections while there is a viewer.
        prometheus_url: A Prometheus to take firing alerts and older history from; empty for none.
        prometheus_expected: Whether to say so when it does not answer; False where its address is only a default.
        clock: Returns wall-clock seconds.
        on_round: Called with every round before it is digested; it must not raise.
        watched: Whether to collect at the full rate although no snapshot is requested.
        courtesy: Whom the collection gives way to, so that a drawing need not share the interpreter with it.
        before_shown: Called with every snapshot before a viewer gets it; it must not raise.
    """

    def __init__(
        self,
        targets: Targets | Sequence[str] = (),
        period_seconds: float = 1.0,
        prometheus_url: str = "",
        prometheus_expected: bool = True,
        clock: Callable[[], float] = time.time,
        on_round: Callable[[Round], None] | None = None,
        watched: bool = False,
        courtesy: Courtesy | None = None,
        before_shown: Callable[[Snapshot], None] | None = None,
    ) -> None:
        if isinstance(targets, Sequence):
            targets = NamedTargets.of(targets) if targets else LocalTargets()
        self._targets: Targets = targets
        self._period = period_seconds
        self._clock = clock
        self._on_round, self._before_shown = on_round, before_shown
        self._always = watched
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._looked_at = time.monotonic()
        self._collecting_since: float | None = None
        self._thread: threading.Thread | None = None
        self._courtesy = courtesy or Courtesy()
        self._scraper, self._parser = Scraper(courtesy=self._courtesy), Parser()
        self._memory = Memory(courtesy=self._courtesy)
        self._rings: dict[str, Ring] = {}
        self._baseline, self._debounce = Baseline(self._courtesy), Debounce(self._courtesy)
        self._silent = SilentProcessReader()
        self._phases, self._alarms = ShownPhases(), LocalAlerts()
        self._prometheus = Prometheus(prometheus_url) if prometheus_url else None
        self._prometheus_expected = prometheus_expected
        self._endpoints, self._found_at = Endpoints(), float("-inf")
        now = clock()
        self._snapshot = Snapshot(
            taken_at=now,
            taken_monotonic=time.monotonic(),
            problem="The first collection has not ended yet.",
            problem_since=now,
        )

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
        self._silent.stop()
        if self._prometheus is not None:
            self._prometheus.stop()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def snapshot(self) -> Snapshot:
        """Return what is known now; never waits. A collection that hangs is reported as its problem."""
        if not self._watched():
            self._wake.set()
        self._looked_at = time.monotonic()
        snapshot, begun = self._snapshot, self._collecting_since
        if begun is None or (spent := time.monotonic() - begun) < SLOW_SECONDS:
            return snapshot
        problem = f"The collection has been running for {spent:.0f} s; the numbers are those before it."
        return replace(snapshot, problem=problem, problem_since=self._now() - spent)

    def latest(self) -> Snapshot:
        """Return the last snapshot without counting as a viewer."""
        return self._snapshot

    def collect(self) -> Snapshot:
        """Make one collection now, in the calling thread, and return its snapshot."""
        begun = time.perf_counter()
        endpoints = self._find()
        return self.digest(self._scraper.fetch(endpoints.urls), endpoints, begun)

    def digest(self, pages: Sequence[Page], endpoints: Endpoints | None = None, begun: float | None = None) -> Snapshot:
        """Process scraped pages and return the snapshot: a whole collection except for the requests."""
        begun = time.perf_counter() if begun is None else begun
        endpoints = endpoints or Endpoints(tuple(page.url for page in pages), "given pages")
        parsed = parse_round(self._courtesy.between(pages), endpoints, round(self._now(), 3), self._parser)
        before = self._snapshot
        seen = ((view, before.verdicts[view.run]) for view in before.runs)
        silent = process_requests(seen, self._memory.subjects)
        set_back = self._memory.clock.set_back_seconds
        known = self._silent.known(silent)
        parsed = replace(parsed, silent=known, losses=self._silent.losses(), set_back_seconds=set_back)
        if self._on_round is not None:
            self._on_round(parsed)
        return self.take(parsed, begun)

    def take(self, latest: Round, begun: float | None = None) -> Snapshot:
        """Take in a round that was parsed here or read from a recording, and return the snapshot."""
        begun = time.perf_counter() if begun is None else begun
        now, pages = latest.taken_at, latest.pages
        answered = {page.url: page.samples for page in pages if not page.error}
        self._memory.clock.made_up_for(latest.set_back_seconds)
        self._memory.absorb(answered, now)
        self._memory.asked({page.url: page.error for page in pages}, latest.endpoints.departures)
        if self._parser.crowded:
            self._parser.keep(self._memory.alive())
        if answered and self._memory.round % FORGET_ROUNDS == 0:
            self._forget(now)
        views = run_views(self._memory, self._rings, now)[:MOST_RUNS]
        views = tuple(self._compared(view, latest, now) for view in views)
        verdicts = {view.run: self._judge(view, now) for view in views}
        for view in views:
            self._remember(view, verdicts[view.run], now)
        spent = time.perf_counter() - begun
        problem = collection_problem(latest, views, spent)
        before = self._snapshot
        snapshot = Snapshot(
            taken_at=now,
            taken_monotonic=time.monotonic(),
            runs=views,
            verdicts=verdicts,
            histories=self._histories(views),
            alerts=self._alerts(views, verdicts, now),
            targets=self._target_states(latest, now),
            source=source_sentence(latest.endpoints.source, self._prometheus, self._prometheus_expected, views),
            data_age_seconds=min((v.data_age_seconds for v in views if v.data_age_seconds is not None), default=None),
            problem=problem,
            problem_since=(before.problem_since if before.problem else now) if problem else None,
            rounds=before.rounds + 1,
            round_seconds=spent,
        )
        if self._before_shown is not None:
            self._courtesy.give_way()
            self._before_shown(snapshot)
        self._snapshot = snapshot
        return snapshot

    def _now(self) -> float:
        """Return our wall-clock time, which never goes back."""
        return self._memory.clock.forward(self._clock())

    def _run(self) -> None:
        while not self._stop.is_set():
            begun = self._collecting_since = time.monotonic()
            try:
                self.collect()
            except Exception as error:  # noqa: BLE001  # a viewer must survive anything that a page contains
                _log.exception("a collection failed; the next one follows")
                self._failed(error)
            self._collecting_since = None
            period = self._period if self._watched() else max(self._period, UNWATCHED_SECONDS)
            self._wake.wait(max(0.05, period - (time.monotonic() - begun)))
            self._wake.clear()

    def _failed(self, error: Exception) -> None:
        before = self._snapshot
        since = before.problem_since if before.problem else self._now()
        problem = f"The collection failed ({type(error).__name__}; see the log): the numbers are those before it."
        self._snapshot = replace(before, problem=problem, problem_since=since)

    def _watched(self) -> bool:
        return self._always or time.monotonic() - self._looked_at < LEFT_SECONDS

    def _find(self) -> Endpoints:
        if time.perf_counter() - self._found_at > TARGETS_SECONDS or not self._endpoints.urls:
            if isinstance(self._targets, LocalTargets):  # another program may start Ray during a run
                self._targets.stay = any(_is_live(view) for view in self._snapshot.runs)
            endpoints = self._targets.find()
            if endpoints.urls or not self._endpoints.urls:
                self._endpoints = endpoints
            self._found_at = time.perf_counter()
        return self._endpoints

    def _forget(self, now: float) -> None:
        self._parser.keep(self._memory.forget(MOST_RUNS, now))
        forget_nodes(self._memory, now)
        runs = self._memory.heard.keys()
        self._rings = {run: ring for run, ring in self._rings.items() if run in runs}
        self._baseline.keep(runs)
        self._debounce.keep(runs)
        self._phases.keep(runs)

    def _compared(self, view: RunView, latest: Round, now: float) -> RunView:
        """Return a view with what is usual for its run and what its silent processes do; a bad run is one bad card."""
        try:
            view = replace(view, worker_losses=latest.losses.get(view.run, ()))
            return with_silent_processes(self._baseline.compare(view, now), latest.silent, now)
        except Exception as error:  # noqa: BLE001  # the numbers come from outside
            _log.warning("run %r cannot be compared", view.run, exc_info=True)
            return replace(view, problem=type(error).__name__)

    def _remember(self, view: RunView, verdict: RunVerdict, now: float) -> None:
        """Add a view of a live run to its history, which lacks one that cannot be added."""
        if view.data_age_seconds is None or view.data_age_seconds > LIVE_SECONDS:
            return
        try:
            self._add_sample(view, verdict, now)
        except Exception:  # noqa: BLE001  # likewise
            _log.warning("run %r cannot be remembered", view.run, exc_info=True)

    def _add_sample(self, view: RunView, verdict: RunVerdict, now: float) -> None:
        states = {judged.worker: judged.state for judged in verdict.workers}
        workers = {
            worker.worker: self._sample(view.run, worker, states.get(worker.worker, "unknown"))
            for worker in self._courtesy.between(view.workers)
        }
        self._rings.setdefault(view.run, Ring()).add(now, history_values(view), workers)

    def _judge(self, view: RunView, now: float) -> RunVerdict:
        """Return the verdict on a run; one that says so if its numbers cannot be judged, so that others still are."""
        problem = view.problem
        if not problem:
            try:
                return self._debounce.judge(view, now)
            except Exception as error:  # noqa: BLE001  # the numbers come from outside; a bad run is one bad card
                _log.warning("run %r cannot be judged", view.run, exc_info=True)
                problem = type(error).__name__
        sentence = f"The numbers of this run cannot be judged ({problem}): one of its processes exports nonsense."
        workers = tuple(WorkerVerdict(worker.worker, "unknown", "not judged") for worker in view.workers)
        return RunVerdict((Finding("unknown", "unknown", sentence),), workers)

    def _sample(self, run: str, worker: WorkerView, state: str) -> WorkerSample:
        if state in ("stalled", "restarting", "dead", "given_up", "starting"):
            doing = state
        elif state == "unknown":
            doing = "absent"
        else:
            doing = self._phases.next(run, worker.worker, worker.phase_ratio) or worker.activity or "absent"
        latency = worker.latency_seconds.get("p95")
        return WorkerSample(_charted(worker.steps_per_second), _charted(worker.rss_bytes), _charted(latency), doing)

    def _histories(self, views: tuple[RunView, ...]) -> dict[str, RunHistory]:
        frozen = {view.run: self._rings[view.run].freeze() for view in views if view.run in self._rings}
        if self._prometheus is None:
            return frozen
        return {run: self._prometheus.extended(run, history) for run, history in frozen.items()}

    def _alerts(
        self, views: Sequence[RunView], verdicts: Mapping[str, RunVerdict], now: float
    ) -> tuple[FiringAlert, ...]:
        prometheus = self._prometheus
        if prometheus is not None and prometheus.has_rules() and prometheus.knows(view.run for view in views):
            return prometheus.alerts()
        return self._alarms.firing(views, verdicts, now)

    def _target_states(self, latest: Round, now: float) -> tuple[TargetState, ...]:
        states = []
        for page in latest.pages:
            at = self._memory.nodes[page.url].answered_at
            states.append(TargetState(page.url, page.error, None if at is None else now - at, page.size, page.seconds))
        return tuple(states)


def _is_live(view: RunView) -> bool:
    """Return whether a run goes on; with long reports, its numbers may be as old as that."""
    age = view.data_age_seconds
    return not view.ended and age is not None and age < max(LIVE_SECONDS, 3.0 * (view.report_seconds or 0.0))


def _charted(value: float | None) -> float:
    return float("nan") if value is None or abs(value) > MOST_CHARTED else value

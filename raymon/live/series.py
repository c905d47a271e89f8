"""The series of a run's history, each declared once: how it is read from a view, which query has its past."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from raymon import catalog
from raymon.health.shares import no_signal_ratio, tail_ratio
from raymon.live.driver_view import LEARNING_TERMS
from raymon.views import RunView

Read = Callable[[RunView], float | None]


@dataclass(frozen=True, slots=True)
class HistorySeries:
    """One series of a run over time.

    Attributes:
        name: Its key in `RunHistory.values`.
        read: Returns its value at one moment; None while not known.
        query: Key of the query in `raymon.queries.BOOK` that yields it from Prometheus; empty for none.
    """

    name: str
    read: Read
    query: str = ""


def _learning(term: str) -> Read:
    return lambda view: view.learning.get(term)


def _phase(phase: str) -> Read:
    return lambda view: view.phase_ratio.get(phase)


def _put(kind: str) -> Read:
    return lambda view: view.store.put_bytes_per_second.get(kind)


def _flow_rate(direction: str) -> Read:
    return lambda view: view.flow.tokens_per_second.get(direction)


def _length(quantile: str) -> Read:
    return lambda view: view.flow.response_length.get(quantile)


_LEARNING_QUERIES: Final[Mapping[str, str]] = {
    "return_mean": "run.FLEET_RETURN",
    "kl": "learning.KL",
    "policy_entropy": "learning.ENTROPY",
    "clip_ratio": "learning.CLIP_RATIO",
    "explained_variance": "learning.EXPLAINED_VARIANCE",
    "gradient_norm": "learning.GRADIENT_NORM",
    "learning_rate": "learning.LEARNING_RATE",
}

HISTORY: Final = (
    HistorySeries("steps_per_second", lambda view: view.steps_per_second, "run.STEPS_PER_SECOND"),
    HistorySeries("trained_steps_per_second", lambda view: view.trained_steps_per_second),
    HistorySeries("trained_steps", lambda view: view.trained_steps),
    HistorySeries("iteration_seconds", lambda view: view.iteration_seconds),
    HistorySeries("updates_per_second", lambda view: view.updates_per_second),
    HistorySeries("policy_lag_mean", lambda view: view.policy_lag_mean),
    HistorySeries("policy_lag_max", lambda view: view.policy_lag_max),
    HistorySeries("store_used_bytes", lambda view: view.store.used_bytes),
    HistorySeries("store_spilled_bytes", lambda view: view.store.spilled_bytes),
    HistorySeries("refs_held", lambda view: view.store.refs_held),
    HistorySeries("refs_held_bytes", lambda view: view.store.refs_held_bytes),
    HistorySeries("workers_up", lambda view: view.workers_up),
    HistorySeries("driver_rss_bytes", lambda view: view.driver_rss_bytes),
    *(HistorySeries(f"tokens_{direction}", _flow_rate(direction)) for direction in ("in", "out")),
    *(HistorySeries(f"response_length_{name}", _length(name)) for name in ("p50", "p95", "p99")),
    HistorySeries("no_signal_ratio", lambda view: no_signal_ratio(view.flow)),
    HistorySeries("tail_ratio", lambda view: tail_ratio(view.flow)),
    HistorySeries("buffer_depth", lambda view: view.flow.buffer_depth),
    HistorySeries("weight_sync_seconds", lambda view: view.flow.weight_sync_seconds),
    *(HistorySeries(f"put_{kind}_bytes_per_second", _put(kind)) for kind in catalog.PUT_BYTES.values["kind"]),
    *(HistorySeries(f"phase_{phase}", _phase(phase)) for phase in catalog.PHASE_SECONDS.values["phase"]),
    *(HistorySeries(term, _learning(term), _LEARNING_QUERIES.get(term, "")) for term in LEARNING_TERMS),
)


def history_values(view: RunView) -> Mapping[str, float | None]:
    """Return the value of every series at the moment of the view."""
    return {series.name: series.read(view) for series in HISTORY}

"""The only module that talks to Ray's exporter: one metric object per family and process.

Runs in the flush thread or in `flush()`. It never imports Ray before the user's process has, and exports nothing while
Ray is not initialized.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final

from raymon import ray_internals
from raymon.catalog import Metric, ascii_label

_metrics: Final[dict[str, Any]] = {}


def ray_is_up() -> bool:
    """Return whether this process is connected to Ray, without importing it."""
    ray = sys.modules.get("ray")
    try:
        return bool(ray is not None and ray.is_initialized())
    except Exception:  # noqa: BLE001  # Ray is half imported or half shut down
        return False


def hand_over(metric: Metric, tags: Mapping[str, str], value: float) -> None:
    """Export an increase of a counter, the value of a gauge or one observation of a histogram.

    Raises:
        Exception: Whatever Ray raises; the caller counts the loss.
    """
    recorder = _metrics.get(metric.name)
    if recorder is None:
        recorder = _metrics[metric.name] = _create(metric)
    tags = {name: ascii_label(text) for name, text in tags.items()}
    if metric.kind == "counter":
        if value > 0:
            recorder.inc(value, tags=tags)
    elif metric.kind == "gauge":
        recorder.set(value, tags=tags)
    else:
        recorder.observe(value, tags=tags)


def start_at_zero(metric: Metric, tags: Mapping[str, str]) -> None:
    """Export a counter's series as 0, so that `increase()` sees its first event.

    See `ray_internals.record_zero`.
    """
    recorder = _metrics.get(metric.name)
    if recorder is None:
        recorder = _metrics[metric.name] = _create(metric)
    ray_internals.record_zero(recorder, {name: ascii_label(text) for name, text in tags.items()})


def _create(metric: Metric) -> Any:  # noqa: ANN401  # one of three classes of Ray, which is not annotated
    from ray.util import metrics

    if metric.kind == "histogram":
        return metrics.Histogram(metric.recorded_name, metric.help, list(metric.buckets), metric.all_labels)
    kinds = {"counter": metrics.Counter, "gauge": metrics.Gauge}
    return kinds[metric.kind](metric.recorded_name, metric.help, metric.all_labels)

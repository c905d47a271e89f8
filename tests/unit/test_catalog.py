"""The catalogue: every metric declared once, nothing wrong can be declared, nobody else spells a name."""

import copy
import pickle
import re
import subprocess

import pytest
from promql import stored_names
from support import ROOT

from raymon import catalog
from raymon.catalog import CatalogError, Metric

SENTENCE = "Something counted."

WRONG = {
    "a counter without _total": (("collisions", "counter", SENTENCE), {}),
    "a gauge with _total": (("collisions_total", "gauge", SENTENCE), {}),
    "an unknown kind": (("collisions", "summary", SENTENCE), {}),
    "capitals": (("Collisions", "gauge", SENTENCE), {}),
    "a dash": (("near-misses", "gauge", SENTENCE), {}),
    "two underscores": (("near__misses", "gauge", SENTENCE), {}),
    "seconds not in the name": (("wait", "gauge", SENTENCE, "seconds"), {}),
    "a ratio not in the name": (("share", "gauge", SENTENCE, "ratio"), {}),
    "an unknown unit": (("wait", "gauge", SENTENCE, "ms"), {}),
    "no full stop": (("wait", "gauge", "No sentence"), {}),
    "two lines": (("wait", "gauge", "One.\nTwo."), {}),
    "a histogram without buckets": (("wait_seconds", "histogram", SENTENCE, "seconds"), {}),
    "a gauge with buckets": (("wait", "gauge", SENTENCE), {"buckets": (1.0,)}),
    "buckets that fall": (("wait_seconds", "histogram", SENTENCE, "seconds"), {"buckets": (2.0, 1.0)}),
    "a bucket at zero": (("wait_seconds", "histogram", SENTENCE, "seconds"), {"buckets": (0.0, 1.0)}),
    "the label step": (("wait", "gauge", SENTENCE), {"labels": ("step",)}),
    "the label seed": (("wait", "gauge", SENTENCE), {"labels": ("seed",)}),
    "the label actor_id": (("wait", "gauge", SENTENCE), {"labels": ("actor_id",)}),
    "Ray's label WorkerId": (("wait", "gauge", SENTENCE), {"labels": ("WorkerId",)}),
    "the label run twice": (("wait", "gauge", SENTENCE), {"labels": ("run",)}),
    "a label twice": (("wait", "gauge", SENTENCE), {"labels": ("kind", "kind")}),
    "values of a label it lacks": (("wait", "gauge", SENTENCE), {"values": {"kind": ("a",)}}),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_declaration_is_refused_with_a_sentence(what):
    arguments, more = WRONG[what]
    with pytest.raises(CatalogError) as refused:
        Metric(*arguments, **more)
    assert len(str(refused.value).split()) > 5
    assert arguments[0] in str(refused.value)


def test_the_example_of_the_docs_is_accepted():
    metric = Metric("test_collisions_seen_total", "counter", "Collisions seen by the simulator.", labels=("kind",))
    assert metric.name == "ray_raymon_test_collisions_seen_total"
    assert metric.recorded_name == "raymon_test_collisions_seen_total"
    assert metric.all_labels == ("run", "worker", "kind")


def test_metrics_survive_copies_and_pickling():
    for metric in catalog.every():
        assert pickle.loads(pickle.dumps(metric)) == metric == copy.deepcopy(metric)


def test_a_name_has_one_declaration():
    first = Metric("test_twice_total", "counter", SENTENCE, labels=("room",))
    assert Metric("test_twice_total", "counter", SENTENCE, labels=("room",)) == first
    for more in ({}, {"labels": ("room",), "values": {"room": ("kitchen",)}}):
        with pytest.raises(CatalogError, match="test_twice_total is declared already, and differently"):
            Metric("test_twice_total", "counter", SENTENCE, **more)
    buckets = Metric("test_twice", "histogram", SENTENCE, buckets=(1.0, 2.0))
    with pytest.raises(CatalogError, match="take another name"):
        Metric("test_twice", "histogram", SENTENCE, buckets=(1.0, 2.0, 3.0))
    assert copy.deepcopy(buckets) == buckets
    for mine in (("env_steps_total", "counter"), ("loss", "gauge")):
        with pytest.raises(CatalogError, match="is one of raymon's own families"):
            Metric(*mine, "Mine.")


def test_names_are_unique_also_as_prometheus_stores_histograms():
    names = [name for metric in catalog.every() for name in stored_names(metric)]
    assert len(names) == len(set(names))


def test_labels_have_enumerated_or_bounded_values():
    free = {(metric.name, label) for metric in catalog.every() for label in metric.labels if label not in metric.values}
    bounded = {(catalog.RUN_INFO.name, label) for label in catalog.RUN_INFO.labels}
    bounded |= {(catalog.WORKER_TROUBLE.name, "worker"), (catalog.WORKER_RESTARTS.name, "worker")}
    bounded |= {(catalog.ROLLOUT_FAILURES.name, "exception")}
    assert free == bounded


def test_series_stay_within_the_budget():
    for role, budget in catalog.SERIES_BUDGET.items():
        assert catalog.series_of(role) <= budget


def test_times_are_timestamps_and_no_metric_is_a_rate_or_age():
    for metric in catalog.every():
        assert not re.search(
            r"per_second|_rate$|_age|since|_count$|_sum$|_ms|percent", metric.name.replace("learning_rate", "")
        )
        assert (metric.unit == "timestamp") == metric.name.endswith("_timestamp_seconds")


def test_promtool_finds_nothing_to_say_about_our_families():
    lines = []
    for metric in catalog.every():
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
        labels = ",".join(f'{label}="{metric.values.get(label, ("0",))[0]}"' for label in metric.all_labels)
        if metric.kind == "histogram":
            lines += [f'{metric.name}_bucket{{{labels},le="+Inf"}} 1', f"{metric.name}_sum{{{labels}}} 1"]
            lines += [f"{metric.name}_count{{{labels}}} 1"]
        else:
            lines.append(f"{metric.name}{{{labels}}} 1")
    page = "\n".join(lines) + "\n"
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    # Quantiles over a sliding window are gauges, computed in the worker: Ray has no summaries.
    quantiles = (catalog.RESPONSE_LENGTH, catalog.ROLLOUT_LATENCY)
    agreed = [f'{metric.name} non-summary metrics should not have "quantile" label' for metric in quantiles]
    assert sorted(checked.stderr.splitlines()) == agreed


GENERATED = {"dashboards", "prometheus", "docs"}


def test_metric_names_are_spelled_only_in_the_catalogue():
    stray = []
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in tracked.stdout.split():
        path = ROOT / name
        if path.suffix not in (".py", ".yml", ".yaml", ".toml", ".cfg", ".sh") or name == "raymon/catalog.py":
            continue
        if name.split("/")[0] in GENERATED and is_generated(path):
            continue
        text = path.read_text(errors="replace")
        stray += [f"{name}: {family}" for family in re.findall(rf"{catalog.PREFIX}[a-z]\w*", text) if is_name(family)]
    assert not stray, f"take the name from the catalogue: {stray}"


def is_name(name):
    return any(name.startswith(stored) for metric in catalog.every() for stored in stored_names(metric))


def is_generated(path):
    return "by python -m generate" in path.read_text(errors="replace")[:200]

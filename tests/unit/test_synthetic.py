"""The synthetic cluster: its pages look like those of a real one."""

import re
import time

from prometheus_client.parser import text_string_to_metric_families
from promql import stored_names
from synthetic import Page, fleet

from raymon import catalog

# Lines as Ray 2.60 writes them, taken from a node's page.
REAL = (
    'ray_x_total{Component="core_worker",NodeAddress="192.0.2.2",SessionName="session_2026-11-23_00-45-26_535015_9269",'
    'Version="2.60.0",WorkerId="8dde2624d90f0bb9b82c2a33c5c0ecb4bdb07f6ae851d0e7b29ba00b",'
    'otel_scope_name="ray._private.telemetry.open_telemetry_metric_recorder",otel_scope_schema_url="",'
    'otel_scope_version="",run="r",worker="0"} 100.0'
)


def samples_of(nodes, now):
    return [
        sample
        for node in nodes
        for family in text_string_to_metric_families(Page(node).render(now))
        for sample in family.samples
    ]


def test_a_line_has_the_labels_of_rays_in_their_order():
    (node,) = fleet(workers=1, nodes=1, runs=1)
    lines = Page(node).render(time.time()).splitlines()
    ours = next(line for line in lines if line.startswith(catalog.ENV_STEPS.name))
    assert re.findall(r"(\w+)=", ours) == re.findall(r"(\w+)=", REAL)
    assert re.fullmatch(r".*\} [\d.e+]+", ours)


def test_every_family_is_there_and_counters_grow():
    nodes = fleet(workers=4, nodes=2, runs=1)
    now = time.time()
    before, after = (
        {(s.name, *sorted(s.labels.items())): s.value for s in samples_of(nodes, t)} for t in (now, now + 60)
    )
    assert before.keys() == after.keys()
    names = {name for name, *_ in before}
    # Families of language models are not among the synthetic ones: their runs look otherwise.
    every = [metric for metric in catalog.every() if metric.source != "flow"]
    assert {name for metric in every for name in stored_names(metric)} <= names
    assert all(after[key] >= value for key, value in before.items() if key[0].endswith("_total"))


def test_faults_show_as_they_do_in_ray():
    nodes = fleet(workers=4, nodes=1, runs=1, faults={0: "dead", 1: "stopped", 2: "stalled", 3: "slow"})
    now = time.time()
    samples = samples_of(nodes, now)

    def of(metric, worker):
        return [s.value for s in samples if s.name == metric.name and s.labels.get("worker") == worker]

    assert not of(catalog.HEARTBEAT, "0")
    assert of(catalog.ENV_STEPS, "0")
    assert now - of(catalog.HEARTBEAT, "1")[0] > 60
    assert now - of(catalog.HEARTBEAT, "2")[0] < 2
    assert now - of(catalog.PROGRESS, "2")[0] > 60
    assert of(catalog.ENV_STEPS, "3")[0] < 0.2 * 3600 * 1000

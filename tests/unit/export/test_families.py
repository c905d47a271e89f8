"""The verdicts as families: one series for what holds now, enumerated labels, nothing from an old snapshot."""

import time
from dataclasses import replace

import health_views
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from raymon import catalog
from raymon.export.families import MOST_AGE_SECONDS, Verdicts
from raymon.health import SEVERITIES, WORKER_SEVERITIES, WORKER_STATES
from raymon.queries.verdicts import LEVELS


def served(snapshot):
    """Return the samples that Prometheus would read, as family -> labels."""
    registry = CollectorRegistry()
    registry.register(Verdicts(lambda: snapshot))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {family.name: [sample.labels for sample in family.samples] for family in families}


def stalled():
    return health_views.run(health_views.worker("0"), health_views.worker("1", heartbeat_age_seconds=60.0))


def test_verdict_and_worker_states_are_series():
    snapshot = health_views.snapshot_of(stalled())
    verdict = snapshot.verdicts["r"]
    samples = served(snapshot)
    assert samples[catalog.RUN_VERDICT.name] == [{"run": "r", "code": verdict.state, "severity": verdict.severity}]
    states = {sample["worker"]: (sample["state"], sample["severity"]) for sample in samples[catalog.WORKER_STATE.name]}
    assert states["1"] == ("stalled", "critical")
    assert states["0"] == ("running", "ok")
    codes = [sample["code"] for sample in samples[catalog.RUN_FINDING.name]]
    assert codes == list(dict.fromkeys(finding.code for finding in verdict.findings))
    for family in catalog.of("export"):
        assert all(set(sample) == set(family.all_labels) for sample in samples[family.name])


def test_runs_are_named_as_in_rays_exporter():
    samples = served(health_views.snapshot_of(replace(stalled(), run="café")))
    assert {sample["run"] for family in samples.values() for sample in family} == {"caf%C3%A9"}


def test_old_snapshot_has_no_series():
    snapshot = replace(health_views.snapshot_of(stalled()), taken_monotonic=time.monotonic() - MOST_AGE_SECONDS - 1.0)
    assert not any(served(snapshot).values())


def test_every_worker_state_has_a_severity():
    assert set(WORKER_SEVERITIES) == set(WORKER_STATES)
    assert set(WORKER_SEVERITIES.values()) <= set(SEVERITIES) == set(LEVELS)

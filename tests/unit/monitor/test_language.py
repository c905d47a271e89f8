"""Roles, phases and flows of training language models, and that a run without them exports none of them."""

import re
from types import SimpleNamespace

import pytest
from support import ROOT

import raymon
from raymon import catalog


def exported(monitor):
    """Return family and labels -> value of what the next flush hands over."""
    monitor._collect()
    taken = monitor.accumulator.take()
    return {key: more for key, _, more in taken.increases} | dict(taken.values)


def test_flows_are_counted_by_a_rollout_worker():
    monitor = raymon.Monitor(worker=0, run="language", role="rollout")
    with monitor.rollout("generate"):
        monitor.responses([10, 20, 30, 40], prompt_tokens=8, truncated=1, aborted=1)
    monitor.groups(4, without_signal=1)
    monitor.weights_synced(0.5, 1000)
    series = exported(monitor)
    assert series[catalog.TOKENS.name, ("in",)] == 8
    assert series[catalog.TOKENS.name, ("out",)] == 100
    assert [series[catalog.RESPONSES.name, (end,)] for end in ("complete", "truncated", "aborted")] == [2, 1, 1]
    assert series[catalog.RESPONSE_LENGTH.name, ("0.99",)] == pytest.approx(40, rel=0.02)
    assert (series[catalog.GROUPS.name, ("yes",)], series[catalog.GROUPS.name, ("no",)]) == (3, 1)
    assert series[catalog.WEIGHT_SYNC_BYTES.name, ()] == 1000
    assert series[catalog.ROLE.name, ("rollout",)] == 1.0
    assert series[catalog.WORKER_PHASE.name, ("generate",)] > 0
    # Of four responses one is the tail: from 30 tokens on, only it is running.
    assert [series[catalog.GENERATION_LENGTH.name, (part,)] for part in ("body", "tail")] == [30, 10]
    assert series[catalog.TAIL_RESPONSES.name, ()] == 1
    assert 0 < series[catalog.GENERATION_SECONDS.name, ()] <= series[catalog.WORKER_PHASE.name, ("generate",)]
    assert (catalog.WORKER_PHASE.name, ("train",)) not in series
    assert monitor._dropped.total == 0


def test_batches_too_small_to_have_a_tail_count_their_length_alone():
    monitor = raymon.Monitor(worker=0, run="language", role="rollout")
    monitor.responses([50])
    monitor.responses([10, 20, 30])
    monitor.responses([])
    series = exported(monitor)
    assert series[catalog.GENERATION_LENGTH.name, ("body",)] == 80
    assert (catalog.GENERATION_LENGTH.name, ("tail",)) not in series
    assert (catalog.TAIL_RESPONSES.name, ()) not in series
    assert monitor._dropped.total == 0


def test_an_environment_worker_exports_nothing_of_language_models():
    series = exported(raymon.Monitor(worker=0, run="language"))
    assert len(series) <= catalog.SERIES_BUDGET["worker"]
    names = {metric.name for metric in catalog.of("flow")}
    assert not {name for name, _ in series} & names
    assert not {value for _, values in series for value in values} & set(catalog.LANGUAGE_PHASES)


def test_a_driver_records_the_phases_and_the_buffer():
    driver = raymon.DriverMonitor("language", algorithm="GRPO")
    with driver.iteration(), driver.phase("advantage"):
        driver.buffer(5, capacity=8, oldest_seconds=2.0)
    series = exported(driver)
    assert (series[catalog.BUFFER_DEPTH.name, ()], series[catalog.BUFFER_CAPACITY.name, ()]) == (5, 8)
    assert series[catalog.PHASE_SECONDS.name, ("advantage",)] > 0
    driver.buffer(0)
    assert exported(driver)[catalog.BUFFER_OLDEST.name, ()] == 0.0


def test_trained_tokens_add_up_unless_the_driver_says_its_progress():
    driver = raymon.DriverMonitor("language", algorithm="GRPO")
    driver.trained(1, 300)
    driver.trained(1, 200)
    assert exported(driver)[catalog.TRAINED_STEPS.name, ()] == 500
    driver.progress(7, 9)
    driver.trained(1, 200)
    assert exported(driver)[catalog.TRAINED_STEPS.name, ()] == 7


def test_an_unknown_role_is_refused():
    with pytest.raises(ValueError, match="expected one of env, rollout"):
        raymon.Monitor(role="actor")
    with pytest.raises(ValueError, match="found role 'actor'"):
        raymon.instrument(rollout="sample", role="actor")


def test_driver_of_the_guide_records_what_verdicts_need():
    """The lines that a reader copies, run with stand-ins for the reader's own functions."""
    text = (ROOT / "docs" / "language-models.md").read_text()
    block = next(code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "DriverMonitor" in code)
    batch = SimpleNamespace(rank=0, seconds=1.0, tokens=100, version=0, rewards=[0.5], lengths=[8])
    names = {
        "raymon": raymon,
        "ray": SimpleNamespace(get=lambda reference: reference),
        "trainer": SimpleNamespace(train=SimpleNamespace(remote=lambda batch: 0.25)),
        "updates": 2,
        "next_batch": lambda: batch,
        "send_weights": lambda version: None,
    }
    exec(block, names)
    driver = names["driver"]
    series = exported(driver)
    assert series[catalog.LEARNER_VERSION.name, ()] == 2
    assert series[catalog.RUN_STATE.name, ("finished",)] == 1
    assert series[catalog.FLEET_RETURN.name, ("mean",)] == 0.5
    assert driver._dropped.total == 0

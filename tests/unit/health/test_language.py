"""Verdicts on runs that train a language model, from numbers."""

import dataclasses

import pytest
from health_views import worker
from language_views import CASES, EARLIER, GENERATES, LONG_TAIL, flow, reward, rollout, trains

from raymon.health import judge, judge_workers
from raymon.views import NodeView


@pytest.mark.parametrize("what", CASES)
def test_a_run_is_judged(what):
    view, state, severity = CASES[what]
    verdict = judge(view)
    assert (verdict.state, verdict.severity) == (state, severity), verdict.sentence
    assert "{" not in verdict.advice
    assert bool(verdict.advice) == (state != "healthy")


def test_the_tail_is_said_with_its_share_and_who_drew_long_responses():
    workers = (rollout("0"), rollout("1"), rollout("2", 0.0011, mean_rollout_seconds=5.0), reward())
    view = trains(*workers, sampler="sync", phase_ratio=GENERATES, flow=LONG_TAIL)
    verdict = judge(view)
    assert verdict.sentence == (
        "The last 3.0 % of the responses take 42 % of the step; worker 2 is not slow, it drew long ones; this costs "
        "42 % of the throughput (2,897 of 6,897 tokens/s)."
    )
    assert verdict.advice == (
        "Limit the response length (`data.max_response_length`), resume long responses in the next step "
        "(`async_training.partial_rollout`), or train while the last ones are generated "
        "(`verl.experimental.fully_async_policy`)."
    )


@pytest.mark.parametrize(
    ("view", "code", "ratio", "end"),
    [
        (
            CASES["no signal"][0],
            "no_learning_signal",
            62 / 64,
            "they train nothing; this costs 97 % of the throughput (3,875 of 4,000 tokens/s).",
        ),
        (
            CASES["stale weights whose responses are dropped"][0],
            "weights_stale",
            0.5,
            "50 % of the batches are dropped as stale; this costs 50 % of the throughput (2,000 of 4,000 tokens/s).",
        ),
        (
            trains(rollout(), worker("5", role="trainer", phase_ratio={"train": 0.3}), phase_ratio={}),
            "trainer_starved",
            0.7,
            "this costs 70 % of the throughput (9,333 of 13,333 tokens/s).",
        ),
        (
            trains(
                rollout(phase_ratio={"generate": 0.6, "waiting": 0.4}),
                flow=flow(buffer_depth=64.0, buffer_capacity=64.0),
            ),
            "buffer_overfull",
            0.4,
            "this costs 40 % of the throughput (2,667 of 6,667 tokens/s).",
        ),
    ],
)
def test_what_is_lost_is_said(view, code, ratio, end):
    finding = judge(dataclasses.replace(view, steps_per_second=0.0)).findings[0]
    assert (finding.code, finding.cost_ratio) == (code, pytest.approx(ratio))
    assert finding.sentence.endswith(end)


def test_generation_is_no_limit_while_no_rollout_worker_generates():
    """In the first seconds the driver has waited all the time, and the rollout workers have exported nothing yet."""
    begins = {"sampler": "sync", "phase_ratio": {"generate": 1.0}}
    idle, busy = rollout("0", phase_ratio={"generate": 0.001}), rollout("1")
    assert judge(trains(idle, rollout("1", phase_ratio={"generate": 0.002}), **begins)).state == "healthy"
    assert judge(trains(idle, busy, **begins)).state == "generation_bound"
    assert (
        judge(trains(idle, worker("5", role="trainer", phase_ratio={"train": 0.0}), phase_ratio={})).state == "healthy"
    )


def test_workers_are_compared_within_their_role():
    """A reward worker whose calls are long is no straggler among rollout workers."""
    slow_reward = reward("8", mean_rollout_seconds=50.0, step_seconds=None)
    states = {
        verdict.worker: verdict.state for verdict in judge_workers(trains(rollout("0"), rollout("1"), slow_reward))
    }
    assert states == {"0": "running", "1": "running", "8": "running"}
    rewards = [reward(str(number), mean_rollout_seconds=5.0 if number == 9 else 1.0) for number in range(6, 10)]
    verdicts = {verdict.worker: verdict for verdict in judge_workers(trains(rollout("0"), rollout("1"), *rewards))}
    assert [name for name, verdict in verdicts.items() if verdict.state == "slow"] == ["9"]


@pytest.mark.parametrize("engine", ["verl", "openrlhf", "skyrl", "nemo_rl", "slime", "custom"])
def test_advice_names_the_options_of_the_trainer(engine):
    option = {
        "verl": " (`algorithm.filter_groups.enable`)",
        "openrlhf": " (`--algo.dynamic_filtering_enable`)",
        "skyrl": " (`trainer.algorithm.dynamic_sampling.type`)",
        "nemo_rl": " (`grpo.use_dynamic_sampling`)",
        "slime": " (`--dynamic-sampling-filter-path`)",
        "custom": "",
    }[engine]
    verdict = judge(trains(flow=flow(groups={"yes": 2.0, "no": 62.0}), engine=engine))
    assert verdict.advice.endswith(f"Groups without a signal can be left out{option}.")


@pytest.mark.parametrize(
    ("engine", "advice"),
    [
        ("openrlhf", "less often, in larger pieces, or over a faster path (`--vllm.sync_backend`)."),
        ("slime", "(`--update-weight-buffer-size`), or over a faster path (`--update-weight-transport`)."),
    ],
)
def test_backend_of_synchronizations_is_no_size_of_their_pieces(engine, advice):
    phases = {"generate": 0.4, "train": 0.3, "weight_sync": 0.3}
    assert judge(trains(phase_ratio=phases, engine=engine)).advice.endswith(advice)


def collapses(**more):
    fields = {"steps_per_second": 0.0, "flow": flow(tokens_per_second={"out": 400.0}), **more}
    codes = [finding.code for finding in judge(trains(usual_tokens_per_second=1000.0, **fields)).findings]
    return "throughput_collapsed" in codes


def test_a_collapse_of_generation_is_said_in_tokens():
    verdict = judge(trains(steps_per_second=0.0, usual_tokens_per_second=10_000.0))
    assert "Throughput fell to 4k tokens/s (normally 10k)." in verdict.evidence
    assert collapses()
    assert collapses(sampler="sync", iteration_seconds=2.0)
    assert not collapses(flow=flow(tokens_per_second={"out": 600.0}))
    assert not collapses(sampler="sync", iteration_seconds=60.0), "generation comes and goes with each iteration"


def test_lengths_say_nothing_about_the_noise_of_time_per_token():
    """Latencies spread by a factor of thirty; the first windows already show that a worker is slow."""
    latency = {"p50": 1.0, "p95": 10.0, "p99": 30.0}
    costs = {"0": 0.001, "1": 0.001, "2": 0.001, "3": 0.0021}
    workers = [rollout(name, cost, latency_seconds=latency, rollouts_per_second=0.2) for name, cost in costs.items()]
    earlier = ({**costs, "3": 0.0014}, *({**costs, "3": 0.001} for _ in range(4)))  # the change is within a window
    states = [worker.state for worker in judge_workers(trains(*workers, earlier_step_seconds=earlier))]
    assert states == ["running", "running", "running", "slow"]


def test_rollouts_are_not_compared_with_tokens():
    """A worker whose batch takes minutes has no cost per token lately."""
    long = rollout("1", None, unit="step", mean_rollout_seconds=58.0, rollout_steps=0.0)
    view = trains(rollout("0"), long, rollout("2"), reward(), earlier_step_seconds=EARLIER)
    assert {worker.state for worker in judge_workers(view)} <= {"running", "waiting"}


@pytest.mark.parametrize(("cpu", "state"), [(0.6, "slow"), (0.99, "running")])
def test_batches_on_full_cores_differ_too_much_for_a_factor_of_two(cpu, state):
    costs = {"0": 0.001, "1": 0.0026}
    workers = [rollout(name, cost) for name, cost in costs.items()]
    earlier = (costs, costs, *({**costs, "1": 0.001} for _ in range(4)))
    view = trains(*workers, earlier_step_seconds=earlier, node_cpu_ratio={"10.0.0.1": cpu})
    assert [worker.state for worker in judge_workers(view)] == ["running", state]


@pytest.mark.parametrize(
    ("cpu", "waits", "state"),
    [
        pytest.param(0.99, 0.8, "running", id="without waiting it would be no slower"),
        pytest.param(0.99, 0.1, "slow", id="it waits little: it is slow itself"),
        pytest.param(0.5, 0.8, "slow", id="its node has cores left: something is wrong with its share"),
    ],
)
def test_a_worker_that_waits_for_cores_of_a_full_node_is_not_slow(cpu, waits, state):
    costs = {"0": 0.001, "1": 0.004}
    workers = [rollout("0", 0.001), rollout("1", 0.004, cpu_wait_ratio=waits)]
    earlier = (costs, costs, *({**costs, "1": 0.001} for _ in range(4)))
    node = NodeView("http://10.0.0.1:1", "10.0.0.1", workers=("0", "1"), cpu_ratio=cpu)
    view = trains(*workers, earlier_step_seconds=earlier, nodes=(node,), node_cpu_ratio={"10.0.0.1": cpu})
    verdict = judge_workers(view)[1]
    assert verdict.state == state
    assert ("it waits for a CPU core for 80 % of that" in verdict.reason) == (state == "slow" and waits == 0.8)


def test_what_is_left_of_a_worker_that_hardly_gets_a_core_says_nothing():
    costs = {"0": 0.001, "1": 0.0047}
    workers = [rollout("0", 0.001, cpu_wait_ratio=0.8), rollout("1", 0.0047, cpu_wait_ratio=0.86)]
    earlier = (costs, costs, *({**costs, "1": 0.001} for _ in range(4)))
    node = NodeView("http://10.0.0.1:1", "10.0.0.1", workers=("0", "1"), cpu_ratio=1.0)
    view = trains(*workers, earlier_step_seconds=earlier, nodes=(node,), node_cpu_ratio={"10.0.0.1": 1.0})
    assert judge_workers(view)[1].state == "running"


def test_a_worker_that_waits_for_cores_is_remarked_on():
    node = NodeView("http://10.0.0.1:1", "10.0.0.1", workers=("0", "1"), cpu_ratio=0.9)
    view = trains(rollout("0"), rollout("1", cpu_wait_ratio=0.75), earlier_step_seconds=EARLIER, nodes=(node,))
    (remark,) = [finding for finding in judge(view).findings if finding.code == "worker_starved"]
    assert remark.sentence == (
        "Worker 1 waits for a CPU core for 75 % of the generation: other processes have the cores of node 10.0.0.1 "
        "(90 % used)."
    )

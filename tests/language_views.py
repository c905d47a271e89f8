"""Views of runs that train a language model, for tests of verdicts and of what is drawn."""

import dataclasses

from health_views import run, worker

from raymon.views import FlowView

GENERATING = {"generate": 0.95}
FLOW = FlowView(
    tokens_per_second={"in": 400.0, "out": 4000.0},
    response_length={"p50": 100.0, "p99": 400.0},
    generated_per_second={"body": 90.0, "tail": 10.0},
    tail_responses_ratio=0.03,
    groups={"yes": 60.0, "no": 4.0},
)


def rollout(name="0", cost=0.001, **more):
    fields = {
        "role": "rollout",
        "unit": "token",
        "step_seconds": cost,
        "mean_rollout_seconds": 2.0,
        "steps_per_second": 0.0,
        "phase_ratio": GENERATING,
        "flow": FLOW,
        **more,
    }
    return worker(name, **fields)


def reward(name="8", busy=0.3, **more):
    fields = {"role": "reward", "rollouts_total": 0.0, "rollouts_per_second": 0.0, "steps_per_second": 0.0, **more}
    return worker(name, 0.5, phase_ratio={"reward": busy}, **fields)


def trains(*workers, flow=FLOW, **more):
    fields = {"phase_ratio": {"sample": 0.4, "train": 0.4, "other": 0.2}, "sampler": "async", "engine": "verl", **more}
    return run(*(workers or (rollout("0"), rollout("1"), rollout("2"), reward())), flow=flow, **fields)


def flow(**more):
    return dataclasses.replace(FLOW, **more)


LONG_TAIL = flow(generated_per_second={"body": 40.0, "tail": 60.0})
GENERATES = {"generate": 0.7, "train": 0.2, "other": 0.1}
EARLIER = ({"0": 0.00101, "1": 0.00099, "2": 0.0025}, {"0": 0.001, "1": 0.00102, "2": 0.00255})
"""Costs of the batches before, of the view with a slow rollout worker."""
STARVED = {"sample": 0.7, "train": 0.2, "other": 0.1}
CASES = {
    "healthy": (trains(), "healthy", "ok"),
    "generation": (trains(sampler="sync", phase_ratio=GENERATES), "generation_bound", "info"),
    "tail": (trains(sampler="sync", phase_ratio=GENERATES, flow=LONG_TAIL), "tail_bound", "info"),
    "tail of a short generation": (
        trains(sampler="sync", phase_ratio={"generate": 0.45, "train": 0.4}, flow=LONG_TAIL),
        "tail_bound",
        "info",
    ),
    "starved": (trains(phase_ratio=STARVED), "trainer_starved", "info"),
    "starved by the tail": (trains(phase_ratio=STARVED, flow=LONG_TAIL), "tail_bound", "info"),
    "starved by rewards": (
        trains(rollout(phase_ratio={"generate": 0.3}), reward(busy=0.97), phase_ratio=STARVED),
        "reward_bound",
        "info",
    ),
    "rewards in the rollout workers": (
        trains(rollout(phase_ratio={"generate": 0.3, "reward": 0.6}), phase_ratio=STARVED),
        "reward_bound",
        "info",
    ),
    "reward": (
        trains(
            rollout(phase_ratio={"generate": 0.3}),
            reward(busy=0.5),
            phase_ratio={"generate": 0.3, "reward": 0.5, "train": 0.2},
        ),
        "reward_bound",
        "info",
    ),
    "rewards that wait for responses": (
        trains(phase_ratio={"generate": 0.1, "reward": 0.7, "train": 0.2}),
        "trainer_starved",
        "info",
    ),
    "reference": (trains(phase_ratio={"generate": 0.3, "reference": 0.5, "train": 0.2}), "reference_bound", "info"),
    "advantage": (trains(phase_ratio={"generate": 0.3, "advantage": 0.5, "train": 0.2}), "advantage_bound", "info"),
    "training": (trains(phase_ratio={"sample": 0.1, "train": 0.8, "other": 0.1}), "learner_bound", "info"),
    "weights": (trains(phase_ratio={"generate": 0.4, "train": 0.3, "weight_sync": 0.3}), "weight_sync_bound", "info"),
    "trainer without phases of the driver": (
        trains(rollout(), worker("5", role="trainer", phase_ratio={"train": 0.3}), phase_ratio={}),
        "trainer_starved",
        "info",
    ),
    "busy trainer without phases of the driver": (
        trains(rollout(), worker("5", role="trainer", phase_ratio={"train": 0.95}), phase_ratio={}),
        "learner_bound",
        "info",
    ),
    "full buffer": (trains(flow=flow(buffer_depth=64.0, buffer_capacity=64.0)), "buffer_overfull", "info"),
    "buffer in use": (trains(flow=flow(buffer_depth=50.0, buffer_capacity=64.0)), "healthy", "ok"),
    "growing buffer": (
        trains(flow=flow(buffer_depth=900.0, buffer_growth_per_second=9.0, buffer_oldest_age_seconds=90.0)),
        "buffer_overfull",
        "warning",
    ),
    "buffer that fills": (
        trains(flow=flow(buffer_depth=90.0, buffer_growth_per_second=9.0, buffer_oldest_age_seconds=9.0)),
        "healthy",
        "ok",
    ),
    "no signal": (trains(flow=flow(groups={"yes": 2.0, "no": 62.0})), "no_learning_signal", "warning"),
    "few groups": (trains(flow=flow(groups={"yes": 0.0, "no": 8.0})), "healthy", "ok"),
    "stale weights": (trains(rollout("0", policy_lag=30.0), rollout("1", policy_lag=31.0)), "weights_stale", "warning"),
    "stale weights whose responses are dropped": (
        trains(
            rollout("0", policy_lag=7.0),
            rollout("1", policy_lag=7.0),
            dropped_per_second={"stale": 0.5},
            received_per_second=1.0,
        ),
        "weights_stale",
        "warning",
    ),
    "stale responses of workers with new weights": (
        trains(rollout("0", policy_lag=1.0), rollout("1"), dropped_per_second={"stale": 0.5}, received_per_second=1.0),
        "samples_dropped",
        "warning",
    ),
    "weights that are exported before several quick updates": (
        trains(rollout("0", policy_lag=9.0), rollout("1"), iteration_seconds=0.25, report_seconds=1.0),
        "healthy",
        "ok",
    ),
    "bounded staleness": (trains(rollout("0", policy_lag=8.0), rollout("1", policy_lag=7.0)), "healthy", "ok"),
    "no synchronization": (
        trains(flow=flow(updates_since_sync=20.0, updates_between_syncs=2.0)),
        "weights_stale",
        "warning",
    ),
    "rare synchronizations": (trains(flow=flow(updates_since_sync=20.0, updates_between_syncs=16.0)), "healthy", "ok"),
    "slow rollout worker": (
        trains(rollout("0"), rollout("1"), rollout("2", 0.0025), reward(), earlier_step_seconds=EARLIER),
        "straggler_bound",
        "warning",
    ),
}

"""What a run has shown to be normal, and the verdicts that follow from it."""

import dataclasses

from health_views import run, worker

from raymon.health import judge_workers
from raymon.live.baseline import Baseline


def watch(views):
    baseline, view = Baseline(), None
    for second, taken in enumerate(views):
        view = baseline.compare(taken, float(second))
    return view


def test_pauses_that_workers_come_back_from_raise_the_limit():
    ages = [*range(13), 0, *range(13), 0]
    view = watch([run(worker(stuck_seconds=age + 0.5), worker("1")) for age in (*ages, *([0] * 20), 10)])
    assert view.long_pause_seconds == 12.0
    assert judge_workers(view)[0].state == "running", "two pauses of 12 s were survived: 10 s are nothing unusual"
    fresh = dataclasses.replace(view, long_pause_seconds=None)
    assert judge_workers(fresh)[0].state == "stalled"


def test_unusual_silence_is_suspect_before_it_is_an_alarm():
    pause = {"latency_seconds": {"p50": 0.2, "p99": 0.2}, "mean_rollout_seconds": 0.2}
    verdict = judge_workers(run(worker(stuck_seconds=4.9, **pause), watched_seconds=60.0))[0]
    assert (verdict.state, verdict.reason) == ("suspect", "no step for 4.9 s, its longest pause was 200 ms")
    assert judge_workers(run(worker(stuck_seconds=6.0, **pause), watched_seconds=60.0))[0].state == "stalled"


def test_native_code_that_was_seen_to_hold_the_gil_is_not_called_stopped():
    beats = [0.5] * 3 + [0.5 + second for second in range(11)] + [0.5] * 2
    busy = watch([run(worker(heartbeat_age_seconds=beat, cpu_ratio=0.98), worker("1")) for beat in beats])
    again = dataclasses.replace(busy.workers[0], heartbeat_age_seconds=9.5, where="Env.step")
    verdict = judge_workers(dataclasses.replace(busy, workers=(again, busy.workers[1])))[0]
    assert (verdict.state, verdict.reason) == ("suspect", "busy in native code, in `Env.step`, for 9.5 s")
    stopped = dataclasses.replace(again, silence_cpu_ratio=0.01)
    assert judge_workers(dataclasses.replace(busy, workers=(stopped, busy.workers[1])))[0].state == "stalled"


def test_batch_that_outlasts_a_window_is_one_observation():
    def at(second):
        ended = (second // 12, second // 15)  # batches of 12 and 15 s, and their costs differ
        costs = ({"response": 1.0 + ended[0]}, {"response": 3.0 + ended[1]})
        workers = (
            worker(str(name), role="rollout", rollouts_total=float(ended[name]), token_seconds=costs[name])
            for name in range(2)
        )
        return run(*workers)

    windows = watch([at(second) for second in range(90)]).earlier_step_seconds
    for name in ("0", "1"):
        seen = [window[name] for window in windows if name in window]
        assert len(seen) == len(set(seen)) >= 4
    slow = watch([at(second) for second in range(11)])
    assert not slow.earlier_step_seconds
    assert [verdict.state for verdict in judge_workers(slow)] == ["running", "running"], "one batch each says little"


def test_silence_that_a_replacement_ends_was_not_survived():
    beats = [*([0.5] * 3), *(0.5 + second for second in range(14)), 0.5, 0.5] * 2
    pids = [1 if at % 19 < 17 else 2 for at in range(len(beats))]
    replaced = watch(
        [run(worker(heartbeat_age_seconds=beat, pid=pid), worker("1")) for beat, pid in zip(beats, pids, strict=True)]
    )
    assert replaced.long_silence_seconds is None
    assert (
        watch([run(worker(heartbeat_age_seconds=beat, pid=1), worker("1")) for beat in beats]).long_silence_seconds
        == 12.5
    )


def test_process_that_is_seen_to_be_stopped_needs_no_other_evidence():
    silent = run(worker(heartbeat_age_seconds=9.5, process="stopped"), worker("1"), long_silence_seconds=14.0)
    assert judge_workers(silent)[0].state == "stalled"
    unknown = run(worker(heartbeat_age_seconds=9.5), worker("1"), long_silence_seconds=14.0)
    assert judge_workers(unknown)[0].state == "suspect"

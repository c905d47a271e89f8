"""What a profile finds, from stacks and phases made up for it: threads that count, differences, lanes, who is last."""

import itertools
import json

import pytest

from raymon.health import judge
from raymon.profile import flame, printing, remote_nodes, stacks, timeline
from raymon.profile import result as results
from raymon.profile.report import report
from raymon.profile.result import ProcessProfile, ProfileResult
from raymon.views import RunView, WorkerView

LOOP = "main_loop (ray/_private/worker.py:1069)"
BOOT = "Thread.run (threading.py:982)"


def collapsed(*lines):
    return "\n".join(lines)


def worker_stacks(step, wait):
    return collapsed(
        f"thread (11): MainThread;{LOOP};sample (mine.py:3);step (sim.py:8) {step}",
        f"thread (11): MainThread;{LOOP};sample (mine.py:3);step (sim.py:9) 10",
        f"thread (11): MainThread;{LOOP} {wait}",
        f"thread (12): raymon-flush;{BOOT};Flusher._run (raymon/monitor/flusher.py:91) {step + wait + 10}",
        f"thread (13): PythonGCThread;{BOOT};Condition.wait (threading.py:327) {step + wait + 10}",
        f"thread (14): ThreadPoolExecutor-0_0;{BOOT};_worker (concurrent/futures/thread.py:81) {step + wait + 10}",
        "py-spy> not a stack",
    )


def test_idle_threads_are_ignored_and_lines_of_a_function_merged():
    parsed = stacks.parse(worker_stacks(60, 30))
    assert {stack.thread for stack in parsed} == {"MainThread"}
    assert stacks.samples_of(parsed) == 100
    assert stacks.working(parsed) == {stacks.Place("step", "sim.py"): pytest.approx(0.7)}
    assert ProcessProfile("worker 0", 1, parsed).waiting_ratio() == pytest.approx(0.3)


def test_thread_pool_is_merged_into_its_mean():
    lines = [f"thread ({n}): env-{n};{BOOT};step (sim.py:8) {20 * n}" for n in (1, 2, 3)]
    (parsed,) = stacks.parse(collapsed(*lines))
    assert (parsed.thread, parsed.samples) == ("env-* (mean of 3)", 40.0)


def test_difference_names_the_slow_function_per_unit_of_work():
    slow, usual = stacks.parse(worker_stacks(90, 0)), stacks.parse(worker_stacks(20, 70))
    (parsed,) = stacks.differences(slow, usual, slow_per_second=10.0, typical_per_second=30.0)
    assert parsed.place == stacks.Place("step", "sim.py")
    assert (parsed.seconds, parsed.baseline) == (pytest.approx(0.1), pytest.approx(0.01))
    assert stacks.differences(usual, slow, 30.0, 10.0) == []
    assert stacks.differences(slow, usual, 0.0, 30.0) == []


def test_current_frames_merge_threads_and_skip_machinery():
    dump = "\n".join(
        [
            'Thread 11 (idle): "MainThread"',
            f"    {LOOP}",
            "    <module> (default_worker.py:1)",
            'Thread 12 (idle): "env-0"',
            "    recv (sim.py:4)",
            "    step (sim.py:9)",
            f"    {BOOT}",
            'Thread 13 (idle): "env-1"',
            "    recv (sim.py:4)",
            "    step (sim.py:9)",
            f"    {BOOT}",
            'Thread 14 (idle): "raymon-flush"',
            "    Flusher._run (raymon/monitor/flusher.py:91)",
            'Thread 15 (idle): "pool"',
            "    _worker (concurrent/futures/thread.py:81)",
        ]
    )
    assert stacks.current_frames(dump) == [("env-0 and 1 more", ["recv (sim.py:4)", "step (sim.py:9)"])]
    assert stacks.current_frames("") == []


def trace(worker, spans, parts=(), began=100.0, run="r"):
    return {
        "run": run,
        "worker": worker,
        "pid": 7,
        "began": began,
        "seconds": 10.0,
        "spans": spans,
        "parts": parts,
        "lost": 0,
    }


def test_overlapping_spans_get_their_own_lanes():
    spans = [("rollout", 0.0, 1.0), ("inference", 0.2, 0.4), ("rollout", 0.5, 1.5), ("rollout", 1.6, 2.0)]
    (track,) = timeline.tracks([trace("0", spans, began=101.0), {"spans": "no trace"}])
    assert [[event.phase for event in lane] for lane in track.lanes] == [
        ["rollout", "inference", "rollout"],
        ["rollout"],
    ]
    for lane in track.lanes:
        for outer, inner in itertools.pairwise(lane):
            assert inner.start >= outer.end or inner.end <= outer.end


def test_clocks_of_processes_are_aligned():
    driver, worker = timeline.tracks(
        [
            trace("3", [("rollout", 0.0, 1.0)], began=102.0),
            trace("driver", [("other", 0.0, 1.0)], began=100.0),
        ]
    )
    assert (driver.name, worker.name) == ("driver", "worker 3")
    assert worker.lanes[0][0].start == pytest.approx(2.0)


def test_parts_belong_to_the_innermost_span():
    spans = [("rollout", 0.0, 1.0), ("rollout", 1.0, 2.0)]
    parts = [("environment", 0.99, 0.6), ("inference", 0.99, 0.3), ("environment", 1.99, 0.5)]
    (track,) = timeline.tracks([trace("0", spans, parts)])
    assert [dict(event.parts) for event in track.lanes[0]] == [
        {"environment": 0.6, "inference": 0.3},
        {"environment": 0.5},
    ]


def test_trace_follows_the_perfetto_format():
    trace_events = timeline.chrome(timeline.tracks([trace("driver", [("other", 0.0, 1.0), ("learn", 0.25, 0.75)])]))
    json.dumps(trace_events)
    complete = [event for event in trace_events["traceEvents"] if event["ph"] == "X"]
    assert [(e["name"], e["ts"], e["dur"]) for e in complete] == [
        ("iteration", 0.0, 1_000_000.0),
        ("learn", 250_000.0, 500_000.0),
    ]


def iterations(late):
    """Ten iterations of a second; worker 1 delivers `late` seconds after worker 0."""
    driver = [("other", float(n), n + 1.0) for n in range(10)]
    zero = [("rollout", float(n), n + 0.4) for n in range(10)]
    one = [("rollout", float(n), n + 0.4 + late) for n in range(10)]
    return timeline.tracks([trace("driver", driver), trace("0", zero), trace("1", one)])


def test_last_arrival_is_named_only_when_others_wait():
    last = timeline.last_arrivals(iterations(0.5))
    assert (last.worker, last.ratio, last.iterations) == ("1", 1.0, 10)
    assert last.seconds == pytest.approx(0.5)
    assert timeline.last_arrivals(iterations(0.01)) is None
    assert timeline.last_arrivals(iterations(0.5)[:2]) is None


def test_window_holds_a_few_iterations():
    start, end = timeline.window(iterations(0.1))
    assert end - start == pytest.approx(6.0)
    assert timeline.window([]) == (0.0, 1.0)


def views(slow_seconds=0.4):
    workers = tuple(
        WorkerView(str(n), pid=n + 1, node="n", steps_per_second=100.0, mean_rollout_seconds=s, rollout_steps=10.0)
        for n, s in enumerate((0.1, slow_seconds, 0.1, 0.1, 0.1, 0.1))
    )
    return RunView("<b>run</b>", state="training", workers=workers, phase_ratio={"learn": 0.4, "sample": 0.6})


def test_slowest_and_typical_workers_are_sampled():
    run = views()
    chosen = results.chosen_workers(run, judge(run))
    assert "1" in chosen
    assert len(chosen) == 2


def test_similar_workers_are_not_compared():
    def compared(slow_seconds):
        run = views(slow_seconds)
        profiles = [ProcessProfile(f"worker {n}", n, stacks.parse(worker_stacks(60 + n, 30))) for n in (0, 1)]
        return results.compare(run, profiles)

    assert compared(0.12) is None
    assert compared(0.4).slow == "1"


def test_report_escapes_input_and_draws_every_section():
    run = views()
    evil = stacks.parse("thread (1): MainThread;<script>alert(1)</script> (a.py:1) 100")
    processes = [
        ProcessProfile("worker 1", 2, evil, [("MainThread", ["<i>step</i> (a.py:1)"])]),
        ProcessProfile("worker 0", 1),
    ]
    profiles = [ProcessProfile(f"worker {n}", n, stacks.parse(worker_stacks(60 + 30 * n, 30))) for n in (0, 1)]
    tracks = iterations(0.5)
    parsed = ProfileResult(
        run,
        judge(run),
        10.0,
        1e9,
        processes,
        tracks,
        timeline.last_arrivals(tracks),
        results.compare(run, profiles),
        results.rollouts_of(tracks),
        ["a <note>"],
    )
    text = report(parsed)
    assert "<script>alert" not in text
    assert "<i>step" not in text
    assert "<b>run</b>" not in text
    assert "a &lt;note&gt;" in text
    for part in (
        "Stragglers",
        "was the last to deliver in 100 %",
        "Timeline",
        "Worker 1",
        "p95",
    ):
        assert part in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text


def test_flame_graph_width_is_time():
    drawn = flame.flame(stacks.tree(stacks.parse(worker_stacks(60, 30))), "worker 0")
    assert 'title="step (sim.py): 70 % of the time"' in drawn
    assert 'title="main_loop (ray/_private/worker.py): 100 % of the time"' in drawn
    frames = ("step (gymnasium/core.py)", "go (mine.py)", "run (threading.py)", "MainThread")
    assert [flame.kind(frame) for frame in frames] == ["environment", "own", "plain", "plain"]


@pytest.mark.parametrize(
    "field",
    [
        {"spans": [["rollout", 1.0]]},
        {"spans": [["rollout", "None", 2.0]]},
        {"spans": [[7, 1.0, 2.0]]},
        {"spans": 7},
        {"parts": [0.5]},
        {"parts": [["x", 1.0, []]]},
        {"began": float("nan")},
        {"began": 10**400},
        {"seconds": -1.0},
        {"worker": {}},
        {"run": None},
        {"pid": "1"},
    ],
    ids=str,
)
def test_what_is_no_trace_is_left_out(field):
    good = trace("0", [("rollout", 0.0, 1.0)])
    tracks = timeline.tracks([{**trace("1", [("rollout", 0.0, 1.0)]), **field}, good, [], "x"])
    assert [track.worker for track in tracks] == ["0"]


def test_lanes_are_bounded_and_the_rest_is_counted():
    spans = [("rollout", float(at), at + 1000.0) for at in range(timeline.MOST_LANES + 10)]
    (track,) = timeline.tracks([trace("0", spans)])
    assert (len(track.lanes), track.lost) == (timeline.MOST_LANES, 10)


@pytest.mark.parametrize("reply", [7, [], {}, {"traces": [], "stacks": {"x": ""}}, {"traces": 1}])
def test_node_that_answers_something_else_is_one_sentence(reply):
    full = {"traces": [], "stacks": {}, "dumps": {}, "problems": {}}
    with pytest.raises(remote_nodes.RemoteError, match="not a profile"):
        remote_nodes._gathered({**full, **reply} if reply and isinstance(reply, dict) else reply)


def test_terminal_shows_no_control_characters_of_stacks(capsys):
    sampled = stacks.parse("thread (1): MainThread;main (a.py:1);\x1b[31mred\N{RIGHT-TO-LEFT OVERRIDE} (b.py:2) 9")
    printing.print_process(
        ProcessProfile("worker 0", 7, sampled, [("MainThread", ["\x1b[31mred (b.py:2)"])]), stuck=True
    )
    assert "\x1b" not in (text := capsys.readouterr().out)
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in text


def test_terminal_shows_no_control_characters_of_workers(capsys, tmp_path):
    view = RunView(run="r")
    name = "0\x1b[2J"
    last = timeline.LastArrivals(name, 0.9, 1.0, 10)
    compared = results.Comparison(name, name, ())
    printing.print_result(ProfileResult(view, judge(view), 1.0, 0.0, last=last, comparison=compared), tmp_path)
    text = capsys.readouterr().out
    assert "was the last to deliver" in text
    assert "spends more time than worker" in text
    assert "\x1b" not in text


def test_count_of_samples_beyond_any_profile_is_no_sample():
    assert stacks.parse(f"thread (1): MainThread;main (a.py:1) {'9' * 5000}") == []

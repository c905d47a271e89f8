"""A recording replays what was seen live, survives its writer and a full disk, and keeps within its bound."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from metrics_pages import NOW, URL, FakeCluster, FakeDriver, FakeWorker

from raymon import catalog
from raymon.incident.recording_format import Encoder, RecordingError, header
from raymon.incident.recording_reader import Recording, lines, read_segment, segments
from raymon.incident.recording_writer import BYTES_PER_WORKER_HOUR, RecordingWriter, thin
from raymon.incident.replay import Replay, moment_of
from raymon.live.collector import Collector
from raymon.live.round import ParsedPage, Round
from raymon.live.scrape import Page
from raymon.page import layout
from raymon.page.choice import Choice
from raymon.top import command as top
from raymon.views import WorkerLoss

UNSEEN = ("taken_monotonic", "recorded", "round_seconds", "rounds", "source", "histories")


def recorded(directory, *processes):
    """Return a cluster whose collector records into a directory, and its recorder."""
    recorder = RecordingWriter(directory)
    cluster = FakeCluster(*processes)
    cluster.collector = Collector([URL], clock=lambda: cluster.now, on_round=recorder.add)
    return cluster, recorder


def plain(snapshot):
    return {name: value for name, value in asdict(snapshot).items() if name not in UNSEEN}


def assert_same(replayed, live):
    assert plain(replayed) == plain(live)
    for run, history in live.histories.items():
        other = replayed.histories[run]
        for name, values in history.values.items():
            assert np.array_equal(other.values[name], values, equal_nan=True), name
        assert np.array_equal(other.workers.strip, history.workers.strip)
        assert np.array_equal(other.workers.steps_per_second, history.workers.steps_per_second, equal_nan=True)


def test_a_replay_shows_what_was_seen_live_at_any_moment(tmp_path, monkeypatch):
    monkeypatch.setattr("raymon.incident.recording_writer.SEGMENT_SECONDS", 20.0)
    cluster, recorder = recorded(tmp_path, FakeDriver(), *(FakeWorker(str(n)) for n in range(3)))
    seen = {}

    def each(snapshot):
        seen[snapshot.taken_at] = snapshot

    cluster.run(25, each=each)
    cluster.processes[2].works = False
    cluster.processes[0].set(catalog.WORKER_TROUBLE, 1.0, "1", "restarting")
    cluster.run(15, each=each)
    cluster.answers = False
    cluster.run(3, each=each)
    cluster.answers = True
    cluster.processes[3].gauges_shown = cluster.processes[3].beats = False
    cluster.processes.append(FakeWorker("2", life=2))
    cluster.run(17, each=each)
    recorder.close()
    assert len(segments(tmp_path)) == 3
    replay = Replay(tmp_path)
    assert (replay.first, replay.last()) == (NOW + 1, NOW + 60)
    for moment in (NOW + 60, NOW + 3, NOW + 30.5, NOW + 31, NOW + 42, NOW + 58, NOW):
        assert_same(replay.at(moment), seen[max(int(moment), NOW + 1)])
    assert replay.at(NOW + 42).problem
    assert {verdict.worker: verdict.state for verdict in replay.at(NOW + 39).verdicts["r"].workers}["1"] == "restarting"


def test_page_and_terminal_show_the_moment_of_a_recording(tmp_path, capsys):
    cluster, recorder = recorded(tmp_path / "recording", FakeDriver(), *(FakeWorker(str(n)) for n in range(3)))
    cluster.run(20)
    cluster.processes[2].works = False
    live = cluster.run(12)
    cluster.processes[2].works = True
    cluster.run(20)
    recorder.close()
    replay = Replay(tmp_path)
    drawn = layout.page(replay.at(live.taken_at), Choice(at=f"{live.taken_at:.0f}", span="10m"))
    assert f'<input type="range" min="{NOW + 1:.0f}" max="{NOW + 53:.0f}" step="1" value="{NOW + 32:.0f}"' in drawn
    assert "recorded" in drawn
    assert sections(drawn) == sections(layout.page(live, Choice(span="10m"), now=live.taken_monotonic))
    assert top.main(["--recording", str(tmp_path), "--at", "+31", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"]["state"] == "worker_stalled"
    assert top.main(["--recording", str(tmp_path)]) == 0
    assert "is stalled" not in capsys.readouterr().out
    with pytest.raises(RecordingError, match="is not in the recording"):
        top.main(["--recording", str(tmp_path), "--at", "+600"])


def sections(page):
    """Return the sections of a page with the numbers: all but the slider, the banners and the foot."""
    return [part for part in re.split(r"(?=<section)", page.partition("<footer")[0])[1:] if "range" not in part]


WRITER = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from metrics_pages import FakeDriver, FakeCluster, FakeWorker
from raymon.incident.recording_writer import RecordingWriter
from raymon.live.collector import Collector
cluster = FakeCluster(FakeDriver(), FakeWorker())
cluster.collector = Collector(["a:1"], clock=lambda: cluster.now, on_round=RecordingWriter(Path({directory!r})).add)
while True:
    cluster.run(1)
    print(cluster.now, flush=True)
"""


def test_a_killed_writer_loses_no_round_that_it_had_taken(tmp_path):
    code = WRITER.format(tests=str(Path(__file__).parents[2]), directory=str(tmp_path))
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    taken = [float(writer.stdout.readline()) for _ in range(30)]
    os.kill(writer.pid, signal.SIGKILL)
    taken += [float(text) for text in writer.stdout.read().splitlines()]
    writer.wait()
    moments = [round_.taken_at for round_ in Recording(tmp_path).rounds()]
    assert moments[: len(taken)] == taken
    assert len(moments) <= len(taken) + 1
    (path,) = segments(tmp_path)
    shown = subprocess.run(["zcat", path], capture_output=True, text=True, check=False).stdout.splitlines()
    assert json.loads(shown[0])["format"] == "raymon-recording"
    assert json.loads(shown[len(taken)])["at"] == taken[-1]
    RecordingWriter(tmp_path).close()  # the lock went with the process


def test_a_stream_cut_anywhere_is_read_up_to_the_last_whole_line(tmp_path):
    cluster, recorder = recorded(tmp_path / "whole", FakeDriver(), FakeWorker())
    cluster.run(20)
    recorder.close()
    (whole,) = segments(tmp_path / "whole")
    data, every = whole.read_bytes(), list(lines(whole))
    cut = tmp_path / whole.name
    counts = []
    for length in range(0, len(data), 97):
        cut.write_bytes(data[:length])
        got = list(lines(cut))
        assert got == every[: len(got)]
        counts.append(len(got))
    assert counts == sorted(counts)
    assert counts[-1] >= 18
    for at in range(0, len(data), 211):
        damaged = bytearray(data)
        damaged[at] ^= 0xFF
        cut.write_bytes(damaged)
        _read_all(tmp_path)


def _read_all(directory):
    try:
        replay = Replay(directory)
        replay.at(replay.last())
    except RecordingError:
        pass


def test_a_full_disk_ends_a_segment_at_a_whole_line(tmp_path, monkeypatch):
    cluster, recorder = recorded(tmp_path, FakeDriver(), FakeWorker())
    cluster.run(10)
    write = os.write

    def full(file, data):
        if len(data) > 20:
            return write(file, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("raymon.incident.recording_writer.os.write", full)
    cluster.run(1)
    assert "No space left on device" in recorder.problem
    monkeypatch.setattr("raymon.incident.recording_writer.os.write", write)
    assert [taken.taken_at for taken in Recording(tmp_path).rounds()] == [NOW + n for n in range(1, 11)]
    cluster.run(3)
    recorder._retry_at = float("-inf")
    cluster.run(5)
    recorder.close()
    assert recorder.problem == ""
    moments = [taken.taken_at for taken in Recording(tmp_path).rounds()]
    assert moments == [NOW + n for n in (*range(1, 11), *range(15, 20))]


def noisy(worker):
    """A worker all of whose numbers change each second and do not compress."""
    process = FakeWorker(worker)

    def noise(now):
        chance = np.random.default_rng(int(now) * 1000 + int(worker))
        for metric in (catalog.RESIDENT_MEMORY, catalog.EPISODE_RETURN, catalog.POLICY_VERSION):
            process.set(metric, chance.random() * 1e9)
        for phase in catalog.WORKER_PHASES:
            process.add(catalog.WORKER_PHASE, chance.random(), phase)
        for quantile in catalog.QUANTILES:
            process.set(catalog.ROLLOUT_LATENCY, chance.random(), str(quantile))
        for metric in (catalog.CPU_SECONDS, catalog.RECORDING_SECONDS, catalog.EPISODES):
            process.add(metric, chance.random())

    process.each_second(noise)
    return process


@pytest.mark.parametrize("budget", [BYTES_PER_WORKER_HOUR, 100_000])
def test_a_recording_keeps_within_a_megabyte_per_worker_and_hour(tmp_path, monkeypatch, budget):
    monkeypatch.setattr("raymon.incident.recording_writer.BYTES_PER_WORKER_HOUR", budget)
    cluster, recorder = recorded(tmp_path, FakeDriver(), *(noisy(str(n)) for n in range(4)))
    cluster.run(605)
    recorder.close()
    closed = segments(tmp_path)[0]
    assert closed.stat().st_size <= 4 * budget * 600 / 3600
    rounds = list(Recording(tmp_path).rounds())
    assert len(rounds) > 600 * (0.9 if budget == BYTES_PER_WORKER_HOUR else 0.02)
    run = Replay(tmp_path).at(NOW + 600).run()
    assert run.updates >= 1100


def test_the_oldest_segments_go_when_the_recording_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr("raymon.incident.recording_writer.SEGMENT_SECONDS", 10.0)
    recorder = RecordingWriter(tmp_path, most_bytes=6_000)
    cluster = FakeCluster(FakeDriver(), FakeWorker())
    cluster.collector = Collector([URL], clock=lambda: cluster.now, on_round=recorder.add)
    for _ in range(12):
        cluster.run(10)
        if recorder._thinning is not None:
            recorder._thinning.join()
    recorder.close()
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 6_000 + 3_000
    assert Recording(tmp_path).first > NOW + 20
    assert Recording(tmp_path).last() == NOW + 120


def test_two_writers_do_not_mix(tmp_path):
    recorder = RecordingWriter(tmp_path)
    with pytest.raises(RecordingError, match="another process records"):
        RecordingWriter(tmp_path)
    recorder.close()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "no whole record"),
        (b"hello\n", "no header"),
        (b"[" * 100_000 + b"\n", "no header"),
        (b'{"format":"raymon-recording","version":9,"at":1}\n', "version 9"),
    ],
)
def test_what_is_no_recording_is_one_sentence(tmp_path, line, message):
    with pytest.raises(RecordingError, match="no recording"):
        Recording(tmp_path)
    (tmp_path / "20270115T080001.000000.jsonl.gz").write_bytes(gzip.compress(line))
    with pytest.raises(RecordingError, match=message):
        Recording(tmp_path)


@pytest.mark.parametrize(
    "row",
    [
        "5",
        '{"at":1e999}',
        '{"at":2,"pages":5}',
        '{"at":2,"losses":{"r":7},"pages":[]}',
        '{"at":2,"losses":{"r":[7,{"worker":8,"at":"x"},{"worker":"\\u001b","at":1}]},"pages":[]}',
        f'{{"at":2,"series":[["{catalog.HEARTBEAT.name}"]],"pages":[]}}',
        '{"at":2,"pages":[{"url":"u","values":[0,1]}]}',
        '{"at":2,"pages":[{"url":"u","values":[0]}]}',
        '{"at":2,"pages":[{"url":"u","values":["a","b"]}]}',
        '{"at":2,"pages":[{"url":"u\\u001b[2J","gone":[true]}]}',
        '{"at":2,"series":[["evil",{"run":"\\u001b"}]],"pages":[{"url":"u","values":[0,1]}]}',
        f'{{"at":2,"series":[["{catalog.ENV_STEPS.name}",{{"run":"\\u001b","worker":"0"}}]],"pages":[{{"values":[0,-5]}}]}}',
    ],
)
def test_a_strange_line_is_harmless(tmp_path, row):
    good = Encoder().encode(Round(1.0, (ParsedPage("u"),)))
    text = f"{header(1.0)}\n{good}\n{row}\n"
    (tmp_path / "20270115T080001.000000.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    assert next(iter(Recording(tmp_path).rounds())).taken_at == 1.0
    snapshot = Replay(tmp_path).at(5.0)
    assert all(run.run.isprintable() for run in snapshot.runs)
    assert all(target.url.isprintable() for target in snapshot.targets)


def test_losses_of_workers_are_in_every_segment_and_stay_when_it_is_thinned(tmp_path, monkeypatch):
    monkeypatch.setattr("raymon.incident.recording_writer.SEGMENT_SECONDS", 10.0)
    recorder, losses = RecordingWriter(tmp_path), {"r": (WorkerLoss("3", 13.0, "oom", "killed for memory; SIGKILL"),)}
    for second in range(10, 30):
        recorder.add(Round(float(second), (ParsedPage("u"),), losses=losses if second > 12 else {}))
    recorder.close()
    assert len(segments(tmp_path)) == 2
    for path in segments(tmp_path):
        thin(path, 1.0)
        rounds = list(read_segment(path, {}))
        assert len(rounds) < 5
        assert rounds[-1].losses == losses


def test_recording_of_a_clock_that_was_set_back_shows_no_wrong_clocks(tmp_path):
    fake, recorder, clock = FakeCluster(FakeDriver(), FakeWorker()), RecordingWriter(tmp_path), NOW
    collector = Collector([URL], clock=lambda: clock, on_round=recorder.add)
    for second in range(20):
        clock = NOW + second - 120.0 * (second >= 8)
        for process in fake.processes:
            process.second(clock - 0.3)
        (node,) = collector.digest([Page(URL, fake.page())]).run().nodes
    recorder.close()
    (replayed,) = Replay(tmp_path).at(NOW + 19).run().nodes
    assert (node.clock_offset_seconds, replayed.clock_offset_seconds) == (pytest.approx(0.0), pytest.approx(0.0))


def test_a_stream_that_expands_without_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("raymon.incident.recording_reader.LONGEST_LINE", 1_000_000)
    path = tmp_path / "20270115T080001.000000.jsonl.gz"
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    path.write_bytes(b"".join(bomb.compress(bytes(1_000_000)) for _ in range(50)) + bomb.flush())
    begun = time.process_time()
    assert list(lines(path)) == []
    assert time.process_time() - begun < 1.0


def test_moments_are_named_as_people_name_them():
    first = datetime(2026, 11, 28, 14, 0, 0).astimezone().timestamp()
    last = first + 3600
    assert moment_of("", first, last) == last
    assert moment_of("+90", first, last) == first + 90
    assert moment_of("-90", first, last) == last - 90
    assert moment_of("14:02:11", first, last) == first + 131
    assert moment_of("2026-11-28T14:02:11", first, last) == first + 131
    for text in ("noon", "25:00", "15:30", "2026-11-28T12:00:00", "+1e400"):
        with pytest.raises(RecordingError):
            moment_of(text, first, last)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "NaN", "1e301"])
def test_line_with_an_impossible_number_ends_the_segment(tmp_path, number):
    lines = f'{header(NOW)}\n{{"at": {NOW}, "pages": []}}\n{{"at": {number}, "pages": []}}\n'
    (tmp_path / "20270115T080000.000.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    assert [taken.taken_at for taken in Recording(tmp_path).rounds()] == [NOW]

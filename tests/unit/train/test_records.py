"""The run's directory: one writer at a time, names that differ, nothing of an earlier life left on the way."""

import dataclasses
import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import Command, poll

from raymon.train import checkpoint, option_files
from raymon.train.options import Config, ConfigError
from raymon.train.records import RecordsError, RunDirectory, new_name, writing

IN_PROCESS = ("--workers", "0", "--sampler", "sync", "--name", "x")
ENDLESS = (*IN_PROCESS, "--total-env-steps", "1000000000")


@pytest.fixture
def config(tmp_path):
    return Config(name="x", runs=tmp_path)


def row(update):
    return {"update": update, "env_steps": 10 * update, "loss": {"policy": 0.5}}


def updates(folder):
    return [json.loads(line)["update"] for line in (folder / "progress.jsonl").read_text().splitlines()]


def test_names_of_the_same_second_differ():
    assert len({new_name("CartPole-v1") for _ in range(20)}) == 20


def test_the_directory_is_locked_until_it_is_closed(config, tmp_path):
    directory = RunDirectory(config)
    for _ in range(3):
        directory.append(row(1))
    directory.flush()
    for resumed in (None, {"update": 0, "env_steps": 0}):
        with pytest.raises(ConfigError, match="another process is writing"):
            RunDirectory(config, resumed)
    assert updates(tmp_path / "x") == [1, 1, 1]
    directory.close()
    with pytest.raises(ConfigError, match="holds a run already"):
        RunDirectory(config)
    RunDirectory(config, {"update": 1, "env_steps": 10}).close()


def test_a_start_that_failed_leaves_the_name_free(config):
    RunDirectory(config).close()
    RunDirectory(config).close()


def test_resuming_removes_rows_after_the_checkpoint(config, tmp_path):
    directory = RunDirectory(config)
    for update in range(1, 6):
        directory.append(row(update))
    directory.summarize({"state": "finished"})
    directory.close()
    folder = tmp_path / "x"
    for name in ("progress.jsonl", "progress.csv"):
        with (folder / name).open("a") as file:
            file.write("6,6")
    resumed = RunDirectory(dataclasses.replace(config, resume=folder), {"update": 3, "env_steps": 30})
    resumed.append(row(4))
    resumed.close()
    assert option_files.load(folder / "config.yaml").resume is None, "as settings for another run it resumes nothing"
    assert updates(folder) == [1, 2, 3, 4]
    assert (folder / "progress.csv").read_text().splitlines() == [
        "update,env_steps,loss_policy",
        *(f"{update},{10 * update},0.5" for update in range(1, 5)),
    ]
    assert not (folder / "summary.json").exists()


def test_tensorboard_drops_repeated_updates(config, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = dataclasses.replace(config, tensorboard=True)
    for first, resumed in ((1, None), (3, {"update": 2, "env_steps": 20})):
        directory = RunDirectory(config, resumed)
        for update in range(first, first + 3):
            directory.append(row(update))
        directory.close()
    events = EventAccumulator(str(tmp_path / "x" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("raymon/loss_policy")] == [10, 20, 30, 40, 50]


def test_a_full_disk_is_one_sentence(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "progress.csv").symlink_to("/dev/full")
    with Command("train", *ENDLESS, "--runs", str(tmp_path), cwd=tmp_path) as run:
        assert run.wait(120) == 1, run.text()
        assert "cannot be written any more: No space left on device; make room" in run.text()
        assert "Traceback" not in run.text()
    assert json.loads((tmp_path / "x" / "summary.json").read_text())["state"] == "failed"
    assert checkpoint.load(tmp_path / "x").counters["update"] >= 1


def test_the_end_of_its_terminal_ends_a_run_in_order(tmp_path):
    with Command("train", *ENDLESS, "--runs", str(tmp_path), cwd=tmp_path) as run:
        poll(lambda: updates(tmp_path / "x"), 120, f"an update\n{run.text()}")
        run.process.send_signal(signal.SIGHUP)
        assert run.wait(60) == 128 + signal.SIGHUP, run.text()
    assert checkpoint.load(tmp_path / "x").counters["update"] == updates(tmp_path / "x")[-1]
    assert (tmp_path / "x" / "summary.json").exists()


def test_a_reader_that_goes_away_costs_nothing(tmp_path):
    command = [sys.executable, "-m", "raymon", "train", *ENDLESS, "--runs", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as run:
        try:
            poll(lambda: updates(tmp_path / "x"), 120, "an update")
            run.stdout.close()
            before = updates(tmp_path / "x")[-1]
            poll(lambda: updates(tmp_path / "x")[-1] > before + 50, 60, "it goes on")
            run.send_signal(signal.SIGINT)
            assert run.wait(60) == 130
            assert run.stderr.read() == b""
        finally:
            run.kill()
    assert (tmp_path / "x" / "summary.json").exists()


def test_normalisation_cannot_change_on_the_way(tmp_path):
    options = ("--runs", str(tmp_path), "--total-env-steps", "5000")
    with Command("train", *IN_PROCESS, *options, cwd=tmp_path) as run:
        assert run.wait(120) == 0, run.text()
    more = ("--resume", str(tmp_path / "x"), "--total-env-steps", "9000", "--normalize-rewards")
    with Command("train", *more, cwd=tmp_path) as run:
        assert run.wait(120) == 2, run.text()
        assert "normalize_rewards: False, which cannot change" in run.text()


def test_a_summary_that_cannot_be_written_leaves_the_old_one_or_none(config, tmp_path):
    directory = RunDirectory(config)
    summary = {"state": "finished", "note": "x" * 4096}

    def write_without_room():
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                directory.summarize(summary)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    write_without_room()
    assert not (tmp_path / "x" / "summary.json").exists()
    directory.summarize({"state": "stopped"})
    write_without_room()
    assert json.loads((tmp_path / "x" / "summary.json").read_text()) == {"state": "stopped"}
    assert not list((tmp_path / "x").glob(".summary*"))
    directory.close()


def test_full_disk_is_one_sentence_with_advice(tmp_path):
    with pytest.raises(RecordsError, match="No space left on device; make room"), writing(tmp_path, "make room"):
        Path("/dev/full").write_text("row")
    with pytest.raises(IsADirectoryError), writing(tmp_path, "make room"):
        tmp_path.write_text("row")

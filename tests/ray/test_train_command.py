"""`raymon train` as users run it: wrong input, Ctrl-C, kill -9 and resuming."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import Command, alive, get, poll, short_folder

from raymon import catalog
from raymon.train import checkpoint, option_files

QUICK = ("--no-page", "--no-dashboard", "--exit-when-done")


def refused(tmp_path, *arguments, **env):
    with Command("train", *arguments, "--runs", str(tmp_path), cwd=tmp_path, **env) as run:
        code = run.wait(120)
        text = run.text().strip()
    assert code == 2, text
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--env", "CartPol-v1"), "CartPole-v1"),
        (("--workers", "0"), "--sampler sync"),
        (("--address", "127.0.0.1:1"), "nothing answers"),
        (("--address", "nonsense"), "host:port"),
        (("--resume", "nowhere"), "no checkpoint"),
        (("--config", "nowhere.yaml"), "nowhere.yaml"),
        (("--inject", "explode"), "unknown fault"),
        (("--inject", "crash worker=7"), "there are 2"),
        (("--minibatch", "0"), "at least 1"),
        (("--name", "../x"), "--name"),
    ],
)
def test_wrong_input_is_one_clear_sentence(arguments, said, tmp_path):
    text = refused(tmp_path, *arguments)
    assert said in text
    assert len(text.splitlines()) <= 3


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in refused(tmp_path, "--page-port", port)


def test_ray_without_its_default_extra_is_refused(tmp_path):
    # None in sys.modules is how Python says that a package cannot be imported.
    hide = "import sys; sys.modules['opencensus'] = None; from raymon.cli import main; "
    code = f"{hide}sys.exit(main(['train', '--no-page', '--exit-when-done', '--runs', {str(tmp_path)!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "pip install 'ray[default]'" in done.stderr


def children_of(pid):
    """Every descendant of a process, by its id."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        parents[int(text.split()[0])] = int(text.rsplit(")", 1)[1].split()[1])
    pids, added = {pid}, True
    while added:
        more = {child for child, parent in parents.items() if parent in pids} - pids
        pids |= more
        added = bool(more)
    return pids - {pid}


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def test_ctrl_c_ends_everything_and_kill_9_leaves_a_run_that_resumes(tmp_path):
    with short_folder() as folder:
        local = (*QUICK, "--ray-temp-dir", str(folder), "--runs", str(tmp_path), "--checkpoint-every", "2")
        progress = tmp_path / "one" / "progress.jsonl"
        with Command("train", *local, "--name", "one", "--total-env-steps", "900000000", cwd=tmp_path) as run:
            poll(lambda: len(rows(progress)) > 6, 120, f"updates\n{run.text()}")
            for _ in range(20):
                saved = checkpoint.load(tmp_path / "one")
                assert rows(progress)[-1]["update"] >= saved.counters["update"], "rows come first"
            started = children_of(run.process.pid)
            assert len(started) > 3
            run.process.kill()
            run.process.wait()
            poll(lambda: "the training process was killed" in run.text(), 20, "it is said")
        poll(lambda: not any(map(alive, started)), 60, "Ray ends with its driver")
        saved = checkpoint.load(tmp_path / "one")
        assert saved.counters["update"] >= 2

        with Command("train", *local, "--resume", str(tmp_path / "one"), cwd=tmp_path) as run:
            poll(lambda: rows(progress)[-1]["update"] > saved.counters["update"] + 4, 120, f"resumed\n{run.text()}")
            started = children_of(run.process.pid)
            url = re.search(r"metrics +(http\S+)", run.text())[1]
            ended = catalog.RUN_STATE.name + r'{[^}]*\bstate="stopped"[^}]*} 1'
            run.interrupt()
            poll(lambda: re.search(ended, get(url, 1.0)), 20, "a scraper sees how it ended", every=0.05)
            assert run.wait(30) == 130, run.text()
            assert "Traceback" not in run.text()
            assert "stopped by Ctrl-C: " in run.text()
            assert f"continue with `raymon train --resume {tmp_path / 'one'}`" in run.text()
        poll(lambda: not any(map(alive, started)), 10, "everything it started has ended")
    updates = [row["update"] for row in rows(progress)]
    assert updates == list(range(1, len(updates) + 1))
    assert checkpoint.load(tmp_path / "one").counters["update"] == updates[-1]
    summary = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert summary["ledger"]["balanced"]
    assert summary["state"] == "stopped"


def test_in_one_process_everything_is_recorded_on_disk(tmp_path):
    more = ("--workers", "0", "--sampler", "sync", "--total-env-steps", "5000", "--tensorboard", "--name", "x")
    with Command("train", *QUICK, *more, "--runs", str(tmp_path), cwd=tmp_path) as run:
        assert run.wait(200) == 0, run.text()
    folder = tmp_path / "x"
    kept = {entry.name for entry in folder.iterdir()}
    assert kept == {"checkpoint.npz", "config.yaml", "progress.csv", "progress.jsonl", "summary.json", "tensorboard"}
    assert list((folder / "tensorboard").iterdir())
    assert option_files.load(folder / "config.yaml").name == "x"
    assert "holds a run already" in refused(tmp_path, *QUICK, *more)
    assert "give a larger --total-env-steps" in refused(tmp_path, "--resume", str(folder))


def test_the_module_of_a_worker_needs_no_torch(tmp_path):
    code = "import sys, raymon.ppo.worker, raymon.ppo.stepping; sys.exit('torch' in sys.modules)"
    with Command("-c", code, cwd=tmp_path, program=(sys.executable,), PYTHONPATH=str(Path.cwd())) as run:
        assert run.wait(120) == 0, run.text()

"""Joining a cluster that wants a token, from a process that Ray left without one, and from one that has none."""

import sys

import pytest
from support import ROOT, Command, poll, short_folder

HEAD = """
import ray, signal, sys
context = ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100_000_000, _temp_dir=sys.argv[1])
print("address", context.address_info["gcs_address"], flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def head():
    """A Ray that another process started; yields its address and a home folder with its token."""
    with short_folder() as folder:
        home = folder / "home"
        home.mkdir()
        script = folder / "head.py"
        script.write_text(HEAD)
        with Command(str(script), str(folder / "ray"), cwd=folder, program=(sys.executable,), HOME=str(home)) as head:
            line = poll(lambda: next((x for x in head.text().splitlines() if x.startswith("address ")), ""), 60)
            yield line.split()[1], home


def train(head, folder, **env):
    address, _ = head
    options = ("--address", address, "--total-env-steps", "5000", "--workers", "1", "--no-page", "--exit-when-done")
    with Command("train", *options, "--runs", str(folder / "runs"), cwd=ROOT, **env) as run:
        return run.wait(120), run.text()


def test_a_run_joins_a_cluster_by_its_address_with_the_token(head, tmp_path):
    code, text = train(head, tmp_path, HOME=str(head[1]))
    assert code == 0, text
    assert "finished: " in text


def test_a_missing_token_is_reported_at_once(head, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)  # a Ray of another test in this process has set it
    (tmp_path / "home").mkdir()
    code, text = train(head, tmp_path, HOME=str(tmp_path / "home"))
    assert code == 2, text
    assert "wants a token and there is none here; copy the head's ~/.ray/auth_token" in text
    assert len(text.strip().splitlines()) == 1


def test_a_silent_server_gets_no_token():
    from raymon.cluster.join import wants_token

    assert not wants_token("127.0.0.1:1")
    assert not wants_token("auto")

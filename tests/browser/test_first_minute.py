"""The first minute as a user has it: one command trains, its page is open, workers are stopped and killed."""

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest
from support import Command, chromium_page, free_port, get, poll, short_folder


def processes_below(folder):
    """Living processes that carry the folder on their command line or in their environment: all a run has started."""
    messages = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes()
            mark = f"RAYMON_TEST_FOLDER={folder}".encode()
            alive = (process / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
            if alive and (str(folder).encode() in line or mark in (process / "environ").read_bytes()):
                messages.append((int(process.name), line.replace(b"\0", b" ")[:120]))
    return messages


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """`raymon train` with three workers, one of which hangs after a while, and its page."""
    folder = tmp_path_factory.mktemp("first")
    with short_folder() as temp:
        port = free_port()
        options = (
            "--name",
            "first",
            "--workers",
            "3",
            "--envs-per-worker",
            "8",
            "--total-env-steps",
            "1000000000",
            "--page-port",
            str(port),
            "--ray-temp-dir",
            str(temp),
            "--worker-timeout",
            "600",
            "--inject",
            "hang worker=2 after=60s",
        )
        with Command("train", *options, cwd=folder, RAYMON_TEST_FOLDER=str(temp)) as command:
            url = f"http://127.0.0.1:{port}"
            poll(lambda: command.process.poll() is not None or get(f"{url}/_stcore/health"), 120, "the page is served")
            assert command.process.poll() is None, command.text()
            command.url, command.temp = url, temp
            yield command
            command.interrupt()
            command.wait(30)
            poll(lambda: not processes_below(temp), 10, f"no process left: {processes_below(temp)}")


@pytest.fixture(scope="module")
def page(training):
    with chromium_page(1400, 1000) as page:
        page.goto(training.url)
        page.wait_for_selector("tr[data-worker]", timeout=60_000)
        yield page


def row(page, worker):
    """State, reason and pid of a worker, as the page's table shows them."""
    cell = page.locator(f'tr[data-worker="{worker}"]').first
    text = cell.inner_text(timeout=5000)
    pid = re.search(r"pid (\d+)", text)
    return cell.get_attribute("data-state"), text, int(pid.group(1)) if pid else None


def healthy(page, worker):
    state, _, pid = row(page, worker)
    return (state in ("running", "waiting") and pid) or None


def test_terminal_prints_the_addresses_and_progress(training, page):
    text = training.text()
    assert training.url in text
    assert re.search(r"Ray Dashboard\s+http://127\.0\.0\.1:\d+", text)
    assert re.search(r"metrics\s+http://\S+/metrics", text)
    poll(lambda: re.search(r"steps/s.*return.*learn +\d+ ?%", training.text()), 30, "live progress in the terminal")


def test_every_worker_is_shown_alive(page):
    for worker in range(3):
        poll(lambda worker=worker: healthy(page, worker), 40, f"worker {worker} running or waiting")


def test_stopped_process_is_stalled_and_recovers(page):
    pid = poll(lambda: healthy(page, 1), 40, "worker 1 is well")
    os.kill(pid, signal.SIGSTOP)
    try:
        poll(lambda: row(page, 1)[0] == "stalled", 25, "worker 1 stalled, within 15 s where the machine is idle")
        assert re.search("no heartbeat|its process is stopped", row(page, 1)[1])
        assert row(page, 0)[0] in ("running", "waiting", "slow")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert poll(lambda: healthy(page, 1), 40, "worker 1 well again") == pid


def test_killed_worker_is_replaced_with_its_reason(training, page):
    pid = poll(lambda: healthy(page, 0), 40, "worker 0 is well")
    os.kill(pid, signal.SIGKILL)
    new = poll(lambda: (now := healthy(page, 0)) and now != pid and now, 40, "worker 0 is replaced")
    assert new != pid
    poll(lambda: "killed" in row(page, 0)[1], 30, "the reason is shown")
    assert training.process.poll() is None


def test_hanging_environment_is_stalled_with_a_heartbeat(page):
    poll(lambda: row(page, 2)[0] == "stalled", 130, "worker 2 stalled")
    assert "no heartbeat" not in row(page, 2)[1]
    poll(lambda: "it hangs in Trouble._strike → sleep (faults.py:" in row(page, 2)[1], 20, "its line")


def test_page_sends_requests_to_its_own_server_only(training, page):
    requested = page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
    assert requested
    assert all(name.startswith((training.url, "data:", "blob:")) for name in requested), requested

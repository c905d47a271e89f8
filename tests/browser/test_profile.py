"""`raymon profile` on real runs: the slow worker's function is named, a hung one's stack, and the job goes on."""

import contextlib
import itertools
import json
import os
import re
import signal

import pytest
from support import ROOT, Command, chromium_page, poll, short_folder

COMMON = (
    "--env",
    "raymon/Simulated-v0",
    "--workers",
    "3",
    "--envs-per-worker",
    "2",
    "--fragment-steps",
    "4",
    "--total-env-steps",
    "10000000",
    "--no-page",
    "--no-dashboard",
    "--name",
    "p",
)


@contextlib.contextmanager
def training(*options):
    """Train in a temporary folder; yield (folder, metrics URL, command) after two updates."""
    with short_folder() as folder:
        places = ("--runs", str(folder / "runs"), "--ray-temp-dir", str(folder / "ray"))
        with Command("train", *COMMON, *places, *options, cwd=ROOT) as run:
            poll(lambda: (folder / "runs/p/progress.jsonl").read_text().count("\n") > 2, 120, "updates")
            yield folder, re.search(r"http://\S+/metrics", run.text())[0], run


def profile(folder, url, *options, expected=0):
    with Command("profile", "--metrics-url", url, "--run", "p", *options, cwd=folder) as command:
        assert command.wait(120) == expected, command.text()
        return command.text()


@pytest.fixture(scope="module")
def slow():
    with training("--sampler", "sync", "--inject", "slow worker=1 factor=6 after=1s") as (folder, url, _):
        poll(lambda: (folder / "runs/p/progress.jsonl").read_text().count("\n") > 18, 120, "iterations that are slow")
        text = profile(folder, url, "--seconds", "6")
        yield folder, url, text, next((folder / "runs/p").glob("profile-*"))


def test_slow_function_is_named(slow):
    _, _, text, _ = slow
    assert "Straggler-bound: Worker 1" in text
    assert re.search(r"Functions in which worker 1 spends more time than worker [02]", text), text
    assert re.search(r"against +\S+ \S+  Trouble\.around \(raymon/ppo/faults\.py\)", text), text
    assert "Worker 1 was the last to deliver in " in text
    assert "waits for Ray" in text


def test_timeline_holds_every_process(slow):
    *_, folder = slow
    events = json.loads((folder / "timeline.json").read_text())["traceEvents"]
    names = {event["args"]["name"].split(" (")[0] for event in events if event["name"] == "process_name"}
    assert names == {"driver", "worker 0", "worker 1", "worker 2"}
    spans = [event for event in events if event["ph"] == "X"]
    assert {"iteration", "sample", "learn", "rollout"} <= {event["name"] for event in spans}
    rollouts = [event for event in spans if event["name"] == "rollout"]
    assert any(event["args"].get("environment_seconds", 0) > 0 for event in rollouts)
    iterations = sorted((e["ts"], e["dur"]) for e in spans if e["name"] == "iteration")
    assert all(begin + took <= start + 1 for (begin, took), (start, _) in itertools.pairwise(iterations))


def test_stacks_are_written_and_the_node_is_clean(slow):
    root, *_, folder = slow
    assert {path.name for path in folder.glob("stacks-*.txt")} == {
        "stacks-driver.txt",
        "stacks-worker-0.txt",
        "stacks-worker-1.txt",
        "stacks-worker-2.txt",
    }
    assert re.search(r"^thread \(.*\): MainThread;.* \d+$", (folder / "stacks-driver.txt").read_text(), re.MULTILINE)
    (session,) = (root / "ray").glob("session_2*")
    left = [path.name for path in (session / "raymon").iterdir()]
    assert not [name for name in left if not re.match(r"(process|native)-\d+\.", name)]


def test_report_needs_no_network(slow):
    *_, folder = slow
    urls, wrong = [], []
    with chromium_page(1280, 900) as page:
        page.on("request", lambda request: urls.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"file://{folder / 'report.html'}")
        frame = page.locator(".flame button", has_text="Trouble.around").first
        before = frame.bounding_box()["width"]
        frame.click()
        assert frame.bounding_box()["width"] > before
        page.keyboard.press("Escape")
        assert frame.bounding_box()["width"] == pytest.approx(before, abs=1)
        page.set_viewport_size({"width": 390, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert wrong == []
    assert all(url.startswith("file://") for url in urls)


def test_node_is_profiled_through_ray(slow):
    from raymon.cluster.discovery import raylets
    from raymon.profile.remote_nodes import NodePlan, RemoteError, gather_on

    root, *_ = slow
    (node,) = [node for node in raylets() if str(node.session_dir).startswith(str(root))]
    pids = [int(pid) for pid in re.findall(r"pid (\d+)", " ".join(_names(slow)))]
    gathered = gather_on(node.gcs_address, {node.node_address: NodePlan(tuple(pids), tuple(pids[:1]))}, 2.0, 50)
    assert {trace["worker"] for trace in gathered[node.node_address].traces} == {"driver", "0", "1", "2"}
    assert "MainThread" in gathered[node.node_address].stacks[pids[0]]
    with pytest.raises(RemoteError, match="no node 10\\.9\\.9\\.9"):
        gather_on(node.gcs_address, {"10.9.9.9": NodePlan((1,), (1,))}, 1.0, 50)


def _names(slow):
    events = json.loads((slow[3] / "timeline.json").read_text())["traceEvents"]
    return [event["args"]["name"] for event in events if event["name"] == "process_name"]


def test_wrong_use_is_one_sentence(slow):
    root, url, *_ = slow
    for options, part in (
        (("--worker", "9"), "run 'p' has no worker 9; it has driver, 0, 1, 2"),
        (("--output", "/proc/nowhere"), "cannot write to /proc/nowhere"),
        (("--seconds", "0"), "--seconds: found 0, expected 1 to 300"),
        (("--rate", "5000"), "--rate: found 5000, expected 1 to 200"),
    ):
        assert part in profile(root, url, *options, expected=2)


def test_hung_and_stopped_workers_show_their_frames():
    with training("--inject", "hang worker=1 after=5s") as (folder, url, run):
        progress = folder / "runs/p/progress.jsonl"
        with Command("top", "--once", "--json", "--seconds", "22", "--metrics-url", url, cwd=folder) as top:
            top.wait(60)
            workers = {worker["worker"]: worker for worker in json.loads(top.text())["workers"]}
        assert workers["1"]["state"] == "stalled", workers
        text = profile(folder, url, "--seconds", "2", "--worker", "1")
        assert "stalled; " in text
        assert "Trouble._strike (raymon/ppo/faults.py" in text
        pid = workers["2"]["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            text = profile(folder, url, "--seconds", "2", "--worker", "2", expected=1)
            assert "No phases came from worker 2" in text
            (stacks,) = folder.glob("runs/p/profile-*/stacks-worker-2.txt")
            assert "MainThread" in stacks.read_text()
        finally:
            os.kill(pid, signal.SIGCONT)
        before = progress.read_text().count("\n")
        poll(lambda: progress.read_text().count("\n") > before + 2, 60, "training goes on")
        assert run.process.poll() is None

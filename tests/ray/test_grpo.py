"""The GRPO example: each process has a role, phases take its time, and figures of language models are exported."""

import json
import re
import sys

import pytest
from exported import LABEL, LINE
from support import ROOT, Command, get, poll, settle, short_folder

from raymon import catalog

START = """
import runpy, sys
import ray
ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, object_store_memory=200_000_000,
         _temp_dir=sys.argv.pop(1), _system_config={"metrics_report_interval_ms": 1000})
node = ray.nodes()[0]
print(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics", flush=True)
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""
SMALL = ("--updates", "100000", "--warm-up", "2", "--prompts", "4", "--group", "4")


@pytest.fixture(scope="module")
def example():
    """The metrics page of a running example, and a folder to work in."""
    with short_folder() as folder:
        (folder / "start.py").write_text(START)
        program = (sys.executable, str(folder / "start.py"), str(folder / "ray"), str(ROOT / "examples" / "grpo.py"))
        with Command(*SMALL, cwd=folder, program=program) as running:
            poll(lambda: "update 20" in running.text(), 90, "twenty updates")
            (url,) = re.findall(r"http://\S+/metrics", running.text())
            yield url, folder


def series(url, metric):
    """Return the labels and the value of each series of a family."""
    matches = [match for match in map(LINE.fullmatch, get(url).splitlines()) if match]
    return [(dict(LABEL.findall(m["labels"])), float(m["value"])) for m in matches if m["name"] == metric.name]


def test_processes_have_roles_and_phases(example):
    def recorded():
        roles = {labels["worker"]: labels["role"] for labels, _ in series(example[0], catalog.ROLE)}
        assert roles == {"0": "rollout", "1": "rollout", "2": "reward", "3": "trainer"}
        phases = {(roles[s["worker"]], s["phase"]) for s, value in series(example[0], catalog.WORKER_PHASE) if value}
        expected = {("rollout", "generate"), ("rollout", "weight_sync"), ("reward", "reward"), ("trainer", "advantage")}
        assert expected | {("trainer", "train"), ("trainer", "weight_sync")} <= phases
        driver = {labels["phase"] for labels, value in series(example[0], catalog.PHASE_SECONDS) if value}
        assert {"generate", "reward", "train", "weight_sync"} <= driver

    settle(recorded)


def test_flow_is_exported(example):
    def recorded():
        total = {}
        for metric in (catalog.RESPONSES, catalog.TOKENS, catalog.GROUPS, catalog.WEIGHT_SYNCS, catalog.FRAGMENTS):
            total[metric] = sum(value for _, value in series(example[0], metric))
        assert total[catalog.RESPONSES] >= 20 * 16
        assert total[catalog.TOKENS] > 6 * total[catalog.RESPONSES]
        assert total[catalog.GROUPS] >= 20 * 4
        assert total[catalog.WEIGHT_SYNCS] >= 20
        assert max(value for labels, value in series(example[0], catalog.POLICY_LAG)) >= 1
        assert [value for _, value in series(example[0], catalog.BUFFER_CAPACITY)] == [4]

    settle(recorded)


def test_terminal_shows_the_four_actors(example):
    url, folder = example
    with Command("top", "--once", "--json", "--seconds", "5", "--metrics-url", url, cwd=folder) as top:
        assert top.wait(60) in (0, 1), top.text()
        text = top.text()
        assert text.startswith("{"), text
        report = json.loads(text)
    assert report["run"] == "grpo"
    assert sorted(worker["worker"] for worker in report["workers"]) == ["0", "1", "2", "3"]
    assert all(worker["pid"] for worker in report["workers"])
    roles = {worker["worker"]: worker["role"] for worker in report["workers"]}
    assert roles == {"0": "rollout", "1": "rollout", "2": "reward", "3": "trainer"}
    assert {"generate", "train"} <= {phase for phase, ratio in report["phases"].items() if ratio}
    assert report["flow"]["tokens_per_second"]["out"] > 0

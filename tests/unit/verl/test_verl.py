"""The plugin for verl on a package of the same shape: what is wrapped, what is left alone, when it does nothing.

`scripts/verl` runs it with the real one.
"""

import json
import runpy
import subprocess
import sys

import pytest
from language_views import rollout, trains
from page_views import history, page_html, snapshot
from support import ROOT

PACKAGE = {
    "__init__": """
import importlib.metadata
__version__ = "{version}"
import raymon.verl
""",
    "single_controller/base/decorator": """
def register(mode=None):
    return lambda method: method
""",
    "single_controller/base/worker": "class Worker: pass",
    "workers/engine_workers": """
from verl.single_controller.base.decorator import register
from verl.single_controller.base.worker import Worker

class Tensor:
    def numel(self):
        return 10

    def element_size(self):
        return 4

class Engine:
    def get_per_tensor_param(self, lora=False):
        return ((name, Tensor()) for name in "abc"), lora

class ActorRolloutRefWorker(Worker):
    def __init__(self, config, role):
        self.role = role
        self.actor = Engine()
        self.actor.engine = Engine()

    @register(mode=1)
    async def update_weights(self, broken=False):
        parameters, lora = self.actor.engine.get_per_tensor_param(lora=True)
        assert lora and [name for name, _ in parameters] == ["a", "b", "c"]
        if broken:
            raise OSError
        return 5

    @register(mode=1)
    def update_actor(self, n):
        return self.train_mini_batch(n)

    @register(mode=1)
    def train_mini_batch(self, n):
        return n + 1

    @register(mode=1)
    def to(self, device):
        return device
""",
    "utils/profiler": """
import contextlib

@contextlib.contextmanager
def marked_timer(name, timing_raw, color=None):
    yield
    timing_raw[name] = 1.0
""",
    "utils/tracking": """
class Tracking:
    def log(self, data, step, backend=None):
        self.logged = (data, step)
""",
    "trainer/ppo/core_algos": """
ADV_ESTIMATOR_REGISTRY = {}

def compute_grpo_outcome_advantage(token_level_rewards, response_mask, index):
    return len(index)

ADV_ESTIMATOR_REGISTRY["grpo"] = compute_grpo_outcome_advantage
""",
    "trainer/ppo/ray_trainer": """
from verl.trainer.ppo import core_algos
from verl.utils.profiler import marked_timer
from verl.utils.tracking import Tracking

class Rewards(list):
    def sum(self, _):
        return self

    def tolist(self):
        return list(self)

class RayPPOTrainer:
    def __init__(self, config):
        self.config = config

    def fit(self):
        tracking, timing = Tracking(), {}
        with marked_timer("step", timing):
            with marked_timer("gen", timing, color="red"):
                pass
            with marked_timer("update_weights", timing):
                pass
            estimate = core_algos.ADV_ESTIMATOR_REGISTRY["grpo"]
            estimate(token_level_rewards=Rewards([1, 1, 0, 1]), response_mask=None, index=["a", "a", "b", "b"])
        tracking.log({"training/global_step": 1, "actor/pg_loss": 0.5, "actor/lr": 1e-3}, step=1)
        return timing
""",
}
PROGRAM = """
import asyncio
import json
from types import SimpleNamespace as Namespace
import verl
from raymon.verl.wrapping import Process
from verl.workers.engine_workers import ActorRolloutRefWorker
from verl.trainer.ppo import ray_trainer

worker = ActorRolloutRefWorker({}, role="actor_rollout_ref")
assert worker.update_actor(1) == 2 and worker.to("cpu") == "cpu"
assert asyncio.run(worker.update_weights()) == 5
try:
    asyncio.run(worker.update_weights(broken=True))
except OSError:
    pass
assert not vars(worker.actor.engine)

config = Namespace(
    trainer=Namespace(experiment_name="sums"),
    algorithm=Namespace(adv_estimator="grpo"),
    actor_rollout_ref=Namespace(rollout=Namespace(name="vllm"), model=Namespace(path="/models/tiny")),
)
trainer = ray_trainer.RayPPOTrainer(config)
driver = Process.driver
timing = trainer.fit()

def sums(monitor):
    if monitor is None:
        return {}
    monitor._collect()
    taken = monitor.accumulator.take()
    values = {key: cell.total for key, cell, _ in taken.increases} | dict(taken.values)
    return {" ".join([name.removeprefix("ray_raymon_"), *labels]): value for (name, labels), value in values.items()}

print(json.dumps({"worker": sums(Process.worker), "driver": sums(driver), "timing": timing,
                  "role": getattr(Process.worker, "role", None), "run": getattr(driver, "run", None)}))
"""


def recorded(folder, version="0.9.1", **environment):
    for name, text in PACKAGE.items():
        file = folder / "verl" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("{version}", version))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env={"PATH": "", "PYTHONPATH": ":".join([str(folder), *filter(None, sys.path)]), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("verl"))


def test_worker_has_role_and_phase_of_the_outer_method(report):
    worker = report["worker"]
    assert report["role"] == "trainer"
    assert worker["role trainer"] == 1
    assert worker["rollouts_total"] == 2
    assert worker["worker_phase_seconds_total train"] > 0


def test_worker_counts_bytes_of_whole_weight_synchronizations(report):
    worker = report["worker"]
    assert worker["weight_syncs_total"] == 1
    assert worker["weight_sync_bytes_total"] == 3 * 10 * 4
    assert worker["weight_sync_seconds_total"] > 0


def test_controller_has_phases_groups_and_learning(report):
    driver = report["driver"]
    assert report["run"] == "sums"
    assert report["timing"] == {"gen": 1.0, "update_weights": 1.0, "step": 1.0}
    assert driver["updates_total"] == 1
    assert driver["phase_seconds_total generate"] > 0
    assert driver["phase_seconds_total weight_sync"] > 0
    assert driver["weight_syncs_total"] == 1
    assert (driver["groups_total yes"], driver["groups_total no"]) == (1, 1)
    assert driver["loss policy"] == 0.5
    assert driver["run_state finished"] == 1
    assert driver["recording_dropped_total"] == 0


@pytest.mark.parametrize(("version", "environment"), [("0.9.1", {"RAYMON_VERL": "0"}), ("0.12.0", {})])
def test_nothing_is_recorded_when_off_or_unknown(tmp_path, version, environment):
    report = recorded(tmp_path, version, **environment)
    assert (report["worker"], report["driver"], report["role"]) == ({}, {}, None)
    assert report["timing"] == {"gen": 1.0, "update_weights": 1.0, "step": 1.0}


def test_script_accepts_only_workers_that_work(monkeypatch):
    """A stalled worker, one without phases and a broken page each fail the checks of `scripts/verl`."""
    monkeypatch.syspath_prepend(ROOT / "scripts" / "verl")
    monkeypatch.delitem(sys.modules, "options", raising=False)
    checks = runpy.run_path(str(ROOT / "scripts" / "verl" / "checks.py"))["ON"]
    works = checks["every worker works, in phases, and has a process id"]
    drawn = checks["the status page shows every worker, and no section fails"]
    worker = {"worker": "0", "state": "running", "pid": 7, "phases": {"train": 0.4, "waiting": 0.6}}
    assert works({"workers": [worker]})
    assert not works({"workers": [worker, {**worker, "state": "stalled"}]})
    assert not works({"workers": [worker, {**worker, "phases": {"waiting": 1.0}}]})
    page = page_html(snapshot(trains(rollout("0")), histories={"r": history(tokens_out=[4000.0] * 20)}))
    assert drawn({"workers": [worker], "page": page})
    assert not drawn({"workers": [worker, {**worker, "worker": "1"}], "page": page})
    assert not drawn({"workers": [worker], "page": page.replace('data-section="language"', 'data-section="broken"')})


def test_package_declares_the_plugin():
    assert '[project.entry-points."verl.plugins"]\nraymon = "raymon.verl"\n' in (ROOT / "pyproject.toml").read_text()

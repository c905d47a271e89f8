"""What documentation shows is run: the examples of docstrings and every Python block of `docs/instrument.md`."""

import doctest
import importlib.util
import pkgutil
import re
import types

import pytest
import ray
from exported import total
from support import ROOT, ray_session, settle

import raymon
from raymon import catalog

SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
EXAMPLE = re.compile(r"^ +>>> ", re.MULTILINE)
ELSEWHERE = {"raymon.stack.grafana", "raymon.stack.starting"}  # need Grafana and Prometheus: run by tests of their own
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def documented():
    """Return the sections of the page that hold Python, each with its blocks."""
    _, *parts = SECTION.split((ROOT / "docs" / "instrument.md").read_text())
    return {
        title: BLOCK.findall(text) for title, text in zip(parts[::2], parts[1::2], strict=True) if BLOCK.search(text)
    }


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with ray_session(num_cpus=4):
        yield


def modules():
    names = [each.name for each in pkgutil.walk_packages(raymon.__path__, "raymon.")]
    doctests = [name for name in names if re.search(r">>> (?!.*\+SKIP)", source(name))]
    assert len(doctests) >= 5
    return ["raymon", *doctests]


def source(name):
    spec = importlib.util.find_spec(name)
    return (ROOT / spec.origin).read_text() if spec.origin else ""


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_docstrings(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert not failed


def test_every_section_with_python_is_run_here():
    assert list(documented()) == [
        "Any actor class: one line",
        "Where a worker's time goes",
        "The driver",
        "Language models",
        "Where a process hangs",
        "RLlib",
        "Your own metrics",
    ]


def run(title, **names):
    for block in documented()[title]:
        exec(compile(block, f"docs/instrument.md: {title}", "exec"), names)
    return names


def test_one_line_for_any_class():
    class Theirs:
        def sample(self, n):
            return [0] * n

    names = run("Any actor class: one line", Theirs=Theirs)
    sampler = names["Sampler"].remote(0)
    assert ray.get(sampler.sample.remote(3)) is None
    assert names["Theirs"]().sample(2) == [0, 0]


def test_the_parts_of_a_worker_s_time():
    sampler = run("Where a worker's time goes", raymon=raymon)["Sampler"](rank=5)
    sampler.policy, sampler.version, sampler.observation, sampler.total, sampler.length = abs, 7, 0, 1.0, 9
    sampler.env = types.SimpleNamespace(step=lambda action: (action, 0.0, True))
    sampler.sample()
    counted = {name: cell.total for (name, _), cell in sampler.monitor.accumulator._cells.items()}
    assert counted[catalog.ENV_STEPS.name] == counted[catalog.EPISODES.name] == 128
    assert counted[catalog.ROLLOUTS.name] == 1
    assert counted[catalog.RECORDING_DROPPED.name] == 0
    sampler.monitor.close()


class Fragment(list):
    seconds, version = 0.1, 0


def test_the_driver_s_loop():
    sampling = types.SimpleNamespace(remote=lambda: Fragment(range(8)))
    workers = [types.SimpleNamespace(sample=sampling)] * 2
    immediately = types.SimpleNamespace(get=list)
    names = run("The driver", raymon=raymon, ray=immediately, workers=workers, learn=lambda fragments: (0.5, 0.01))
    assert names["update"] == 999

    def recorded():
        assert total(catalog.UPDATES, run="my-run") == 1000
        assert total(catalog.FRAGMENTS, run="my-run", outcome="trained") == 2000
        assert total(catalog.FRAGMENT_STEPS, run="my-run", outcome="received") == 16000
        assert total(catalog.RECORDING_DROPPED, run="my-run") == 0

    settle(recorded)


def test_language_models():
    monitor = run("Language models", raymon=raymon, rank=6, generate=lambda _: [5, 6, 7], prompts=None)["monitor"]
    monitor.close()
    settle(lambda: recorded_tokens(18))


def recorded_tokens(number):
    assert total(catalog.TOKENS, worker="6", direction="out") == number


def test_evidence_of_a_hanging_process():
    assert run("Where a process hangs")["evidence"] == {}


@pytest.mark.filterwarnings("ignore")
def test_rllib_s_one_line():
    from ray.rllib.algorithms.ppo import PPOConfig

    config = run("RLlib", PPOConfig=PPOConfig)["config"]
    assert config.callbacks_class is importlib.import_module("raymon.rllib").Callbacks


def test_custom_metrics():
    monitor = raymon.Monitor(8, "figures")
    collisions = run("Your own metrics", raymon=raymon, monitor=monitor)["COLLISIONS"]
    monitor.close()
    settle(lambda: exactly_one(collisions))


def exactly_one(metric):
    assert total(metric, run="figures", kind="hard") == 1

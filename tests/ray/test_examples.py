"""Every example runs, reduced, and what it says it records is in the scrape."""

import importlib.util
import shlex
import subprocess
import sys

import pytest
import ray
from exported import series, total
from support import ROOT, free_port, poll, ray_session, settle

from raymon import catalog

REDUCED = {
    "sampler": "--actors 2 --updates 3 --steps 40",
    "averaging": "--workers 2 --rounds 3 --steps 5",
    "simulation": "--workers 2 --rounds 3 --points 1000",
    "rllib_own_env": "--runners 1 --iterations 2 --batch 128",
    "rllib_bipedal": "--runners 1 --iterations 1 --batch 512",
    "cpp_simulator": "--workers 2 --rounds 2 --steps 20",
}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with ray_session(num_cpus=8):
        yield


@pytest.fixture
def run(monkeypatch, capsys):
    def run_example(name, more=""):
        path = ROOT / "examples" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"example_{name}", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setattr(sys, "argv", [str(path), *shlex.split(f"{REDUCED[name]} {more}")])
        monkeypatch.setitem(sys.modules, module.__name__, module)
        # The actors cannot import it by this name: pickled by value, as a script's own classes are.
        ray.cloudpickle.register_pickle_by_value(module)
        spec.loader.exec_module(module)
        module.main()
        return capsys.readouterr().out

    return run_example


@pytest.fixture
def wait_for_runner(monkeypatch):
    """RLlib kills its runners at the end: let the end wait until runner 1 of a run has lived long enough to be seen."""
    from ray.rllib.algorithms.algorithm import Algorithm

    def wait(name):
        def patient(self, stop=Algorithm.stop):
            poll(lambda: series(catalog.ENV_STEPS, run=name, worker=1), 30, "the runner's figures")
            stop(self)

        monkeypatch.setattr(Algorithm, "stop", patient)

    return wait


def test_every_example_is_run_here():
    elsewhere = {"grpo"}
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(REDUCED) | elsewhere


def test_a_sampler_with_one_call_per_step(run):
    assert "3 updates" in run("sampler")

    def recorded():
        assert total(catalog.UPDATES, run="sampler") == 3
        assert total(catalog.ROLLOUTS, run="sampler") == total(catalog.ENV_STEPS, run="sampler") >= 120 - 3 * 2
        assert total(catalog.PHASE_SECONDS, run="sampler", phase="inference") > 0

    settle(recorded)


def test_workers_whose_weights_are_averaged(run):
    assert "distance" in run("averaging")

    def recorded():
        assert total(catalog.ENV_STEPS, run="averaging") == 2 * 3 * 5 * 64
        assert total(catalog.PUT_BYTES, run="averaging", kind="weights") == 3 * 16 * 8
        assert total(catalog.WORKER_PHASE, run="averaging", phase="environment") > 0

    settle(recorded)


def test_a_simulation_that_learns_nothing(run):
    assert "pi is about 3." in run("simulation")

    def recorded():
        assert total(catalog.ENV_STEPS, run="simulation") == 2 * 3 * 1000
        assert {len(series(catalog.ROLLOUTS, run="simulation", worker=worker)) for worker in (0, 1)} == {1}

    settle(recorded)


def test_rllib_with_a_custom_environment(run, wait_for_runner):
    wait_for_runner("corridor")
    assert "mean return" in run("rllib_own_env")

    def recorded():
        assert total(catalog.UPDATES, run="corridor") == 2
        # RLlib kills its runners, and their last second with them: the driver's ledger has everything.
        assert total(catalog.FRAGMENT_STEPS, run="corridor", outcome="received") >= 256
        assert len(series(catalog.ENV_STEPS, run="corridor", worker=1)) == 1

    settle(recorded)


def test_rllib_on_bipedal_walker(run, wait_for_runner):
    wait_for_runner("bipedal")
    assert "mean return" in run("rllib_bipedal")

    def recorded():
        assert total(catalog.FRAGMENT_STEPS, run="bipedal", outcome="received") >= 512
        assert len(series(catalog.ENV_STEPS, run="bipedal", worker=1)) == 1

    settle(recorded)


def test_a_simulator_in_cpp(run, tmp_path):
    source = ROOT / "examples" / "cpp_env"
    subprocess.run(["cmake", "-S", source, "-B", tmp_path], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", tmp_path], check=True, capture_output=True)
    port = free_port(2)
    with subprocess.Popen([tmp_path / "cpp_env", "--port", str(port), "--count", "2"]) as server:
        try:
            assert "mean reward" in run("cpp_simulator", f"--port {port}")
        finally:
            server.terminate()

    def recorded():
        assert total(catalog.ENV_STEPS, run="cpp") == 2 * 2 * 20
        assert total(catalog.WORKER_PHASE, run="cpp", phase="environment") > 0

    settle(recorded)

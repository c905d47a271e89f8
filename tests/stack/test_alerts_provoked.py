"""Every alert provoked once: real runs with injected faults, a real Prometheus, rules with shortened durations."""

import contextlib
import os
import signal
import time

import numpy as np
import pytest
from scraping import scraping
from support import Command, poll, ray_session

import raymon
from generate.alerts import ALERTS
from raymon.queries import workers

# The fixture is most of the time; on a loaded machine it takes minutes.
pytestmark = pytest.mark.timeout(600)
SPEED = 10.0
"""Windows and holds of the rules are a tenth as long."""
SLOW, LOOP, FAILING, LANGUAGE = "slow", "loop", "failing", "language"
RUNS = {
    # Worker 1 straggles, worker 2 hangs; later all are slow. The step size is absurd, so that the policy diverges.
    SLOW: (
        *("--workers", "4", "--learning-rate", "1.0"),
        *("--inject", "slow worker=1 factor=6"),
        *("--inject", "hang worker=2 after=12s"),
        *("--inject", "slow factor=60 after=30s"),
    ),
    LOOP: ("--workers", "2", "--inject", "crash worker=1 times=9", "--inject", "nan-loss after=3s"),
}


EXPECTED = {
    "RaymonWorkerDead": {"run": SLOW, "worker": "3"},
    "RaymonWorkerStalled": {"run": SLOW, "worker": "2"},
    "RaymonWorkerStraggling": {"run": SLOW, "worker": "1"},
    "RaymonRolloutsFailing": {"run": FAILING, "worker": "0"},
    "RaymonWorkerRestartLoop": {"run": LOOP, "worker": "1"},
    "RaymonThroughputCollapsed": {"run": SLOW},
    "RaymonNoUpdate": {"run": LOOP},
    "RaymonLossNotFinite": {"run": LOOP},
    "RaymonPolicyDiverging": {"run": SLOW},
    "RaymonNoLearningSignal": {"run": LANGUAGE},
    "RaymonWeightsStale": {"run": LANGUAGE},
    "RaymonBufferOverfull": {"run": LANGUAGE},
    "RaymonObjectStorePressure": {},
    "RaymonMetricsMissing": {"run": SLOW},
}
"""The run and the worker that each alert must name."""


def train(folder, address, name):
    """Start a run on an environment that waits more than it computes, so that several fit on two cores."""
    return Command(
        *("train", "--name", name, "--runs", str(folder), "--address", address, "--no-page", "--exit-when-done"),
        *("--env", "raymon/Simulated-v0", "--envs-per-worker", "4", "--fragment-steps", "8", "--no-anneal"),
        *("--total-env-steps", "100000000", "--worker-timeout", "600", "--max-restarts", "3"),
        *RUNS[name],
        cwd=folder,
    )


def start_failing_worker():
    """Start an actor whose rollouts all raise; nobody reads its results."""
    import ray

    @ray.remote(num_cpus=0)
    class Worker:
        def sample_for(self, seconds):
            monitor = raymon.Monitor(worker=0, run=FAILING)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                with contextlib.suppress(TypeError), monitor.rollout():
                    time.sleep(0.1)
                    raise TypeError("an argument of the environment has changed")

    worker = Worker.remote()
    worker.sample_for.remote(300)
    return worker


def start_language_model():
    """Start an actor that trains a language model on groups of equal rewards, without end to its stale samples."""
    import ray

    @ray.remote(num_cpus=0)
    class Controller:
        def train_for(self, seconds):
            driver = raymon.DriverMonitor(LANGUAGE, workers=1)
            rollout = raymon.Monitor(worker=0, run=LANGUAGE, role="rollout")
            rollout.policy_version(0)
            driver.state("training")
            end, version = time.monotonic() + seconds, 0
            while time.monotonic() < end:
                time.sleep(0.2)
                version += 1
                driver.policy_version(version)
                driver.groups(4, without_signal=4)
                driver.buffer(version, oldest_seconds=60.0)

    controller = Controller.remote()
    controller.train_for.remote(300)
    return controller


class Watch:
    """Polls the firing alerts and remembers them."""

    def __init__(self, prometheus):
        self.prometheus = prometheus
        self.fired = {}

    def look(self):
        """Add the alerts that fire now."""
        for alert in self.prometheus.api("alerts")["alerts"]:
            if alert["state"] == "firing":
                self.fired.setdefault(alert["labels"]["alertname"], []).append(alert)
        return self.fired

    def named(self, name):
        """Tell whether this alert has fired for the one it is provoked for: on a busy machine others may fire too."""
        return any(EXPECTED[name].items() <= alert["labels"].items() for alert in self.fired.get(name, ()))

    def until(self, *names, seconds):
        """Wait until all of these alerts have fired for the expected workers."""
        poll(lambda: self.look() and all(map(self.named, names)), seconds, f"{names} fire as expected", every=0.5)


@pytest.fixture(scope="module")
def fired(tmp_path_factory):
    """Provoke everything and return the alerts that fired, by name."""
    import ray

    folder = tmp_path_factory.mktemp("alerts")
    with ray_session(num_cpus=8, dashboard=True) as temp:
        discovery = temp / "prom_metrics_service_discovery.json"
        poll(discovery.exists, 30, "Ray wrote its discovery file")
        address = ray.get_runtime_context().gcs_address
        with (
            scraping(discovery, folder, rule_speed=SPEED) as prometheus,
            train(folder, address, SLOW) as slow,
            train(folder, address, LOOP) as loop,
        ):
            watch = Watch(prometheus)
            failing, language = start_failing_worker(), start_language_model()
            watch.until("RaymonWorkerStraggling", "RaymonWorkerStalled", seconds=120)
            # A stopped process: alive for the driver, silent in the metrics.
            stopped = process_of(prometheus, SLOW, "3")
            os.kill(stopped, signal.SIGSTOP)
            try:
                watch.until("RaymonLossNotFinite", "RaymonWorkerRestartLoop", seconds=120)
                loop.process.kill()
                watch.until("RaymonRolloutsFailing", "RaymonNoLearningSignal", "RaymonWeightsStale", seconds=60)
                watch.until("RaymonBufferOverfull", seconds=60)
                ray.kill(failing)
                ray.kill(language)
                kept = ray.put(np.zeros(180_000_000, dtype=np.uint8))
                watch.until("RaymonObjectStorePressure", "RaymonPolicyDiverging", seconds=120)
                del kept
                watch.until("RaymonMetricsMissing", "RaymonWorkerDead", "RaymonThroughputCollapsed", seconds=120)
                watch.until("RaymonNoUpdate", seconds=120)
                assert slow.process.poll() is None, slow.text()
                yield watch.fired
            finally:
                os.kill(stopped, signal.SIGCONT)


def process_of(prometheus, run, worker):
    """Return the process id of a worker, from its own gauge."""
    expression = workers.ONE_PROCESS.fill(run=run, worker=worker)
    (series, *_) = poll(lambda: prometheus.query(expression), 10, "the worker's process id")
    return int(float(series["value"][1]))


@pytest.mark.parametrize("name", [alert.name for alert in ALERTS])
def test_an_alert_fires_and_names_run_and_worker(fired, name):
    labels = [alert["labels"] for alert in fired[name]]
    assert any(EXPECTED[name].items() <= each.items() for each in labels), labels
    for alert in fired[name]:
        texts = alert["annotations"]
        assert "{{" not in "".join(texts.values())
        assert "no value" not in texts["description"]
        for value in EXPECTED[name]:
            assert alert["labels"][value] in texts["description"]

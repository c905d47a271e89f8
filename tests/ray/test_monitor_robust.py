"""In other people's hands: no Ray, forks, clock steps, shutdown, pickles, failing exporters; training never suffers."""

import logging
import pickle
import subprocess
import sys
import textwrap
import time

import cloudpickle
import pytest

import raymon
from raymon import catalog
from raymon.monitor import export, recorder


def run_script(code, timeout=90):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture
def fresh_log(caplog):
    recorder._complained.clear()
    with caplog.at_level(logging.DEBUG, logger="raymon"):
        yield caplog
    recorder._complained.clear()


def taken(monitor, metric):
    return sum(more for (name, _), _, more in monitor.accumulator.take().increases if name == metric.name)


def test_without_ray_recording_is_silent():
    done = run_script("""
        import sys, time, raymon
        monitor, driver = raymon.Monitor(), raymon.DriverMonitor()
        for _ in range(2000):
            with monitor.rollout():
                monitor.steps(1)
        with driver.iteration():
            driver.update(loss=1.0)
        driver.hold(object(), nbytes=5)
        monitor.flush(), driver.flush()
        monitor.close(), driver.close()
        monitor.steps(1)
        assert "ray" not in sys.modules
        heavy = {"torch", "streamlit", "pandas", "numpy", "ray.rllib"} & set(sys.modules)
        assert not heavy, heavy
    """)
    assert done.stdout + done.stderr == ""


def test_importing_raymon_costs_next_to_nothing():
    code = "import time; t = time.process_time(); import raymon; print(time.process_time() - t)"
    best = min(float(run_script(code).stdout) for _ in range(5))
    assert best < 0.1


def test_a_forked_child_neither_hangs_nor_counts_twice():
    done = run_script("""
        import os, sys, threading, raymon
        monitor, stop = raymon.Monitor(0, "fork"), threading.Event()
        def busy():
            while not stop.is_set():
                monitor.steps(1)
                with monitor.rollout(), monitor.phase("inference"):
                    pass
        threads = [threading.Thread(target=busy) for _ in range(4)]
        for thread in threads:
            thread.start()
        name = raymon.catalog.ENV_STEPS.name
        for _ in range(20):
            child = os.fork()
            if child == 0:
                monitor.steps(5)
                with monitor.rollout(), monitor.phase("environment"):
                    monitor.episode(1.0, 1)
                monitor.flush()
                more = sum(more for (found, _), _, more in monitor.accumulator.take().increases if found == name)
                alive = "raymon-flush" in [thread.name for thread in threading.enumerate()]
                os._exit(0 if more == 5 and alive else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads:
            thread.join()
    """)
    assert done.stderr == ""


def test_used_after_shutdown_and_with_no_agent_to_hear_it():
    done = run_script("""
        import logging, tempfile, ray, raymon
        heard = []
        handler = logging.Handler()
        handler.emit = heard.append
        logging.getLogger("raymon").addHandler(handler)
        with tempfile.TemporaryDirectory(prefix="rm-", dir="/tmp", ignore_cleanup_errors=True) as folder:
            options = dict(num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=folder,
                           object_store_memory=100_000_000)
            ray.init(**options, _system_config={"enable_metrics_collection": False})
            monitor = raymon.Monitor(0, "shutdown")
            monitor.steps(1)
            monitor.flush()
            ray.shutdown()
            for _ in range(3):
                with monitor.rollout():
                    monitor.steps(1)
                monitor.flush()
            assert monitor.accumulator.take().increases
        assert not heard, heard
    """)
    assert "Traceback" not in done.stderr


def test_a_pickled_monitor_is_the_same_worker_with_nothing_counted():
    monitor = raymon.Monitor(3, "pickled")
    monitor.steps(5)
    for load_dump in (pickle, cloudpickle):
        again = load_dump.loads(load_dump.dumps(monitor))
        assert (again.worker, again.run, again.enabled) == ("3", "pickled", True)
        assert taken(again, catalog.ENV_STEPS) == 0
    driver = pickle.loads(pickle.dumps(raymon.DriverMonitor("pickled", engine="mine", workers=4)))
    assert (driver.run, driver.worker) == ("pickled", "driver")


def test_steps_of_the_wall_clock_change_no_duration(monkeypatch):
    monitor = raymon.Monitor(0, "clock")
    real = time.time
    with monitor.rollout():
        monkeypatch.setattr(time, "time", lambda: real() - 86_400)
        with monitor.phase("environment"):
            monkeypatch.setattr(time, "time", lambda: real() + 86_400)
    assert 0 <= taken(monitor, catalog.ROLLOUT_SECONDS) * 1e-9 < 60


def test_an_exporter_that_fails_costs_one_log_line_and_no_count(monkeypatch, fresh_log):
    monitor = raymon.Monitor(0, "failing")
    monkeypatch.setattr(export, "ray_is_up", lambda: True)

    def fail(*_):
        raise RuntimeError("no agent")

    monkeypatch.setattr(export, "start_at_zero", lambda *_: None)
    monkeypatch.setattr(export, "hand_over", fail)
    monitor.steps(5)
    for _ in range(3):
        monitor.flush()
    given = []
    monkeypatch.setattr(export, "hand_over", lambda metric, _, value: given.append((metric.name, value)))
    monitor.steps(2)
    monitor.flush()
    assert [value for name, value in given if name == catalog.ENV_STEPS.name] == [7.0]
    assert len(fresh_log.records) == 1
    assert "training goes on" in fresh_log.records[0].getMessage()
    monitor.close()


def test_however_much_goes_wrong_there_is_one_log_line(fresh_log):
    monitor = raymon.Monitor(0, "noisy")
    for _ in range(100):
        monitor.steps("many")
        with monitor.phase("sleeping"):
            pass
    assert len(fresh_log.records) == 1
    assert monitor._dropped.total == 200


def test_a_signal_handler_may_record_in_the_middle_of_a_recording():
    run_script("""
        import signal, time, raymon
        monitor = raymon.Monitor(0, "signal")
        def handler(*_):
            with monitor.rollout(), monitor.phase("sending"):
                monitor.steps(1)
            monitor.flush()
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            with monitor.phase("inference"):
                monitor.steps(1)
        signal.setitimer(signal.ITIMER_REAL, 0)
    """)


def test_a_generator_that_is_left_in_a_phase_does_no_harm():
    monitor = raymon.Monitor(0, "generator")

    def sample():
        with monitor.rollout(), monitor.phase("inference"):
            yield 1
            yield 2

    left = sample()
    next(left)
    with monitor.rollout(), monitor.phase("environment"):
        pass
    left.close()
    with monitor.rollout():
        pass
    assert taken(monitor, catalog.ROLLOUTS) >= 1


def test_a_driver_created_before_ray_names_the_run():
    done = run_script("""
        import tempfile, ray, raymon

        @ray.remote(num_cpus=0)
        class Worker:
            def __init__(self):
                self.monitor = raymon.Monitor()
            def who(self):
                return self.monitor.run, self.monitor.worker

        driver = raymon.DriverMonitor("early")
        for _ in range(2):
            with tempfile.TemporaryDirectory(prefix="rm-", dir="/tmp", ignore_cleanup_errors=True) as folder:
                ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=folder,
                         object_store_memory=100_000_000)
                worker = Worker.remote()
                print(*ray.get(worker.who.remote()))
                ray.shutdown()
    """)
    assert done.stdout.splitlines() == ["early 0", "early 0"]

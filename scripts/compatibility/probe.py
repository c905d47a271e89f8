"""Check raymon's core on the Ray of this environment; prints one JSON line per check: check, ok, text.

    RAY_AUTH_TOKEN=SECRET PYTHONPATH=. python scripts/compatibility/probe.py PORT [CHECK…]

It starts its own small Ray in a temporary folder, its dashboard on PORT, and watches an actor class that knows nothing
of raymon. A check returns what it measured, or raises `AssertionError` with what it saw instead. All checks run
unless some are named.
"""

import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import ray

import raymon
from raymon import catalog
from raymon.queries import ray_families

ROOT = Path(__file__).resolve().parent.parent.parent
RUN = "foreign"
WORKERS = 3
STEPS = 7
TOKEN = os.environ["RAY_AUTH_TOKEN"]
DEADLINE_SECONDS = 30.0
LINE = re.compile(r"(?P<name>\w+)\{(?P<labels>[^}]*)\} (?P<value>\S+)")
LABEL = re.compile(r'(\w+)="([^"]*)"')
CORE_CHECKS = ("ray-package", "ray", "token", "endpoints", "discovery-file", "families", "gauges", "ray-version")
T = TypeVar("T")
OFF = "off by default"
STORED_BYTES = 40_000_000


class Simulator:
    """An actor class as somebody else writes it."""

    def rollout(self, n: int) -> list[int]:
        """Return the steps of a rollout."""
        time.sleep(0.02)
        return list(range(n))


Worker = ray.remote(num_cpus=0, max_restarts=-1)(raymon.instrument(Simulator, rollout="rollout", steps=len))


@dataclass
class Trainer:
    """A driver in the pattern of many trainers, and what it did according to its own clock.

    Attributes:
        folder: Ray's temp dir.
        dashboard_url: The Ray Dashboard.
        workers: The actors.
        monitor: The driver's monitor.
        rollouts: Rollouts that finished, by position of the actor.
        seconds: Seconds by phase.
    """

    folder: Path
    dashboard_url: str
    workers: list[Any] = field(default_factory=list)
    monitor: Any = None
    rollouts: list[int] = field(default_factory=lambda: [0] * WORKERS)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def sample(self, position: int, rollouts: int) -> None:
        """Have one actor make rollouts."""
        ray.get([self.workers[position].rollout.remote(STEPS) for _ in range(rollouts)])
        self.rollouts[position] += rollouts

    def iterate(self) -> None:
        """Collect one rollout of each worker and pretend to learn."""
        with self.monitor.iteration():
            begin = time.perf_counter()
            with self.monitor.phase("sample"):
                for position in range(WORKERS):
                    self.sample(position, 1)
            middle = time.perf_counter()
            with self.monitor.phase("learn"):
                time.sleep(0.05)
            self.monitor.update(loss=1.0)
            self.seconds["sample"] += middle - begin
            self.seconds["learn"] += time.perf_counter() - middle

    def all_exported(self) -> dict[str, float]:
        """Return the exported steps by worker; raise AssertionError while some are missing."""
        exported = totals(catalog.ENV_STEPS.name, "worker")
        assert sum(exported.values()) == STEPS * sum(self.rollouts), f"exported {exported}"
        return exported

    @contextmanager
    def running(self) -> Iterator[None]:
        """Iterate in the background."""
        stop = threading.Event()

        def run() -> None:
            while not stop.is_set():
                self.iterate()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def page() -> str:
    """Return the node's metrics page."""
    (node,) = [node for node in ray.nodes() if node["Alive"]]
    return get(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics")[1]


def get(url: str, token: str = "") -> tuple[int, str]:
    """Return the status and the body of a GET."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def totals(family: str, label: str) -> dict[str, float]:
    """Return a family's values on the page, summed by one label."""
    sums: dict[str, float] = defaultdict(float)
    for line in page().splitlines():
        match = LINE.fullmatch(line)
        if match and match["name"] == family:
            labels = dict(LABEL.findall(match["labels"]))
            sums[labels.get(label, "")] += float(match["value"])
    return dict(sums)


def eventually(measure: Callable[[], T]) -> T:
    """Return what `measure` returns once it no longer raises, within the deadline."""
    until = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            return measure()
        except (AssertionError, OSError, KeyError, ValueError):
            if time.monotonic() > until:
                raise
            time.sleep(0.3)


def verb(*arguments: str) -> tuple[int, str]:
    """Run a verb of raymon outside the repository; return its exit code and its output."""
    command = [sys.executable, "-m", "raymon", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, cwd=tempfile.gettempdir())
    assert "Traceback" not in done.stderr, done.stderr[-600:]
    return done.returncode, done.stdout or done.stderr


def wait_for_exporter() -> None:
    """Wait until the node's agent exports: some Rays lose what is recorded before."""

    def look() -> str:
        assert ray_families.NODE_CPU in names_on_page()
        return "exports"

    with contextlib.suppress(AssertionError, OSError):
        eventually(look)


# --- the checks -------------------------------------------------------------------------------------------------------


def counts(trainer: Trainer) -> str:
    """Compare the steps on the page with those each actor made, exactly."""
    for position in range(WORKERS):
        trainer.sample(position, 4 * (position + 1))

    def measure() -> str:
        found = totals(catalog.ENV_STEPS.name, "worker")
        assert sorted(found.values()) == [STEPS * n for n in sorted(trainer.rollouts)], f"exported {found}"
        return f"exact: {sum(found.values()):.0f} steps of {WORKERS} workers"

    return eventually(measure)


def phases(trainer: Trainer) -> str:
    """Compare the driver's phases with its own clock."""
    for _ in range(10):
        trainer.iterate()

    def measure() -> str:
        found = totals(catalog.PHASE_SECONDS.name, "phase")
        errors = [abs(found.get(phase, 0.0) - seconds) / seconds for phase, seconds in trainer.seconds.items()]
        assert max(errors) < 0.02, f"exported {found}, measured {dict(trainer.seconds)}"
        return f"within {max(errors):.1%} of the clock"

    return eventually(measure)


def restart(trainer: Trainer) -> str:
    """Kill an actor: its successor counts on under the same number."""
    before = eventually(trainer.all_exported)  # what an actor has not exported dies with it
    trainer.monitor.worker_lost(0, "killed")
    ray.kill(trainer.workers[0], no_restart=False)
    until = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < until:
        try:
            trainer.sample(0, 2)
            break
        except ray.exceptions.RayActorError:
            time.sleep(0.2)
    trainer.monitor.worker_restarted(0, "killed")

    def measure() -> str:
        exported = trainer.all_exported()
        assert set(exported) == set(before), f"workers {sorted(exported)}, before {sorted(before)}"
        return "same number, counts go on"

    return eventually(measure)


def discovery(trainer: Trainer) -> str:
    """Compare the endpoint in Ray's discovery file, and in the dashboard's list, with the node's own."""
    from raymon.live.targets import DiscoveryFileTargets

    (node,) = ray.nodes()
    endpoint = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"

    def measure() -> str:
        found = DiscoveryFileTargets(trainer.folder / "prom_metrics_service_discovery.json").find()
        assert endpoint in found.urls, f"found {found}, expected {endpoint}"  # older Rays list other processes too
        status, body = get(f"{trainer.dashboard_url}/api/prometheus/sd", TOKEN)
        return "file and dashboard" if status == 200 and endpoint.split("/")[2] in body else "file"

    return eventually(measure)


def top(trainer: Trainer) -> str:
    """Run `raymon top --once --json` on the running trainer."""
    file = trainer.folder / "prom_metrics_service_discovery.json"
    code, output = verb("top", "--once", "--json", "--discovery-file", str(file))
    report = json.loads(output)
    states = [worker["state"] for worker in report["workers"]]
    assert report["run"] == RUN, output[:400]
    assert len(states) == WORKERS, output[:800]
    assert set(states) <= {"running", "waiting"}, output[:800]
    return f"{len(states)} workers {'/'.join(sorted(set(states)))}, exit code {code}"


def profile(trainer: Trainer) -> str:
    """Run `raymon profile` on the running trainer: phases of all, stacks of all."""
    folder = trainer.folder / "profile"
    file = trainer.folder / "prom_metrics_service_discovery.json"
    options = ("--seconds", "2", "--worker", "all", "--worker", "driver", "--output", str(folder))
    code, output = verb("profile", *options, "--discovery-file", str(file))
    stacks = sorted(path.name for path in folder.glob("stacks-*.txt") if path.stat().st_size)
    assert (folder / "report.html").exists(), output[-600:]
    assert len(stacks) == WORKERS + 1, f"stacks of {stacks}; {output[-600:]}"
    phases = {event.get("name") for event in json.loads((folder / "timeline.json").read_text())["traceEvents"]}
    assert {"environment", "learn"} <= phases, f"timeline has {phases}"
    assert code == 0, output[-600:]
    return f"stacks of {len(stacks)} processes, timeline"


def doctor(trainer: Trainer) -> str:
    """Run `raymon doctor --json`: every check that concerns Ray itself is fine."""
    address = ray.get_runtime_context().gcs_address
    _, output = verb("doctor", "--json", "--address", address, "--ray-temp-dir", str(trainer.folder))
    results = {result["check"]: result for result in json.loads(output)}
    wrong = [results[name] for name in CORE_CHECKS if results[name]["state"] != "ok"]
    assert not wrong, json.dumps(wrong)
    return f"{len(CORE_CHECKS)} checks of Ray fine"


def token(trainer: Trainer) -> str:
    """Ask the dashboard without a token and with one, and through `raymon top`."""
    if importlib.util.find_spec("ray._private.authentication") is None:
        return "this Ray has none"
    url = f"{trainer.dashboard_url}/api/version"
    bare, right = get(url)[0], get(url, TOKEN)[0]
    if bare == right == 200:
        return OFF
    assert (bare in (401, 403), right) == (True, 200), f"without {bare}, with {right}"
    try:
        eventually(lambda: str(totals(catalog.ENV_STEPS.name, "worker")["0"]))
    except KeyError:
        return "accepted; this Ray then exports no metrics of actors"
    file = trainer.folder / "token"
    file.write_text(TOKEN)

    def measure() -> str:
        _, output = verb("top", "--once", "--json", "--dashboard-url", trainer.dashboard_url, "--token-file", str(file))
        assert json.loads(output)["run"] == RUN, output[:400]
        return f"accepted ({bare} without)"

    return eventually(measure)


def store(_: Trainer) -> str:
    """Put an object into Ray's object store and find it in the families that raymon reads."""
    import numpy as np

    reference = ray.put(np.ones(STORED_BYTES, np.uint8))
    wanted = {
        ray_families.STORE_AVAILABLE,
        ray_families.STORE_USED,
        ray_families.STORE_FALLBACK,
        ray_families.STORE_OBJECTS,
        ray_families.SPILL_BYTES,
        ray_families.SPILL_REQUESTS,
    }

    def measure() -> str:
        memory = totals(ray_families.STORE_MEMORY, "Location")
        assert memory.get("MMAP_SHM", 0.0) >= STORED_BYTES, f"{ray_families.STORE_MEMORY} {memory}"
        return f"{len(wanted) + 1} families, {STORED_BYTES / 1e6:.0f} MB seen"

    try:
        wait_for_families(wanted)
        return eventually(measure)
    finally:
        del reference


def nodes(_: Trainer) -> str:
    """Look for the families of nodes and actors that raymon reads."""
    wanted = {
        ray_families.ACTORS,
        ray_families.NODE_CPU,
        ray_families.NODE_MEMORY_USED,
        ray_families.NODE_MEMORY_TOTAL,
        ray_families.NODE_DISK_FREE,
        ray_families.NODE_DISK_USED,
        ray_families.NODE_SENT,
        ray_families.NODE_RECEIVED,
    }

    seen: dict[str, float] = {}

    def measure() -> str:
        for source, count in totals(ray_families.ACTORS, "Source").items():
            seen[source] = max(count, seen.get(source, 0.0))
        assert seen.get("gcs", 0.0) >= WORKERS, f"{ray_families.ACTORS} by Source, over all pages: {seen}"
        return f"{len(wanted)} families"

    wait_for_families(wanted)
    with contextlib.suppress(AssertionError):
        return eventually(measure)
    extra = Worker.remote()
    try:
        return f"{eventually(measure)}; the control store counts actors only when one starts or ends"
    finally:
        ray.kill(extra)


def wait_for_families(wanted: set[str]) -> None:
    """Wait until each family was on one page or another: some Rays leave a gauge out until it is set again."""
    seen: set[str] = set()

    def measure() -> str:
        seen.update(names_on_page())
        assert wanted <= seen, f"missing {sorted(wanted - seen)}"
        return "all"

    eventually(measure)


def names_on_page() -> set[str]:
    """Return the names of all families on the page."""
    return {line.partition("{")[0].partition(" ")[0] for line in page().splitlines() if not line.startswith("#")}


QUIET = (counts, phases, restart, discovery)
RUNNING = (top, profile, doctor, token, store, nodes)


def report(check: Callable[[Trainer], str], trainer: Trainer) -> None:
    """Run one check and print its result."""
    begin = time.monotonic()
    try:
        result = {"check": check.__name__, "ok": True, "text": check(trainer)}
    except Exception as error:  # noqa: BLE001  # a check that fails is a cell of the table; the others go on
        traceback.print_exc()
        result = {"check": check.__name__, "ok": False, "text": f"{type(error).__name__}: {error}"}
    print(json.dumps({**result, "seconds": round(time.monotonic() - begin, 1)}), flush=True)


def main() -> None:
    """Start Ray, run the checks and print the results."""
    with tempfile.TemporaryDirectory(prefix="rc", dir="/tmp", ignore_cleanup_errors=True) as folder:
        context = ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=200_000_000,
            include_dashboard=True,
            dashboard_port=int(sys.argv[1]),
            log_to_driver=False,
            _temp_dir=folder,
            _system_config={"metrics_report_interval_ms": 1000},
        )
        wait_for_exporter()
        trainer = Trainer(Path(folder), f"http://{context.dashboard_url}")
        trainer.workers = [Worker.remote() for _ in range(WORKERS)]
        trainer.monitor = raymon.DriverMonitor(run=RUN, workers=WORKERS)
        wanted = sys.argv[2:] or [check.__name__ for check in (*QUIET, *RUNNING)]
        try:
            for check in QUIET:
                if check.__name__ in wanted:
                    report(check, trainer)
            with trainer.running():
                for check in RUNNING:
                    if check.__name__ in wanted:
                        report(check, trainer)
        finally:
            ray.shutdown()


if __name__ == "__main__":
    main()

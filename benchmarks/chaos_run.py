"""One training run of `benchmarks.chaos`: started, watched, struck, and checked when it has ended."""

import fcntl
import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos_cluster import ChaosCluster
from benchmarks.processes import begun, title
from benchmarks.watched import Program, await_result
from raymon import catalog
from raymon.health.verdicts import TROUBLED_STATES
from raymon.top.json_output import report
from raymon.train import checkpoint

START_SECONDS: Final = 240.0
WORKERS: Final = 3
LOST_SECONDS: Final = 3.0
"""A flush of the worker, a report of Ray and a part of a scrape: what a killed process counted last may be lost."""
NODE_LOST_SECONDS: Final = 15.0
"""Without its node's agent a worker samples on unseen, until Ray notices that the node is dead."""
_EQUAL_SECONDS: Final = 10.0
_TORCH: Final = "torchinductor_"
"""Torch leaves an empty folder of that name, one for each user of the machine."""
_COMMON: Final = "--envs-per-worker 2 --fragment-steps 16 --minibatch 64 --epochs 1"
_SETTINGS: Final = {
    "own": f"{_COMMON} --checkpoint-every 20 --worker-timeout 20",
    "rllib": f"{_COMMON} --checkpoint-every 5",
}
_LOAD_RLLIB: Final = "import sys; from ray.rllib.core.rl_module import RLModule; RLModule.from_checkpoint(sys.argv[1])"


class ChaosRun:
    """A run of `raymon train` on a cluster."""

    def __init__(self, cluster: ChaosCluster, engine: str, name: str, folder: Path, draw: random.Random) -> None:
        self.cluster, self.engine, self.name, self.folder, self.random = cluster, engine, name, folder, draw
        self.records = folder / "disk" / name
        self.lost_nodes = 0
        self._requests, self._temporary = folder / "requests", folder / "tmp"
        self._requests.mkdir()
        self._temporary.mkdir()
        self._pids: dict[int, str] = {}
        sampler = f"--sampler {draw.choice(('async', 'sync', 'step'))}" if engine == "own" else ""
        options = f"--engine {engine} {sampler} --workers {WORKERS} --max-restarts 1000 {_SETTINGS[engine]}"
        places = f"--address {cluster.address} --name {name} --runs {folder / 'disk'} --total-env-steps 1000000000"
        env = f"benchmarks.chaos_env:Chaos-v0?folder={self._requests}"
        command = [*cluster.program, sys.executable, "-m", "raymon", "train", "--no-page", "--env", env]
        self.trainer = Program(
            [*command, *options.split(), *places.split()],
            folder / "trainer.log",
            TMPDIR=str(self._temporary),
            **cluster.environment,
        )
        try:
            await_result(self._trains, START_SECONDS, f"{name} trains; {folder / 'trainer.log'}", every=0.3)
        except BaseException:
            self.trainer.kill()
            raise

    def _trains(self) -> bool:
        if self.trainer.process.poll() is not None:
            raise AssertionError(f"the run ended before training: {self.trainer.text()[-1500:]}")
        return self.updates() >= 3 and self.healthy()

    # what a viewer sees

    def report(self) -> dict[str, Any]:
        """Return what `raymon top --once --json` prints, and remember the processes of the workers."""
        seen = report(self.cluster.collector.snapshot(), self.name)
        for worker in seen["workers"]:
            if worker["pid"] is not None:
                self._pids.setdefault(worker["pid"], begun(worker["pid"]))
        return seen

    def said(self) -> list[str]:
        """Return what a viewer says, one line for each finding, worker in trouble, alert and problem."""
        seen, snapshot = self.report(), self.cluster.collector.latest()
        findings = [f"{each['code']} [{each['worker']}] {each['sentence']}" for each in seen["verdict"]["findings"]]
        workers = [
            f"worker {each['worker']} {each['state']}: {each['reason']}"
            for each in seen["workers"]
            if each["state"] in TROUBLED_STATES
        ]
        alerts = [f"alert {a.name} [{a.worker}] {a.summary}" for a in snapshot.alerts if a.run == self.name]
        problems = [f"problem {each}" for each in seen["problems"]]
        return [*findings, *workers, *alerts, *problems, f"source {seen['source']}"]

    def healthy(self) -> bool:
        """Return whether every worker samples and nothing critical is said."""
        seen = self.report()
        working = [worker for worker in seen["workers"] if worker["state"] in ("running", "waiting", "slow", "suspect")]
        return len(working) == WORKERS and seen["verdict"]["severity"] != "critical" and not seen["problems"]

    def pid(self, worker: str) -> int:
        """Return the process of a worker."""
        return next(int(each["pid"]) for each in self.report()["workers"] if each["worker"] == worker)

    def workers(self) -> dict[str, str]:
        """Return each worker and the address of its node."""
        return {each["worker"]: each["node"] for each in self.report()["workers"]}

    # what the faults do

    def request(self, worker: str, kind: str) -> Callable[[], None]:
        """Have the environment of a worker fail; return how to end that."""
        number = int(worker) - (self.engine == "rllib")  # RLlib counts runners from 1
        draft = self._requests / f"{number}.new"
        draft.write_text(kind)
        draft.rename(self._requests / f"{number}.request")

        def undo() -> None:
            for state in ("request", "active"):
                (self._requests / f"{number}.{state}").unlink(missing_ok=True)

        return undo

    def fill_disk(self) -> Callable[[], None]:
        """Fill the disk of the records; return how to make room."""
        filler = self.folder / "disk" / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 65536)
            except OSError:
                pass
        return filler.unlink

    # what it recorded

    def updates(self) -> int:
        """Return the updates that the run's records hold."""
        try:
            return (self.records / "progress.jsonl").read_text().count("\n")
        except OSError:
            return 0

    def losses_of_workers(self) -> int:
        """Return how many workers the driver has lost, as a viewer's Prometheus knows it."""
        return int(sum(self.cluster.prometheus.totals(catalog.WORKER_LOSSES, self.name).values()))

    def ended(self, exit_code: int) -> list[str]:
        """Return what is wrong with the way in which the run ended."""
        text, code = self.trainer.text(), self.trainer.process.poll()
        wrong = [] if code == exit_code else [f"exit code {code}, expected {exit_code}"]
        if "Traceback" in text:
            wrong.append(f"a traceback: {text.strip().splitlines()[-1][:160]}")
        if not re.search(r"^raymon train: |\bstopped by\b", text, re.MULTILINE):  # Ray's raylet may print after it
            wrong.append(f"no clear sentence at the end: {text.strip()[-200:]!r}")
        return [*wrong, *self._checkpoint()]

    def has_checkpoint(self) -> bool:
        """Return whether the run has written a checkpoint."""
        return any((self.records / name).exists() for name in ("checkpoint.npz", "rllib-checkpoint"))

    def _checkpoint(self) -> list[str]:
        """Load the checkpoint as a run that goes on from it does."""
        if self.engine == "own":
            try:
                saved = checkpoint.load(self.records)
            except checkpoint.CheckpointError as error:
                return [f"the checkpoint: {error}"]
            return [] if saved.counters["update"] else ["the checkpoint holds no update"]
        module = self.records / "rllib-checkpoint" / "learner_group" / "learner" / "rl_module"
        done = subprocess.run(
            [sys.executable, "-c", _LOAD_RLLIB, str(module)], capture_output=True, text=True, check=False
        )
        return [] if done.returncode == 0 else [f"the checkpoint: {done.stderr.strip()[-160:]}"]

    def counters(self) -> tuple[list[str], float | None]:
        """Compare the ledger with Prometheus; return what differs, and the seconds of a worker that a kill lost.

        The driver's own counters have to be equal. What the workers counted may differ by what lost ones did last.
        """
        summary = json.loads((self.records / "summary.json").read_text())
        rows = [json.loads(line) for line in (self.records / "progress.jsonl").read_text().splitlines()]
        wrong = []
        if self.engine == "own" and not summary["ledger"]["balanced"]:
            wrong.append(f"the ledger does not balance: {summary['ledger']}")
        if (rows[-1]["update"], rows[-1]["env_steps"]) != (summary["updates"], summary["env_steps"]):
            wrong.append("the last row of the records is not the summary")
        if len(rows) != summary["updates"]:
            wrong.append(f"{len(rows)} rows for {summary['updates']} updates")
        deadline = time.monotonic() + _EQUAL_SECONDS
        while (differing := self._differing(summary)) and time.monotonic() < deadline:
            time.sleep(0.5)
        return [*wrong, *differing], self._lost_seconds(summary)

    def _differing(self, summary: dict[str, Any]) -> list[str]:
        """Return the driver's counters that are not the ledger's."""
        totals = self.cluster.prometheus.totals
        pairs = [("updates", totals(catalog.UPDATES, self.name).get(self.name), summary["updates"])]
        steps = totals(catalog.FRAGMENT_STEPS, self.name, "outcome")
        pairs.append(("steps trained", steps.get("trained"), summary["env_steps"]))
        if self.engine == "own":
            ledger, fragments = summary["ledger"], totals(catalog.FRAGMENTS, self.name, "outcome")
            losses = totals(catalog.WORKER_LOSSES, self.name, "reason")
            pairs += [
                ("steps received", steps.get("received"), ledger["received_steps"]),
                ("steps dropped", steps.get("dropped", 0), ledger["dropped_steps"]),
                ("fragments received", fragments.get("received"), ledger["received"]),
                ("fragments trained", fragments.get("trained"), ledger["trained"]),
                ("fragments dropped", fragments.get("dropped", 0), sum(ledger["dropped"].values())),
                ("actor calls", totals(catalog.ACTOR_CALLS, self.name).get(self.name), ledger["calls"]),
                *((f"lost ({why})", losses.get(why, 0), number) for why, number in ledger["losses"].items()),
            ]
        return [f"{name}: Prometheus {seen}, the run {kept}" for name, seen, kept in pairs if seen != kept]

    def _lost_seconds(self, summary: dict[str, Any]) -> float | None:
        """Return how many seconds in rollouts Prometheus misses (or has too many of) for each lost worker."""
        received = summary["ledger"]["received_steps"] if self.engine == "own" else summary["env_steps"]
        counted = sum(self.cluster.prometheus.totals(catalog.ENV_STEPS, self.name).values())
        sampling = sum(self.cluster.prometheus.totals(catalog.ROLLOUT_SECONDS, self.name).values())
        rate = counted / sampling if sampling else 0.0
        lost = self.losses_of_workers()
        return abs(counted - received) / rate / max(1, lost) if rate else None

    def left_behind(self, seconds: float) -> list[str]:
        """Return what the run left behind after so long: processes, files in the temporary directory, its lock."""
        for pid in self.trainer.processes():
            self._pids.setdefault(pid, begun(pid))
        deadline = time.monotonic() + seconds
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return left

    def _left(self) -> list[str]:
        left = [
            f"process {pid} ({title(pid).strip()[:80]})"
            for pid, since in self._pids.items()
            if since and begun(pid) == since
        ]
        left += [f"file {path.name}" for path in self._temporary.iterdir() if not path.name.startswith(_TORCH)]
        if self.records.exists():
            left += [f"file {path.name}" for path in self.records.glob(".*")]
            with (self.records / "progress.jsonl").open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    left.append("the lock of the records")
        return left

    def close(self) -> None:
        """End what is left of the run."""
        self.trainer.kill()
        shutil.rmtree(self._requests, ignore_errors=True)

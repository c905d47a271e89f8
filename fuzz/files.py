"""Files that somebody else may have written: checkpoints, configurations, incidents, state, captures, stacks."""

import functools
import io
import json
import math
import time
import zipfile
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from fuzz import mutation
from fuzz.drawn import check_html, check_terminal
from fuzz.harness import Check, Harness
from raymon.incident import incidents as incidents_command
from raymon.incident.report import report
from raymon.incident.store import DATA, IncidentStore, load
from raymon.monitor import capture, process_evidence
from raymon.monitor.private_files import FOLDER
from raymon.page.incident_list import summary
from raymon.ppo.actions import ActionSpec
from raymon.ppo.normalize import Normalizer, moments_of
from raymon.ppo.policy import ModelSpec
from raymon.stack import state
from raymon.train import checkpoint, evaluate, option_files, options

_PID: Final = 4242
_ID: Final = "0123456789abcdef"
_META: Final = "meta.npy"


@functools.cache
def checkpoint_parts() -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the JSON of a small checkpoint, and its arrays as npy files."""
    model = ModelSpec(3, ActionSpec("box", (1,), low=(-1.0,), high=(1.0,)), (4,))
    rng = np.random.default_rng(1)
    normalizer = Normalizer.fresh(3, observations=True, rewards=True)
    normalizer.add(moments_of(rng.normal(size=(50, 3))), moments_of(rng.normal(size=(50, 1))))
    names = ("weights", "adam_exp_avg", "adam_exp_avg_sq")
    arrays = {name: rng.normal(size=model.size()).astype(np.float32) for name in names}
    arrays["adam_step"] = np.array(3.0, np.float32)
    counters: dict[str, Any] = dict.fromkeys(("update", "env_steps", "episodes", "nonfinite_updates", "life"), 7)
    counters |= {"time_seconds": 1.5, "returns": [1.5, -2.0], "lengths": [10, 20]}
    config = option_files.as_plain(options.Config(env="Pendulum-v1", workers=2))
    saved = checkpoint.Checkpoint(config, model, arrays, normalizer, dict(rng.bit_generator.state), counters)
    meta = {"format": checkpoint.FORMAT, "version": checkpoint.VERSION, "config": config, "counters": counters}
    meta |= {"model": model.as_json(), "rng": saved.rng}
    files = {f"{name}.npy": _npy(array) for name, array in arrays.items()}
    for name, moments in (("observations", normalizer.observations), ("rewards", normalizer.rewards)):
        if moments is not None:
            stacked = np.stack([np.full_like(moments.mean, moments.rows), *moments[1:]])
            files[f"normalizer_{name}.npy"] = _npy(stacked)
    return meta, files


def _npy(array: Any) -> bytes:  # noqa: ANN401  # any array
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def changed_checkpoint(random: Random) -> bytes:
    """Return a changed checkpoint: its JSON, one of its arrays, the list of its files, or its bytes."""
    meta, sample = checkpoint_parts()
    files, text = dict(sample), json.dumps(meta)
    kind = random.random()
    if kind < 0.5:
        text = mutation.json_bytes(random, meta).decode(errors="replace")
    elif kind < 0.8:
        name = random.choice(sorted(files))
        head, mark, body = files[name].partition(b"\n")
        header = mutation.text(random, head.decode("latin-1")).encode("latin-1", "replace")
        files[name] = header + mark + body if random.random() < 0.7 else mutation.data(random, files[name])
    elif kind < 0.9:
        name = random.choice(sorted(files))
        files[mutation.hostile_text(random).encode(errors="replace").decode().strip("\0") or "x"] = files[name]
        del files[name]
    files[_META] = _npy(np.array(text))
    stream = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if random.random() < 0.05 else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name[:1000], content)
    packed = stream.getvalue()
    return mutation.data(random, packed) if kind >= 0.85 else packed


def _checkpoints(folder: Path) -> Check:
    path = folder / checkpoint.FILE_NAME

    def check(random: Random) -> None:
        path.write_bytes(changed_checkpoint(random))
        saved = checkpoint.load(path)
        checkpoint.check_env(path, saved.config["env"])
        player = evaluate.Player(saved, sample=random.random() < 0.5, seed=1)
        player.act(np.zeros((2, saved.model.observation_size), np.float32))
        kept = {name: value for name, value in saved.config.items() if name in options.CHECKPOINT_OPTIONS}
        option_files.from_plain({**kept, "resume": str(path)}, str(path)).check()

    return check


@functools.cache
def _configuration(suffix: str) -> str:
    path = Path(f"sample{suffix}")
    sample = options.Config(env="CartPole-v1", workers=2, inject=("slow worker=1 factor=5 after=20s",), name="mine")
    plain = dict(list(option_files.as_plain(sample).items())[::2]) | {"inject": list(sample.inject), "hidden": [8, 8]}
    if path.suffix == ".toml":
        return "\n".join(f"{key} = {json.dumps(value)}" for key, value in plain.items() if value is not None)
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in plain.items())


def _configurations(folder: Path) -> Check:
    def check(random: Random) -> None:
        path = folder / random.choice(("a.yaml", "a.toml"))
        sample = mutation.text(random, _configuration(path.suffix)).encode("utf-8", "surrogatepass")
        path.write_bytes(mutation.data(random, sample) if random.random() < 0.1 else sample)
        config = option_files.load(path)
        config.check()
        option_files.save(config, folder / f"b{path.suffix}")
        again = option_files.load(folder / f"b{path.suffix}")
        assert option_files.as_plain(again) == option_files.as_plain(config), "what was saved is not what was loaded"

    return check


_INCIDENT: Final = {
    "run": "run-0",
    "code": "worker_stalled",
    "severity": "critical",
    "worker": "1",
    "sentence": "Worker 1 has made no progress for 60 s.",
    "advice": "Look at its stack.",
    "opened_at": 1_800_000_000.0,
    "closed_at": 1_800_000_060.5,
    "findings": [{"code": "worker_stalled", "severity": "critical", "sentence": "Worker 1 hangs.", "worker": "1"}],
    "view": {"workers": [{"worker": "1", "activity": "environment", "rss_bytes": 3e8, "pid": 7, "node": "10.0.0.1"}]},
    "stacks": {
        "sentence": "1 of 2 processes is in recv (my_env.py).",
        "groups": [{"processes": ["worker 1"], "frames": ["recv (my_env.py:88)", "step (my_env.py:40)"]}],
        "unreadable": ["worker 2"],
        "elsewhere": ["10.0.0.2"],
    },
    "cluster": {
        "actors": [{"class": "Worker", "pid": 7, "node": "a", "state": "DEAD", "restarts": 1, "cause": "killed"}],
        "ended_workers": [{"pid": 7, "node": "a", "kind": "worker", "exit": "oom", "ended_at": 1_800_000_001.0}],
        "nodes": [{"id": "x", "address": "10.0.0.2", "alive": False, "cause": "gone"}],
    },
    "series": {
        "times": [1.0, 2.0, 3.0],
        "values": {"steps_per_second": [100.0, None, 50.0], "phase_learn": [0.5, 0.6, 0.7]},
        "worker_times": [1.0],
        "workers": {"1": {"steps_per_second": [1.0], "rss_bytes": [None]}},
    },
    "logs": {"raylet.out": "line 1\nline 2\n"},
    "machine": {"host": "here", "cpus": 2},
    "versions": {"raymon": "0.2.0", "ray": "2.60.0"},
}


def _incidents(folder: Path) -> Check:
    store = IncidentStore(folder)
    path = store.of("run-0") / "20270115-080000-worker_stalled-1"
    path.mkdir(parents=True, exist_ok=True)

    def check(random: Random) -> None:
        (path / DATA).write_bytes(mutation.json_bytes(random, _INCIDENT))
        incident = load(path)
        check_html(report(incident.data))
        check_terminal(incidents_command.printable_text(incident))
        json.dumps(incidents_command.summary(incident))
        summary(incident)
        store.list("run-0")

    return check


_STATE: Final = {
    "parts": {
        "prometheus": {
            "name": "prometheus",
            "pid": 2_000_000_000,
            "mark": "ticks 1",
            "port": 9090,
            "url": "http://127.0.0.1:9090",
            "command": ["prometheus", "--web.listen-address=127.0.0.1:9090"],
            "users": {"4242": "ticks 5"},
            "stays": True,
        }
    },
    "sources": {"temp_dirs": ["/x/ray"], "dashboard_urls": ["http://a:8265"], "targets": ["a:1"], "token_file": ""},
    "anonymous": False,
    "prometheus_url": "",
    "stays": True,
}


def _states(folder: Path) -> Check:
    def check(random: Random) -> None:
        (folder / "state.json").write_bytes(mutation.json_bytes(random, _STATE))
        known = state.read(folder)
        for part in known.parts.values():
            assert not known.running(part.name), "a process of our own choice runs"
            part.used, part.mine  # noqa: B018  # properties that read the process table
        state.write(folder, known)

    return check


def _session(folder: Path) -> Path:
    own = folder / FOLDER
    own.mkdir(mode=0o700, exist_ok=True)
    (own / _ID).mkdir(mode=0o700, exist_ok=True)
    return own


def _capture_requests(folder: Path) -> Check:
    own = _session(folder)

    def check(random: Random) -> None:
        request = {"id": _ID, "until": time.time() + random.choice((1.0, 60.0, 599.0)), "by": _PID}
        (own / capture.REQUEST).write_bytes(mutation.json_bytes(random, request))
        captures = capture.Captures()
        captures.look([], folder)
        running = captures._running
        assert running is None or running.until <= time.monotonic() + capture.LONGEST_SECONDS, "a capture without end"
        captures.end([])

    return check


_FRAMES: Final = [["Env.step", "/home/me/my_env.py", 88, "recv"], ["main", "/home/me/train.py", 10, "step"]]
_LEFT: Final = {
    "pid": _PID,
    "written": 1_800_000_000.0,
    "monitors": [
        {
            "run": "run-0",
            "worker": "1",
            "silent_since": 1_799_999_990.0,
            "failure": {"at": 1.0, "exception": "ValueError", "message": "no", "frames": _FRAMES},
            "losses": [{"at": 1.0, "worker": "2", "reason": "killed", "exit_code": 1, "signal": "SIGKILL"}],
        }
    ],
    "where": "Env.step → recv (my_env.py:88)",
    "waits_for": [{"actor": "ab", "worker": "3"}],
    "stacks": [["MainThread", _FRAMES]],
}
_DUMP: Final = (
    '{"main": "0x00007f1"}\nTimeout (0:00:03)!\nThread 0x00007f1 (most recent call first):\n'
    '  File "/home/me/my_env.py", line 88 in recv\n  File "/home/me/train.py", line 10 in main\n\n'
    'Thread 0x00007f2 (most recent call first):\n  File "/usr/lib/python3.11/threading.py", line 320 in wait\n'
)


def _stack_files(_folder: Path) -> Check:
    def check(random: Random) -> None:
        dump = mutation.text(random, _DUMP).encode("utf-8", "surrogatepass")
        dump = mutation.data(random, dump) if random.random() < 0.2 else dump
        content = mutation.json_bytes(random, _LEFT)
        left = process_evidence.parse(_PID, content, dump if random.random() < 0.5 else b"", 1_800_000_001.0)
        assert left is None or math.isfinite(left.written), "a moment that is none"

    return check


HARNESSES: Final = (
    Harness("checkpoint", "checkpoints, to a policy that acts and options that are checked", _checkpoints),
    Harness(
        "configuration", "configurations in YAML and TOML, loaded, checked, saved and loaded again", _configurations
    ),
    Harness("incident", "incident.json, to report, page, list and terminal", _incidents),
    Harness("state", "state.json of raymon up, to the processes it names", _states),
    Harness("capture-request", "requests of raymon profile to a process", _capture_requests),
    Harness("stack-file", "stacks that a process left in the session's folder", _stack_files),
)

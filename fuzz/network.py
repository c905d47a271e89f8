"""What other processes and machines answer: environments over ZeroMQ, HTTP servers, Ray's discovery."""

import functools
import json
import os
import socket
import threading
from pathlib import Path
from random import Random
from typing import Any, Final

import gymnasium
import msgpack
import numpy as np

from fuzz import mutation
from fuzz.drawn import check_terminal
from fuzz.harness import Check, Harness
from raymon.cluster import cluster_state, control_store, discovery
from raymon.cluster.http import get
from raymon.envs import wire
from raymon.envs.remote import RemoteEnv
from raymon.envs.server import Session
from raymon.incident.deaths import DeathLog, read_deaths
from raymon.live.targets import DiscoveryFileTargets, LocalTargets, endpoints

_MESSAGES: Final[dict[str, list[dict[str, Any]]]] = {
    "hello": [
        {"op": "spaces", "version": 1, "observation": {"shape": [3]}, "action": {"kind": "discrete", "n": [3]}},
        {
            "op": "spaces",
            "version": 1,
            "observation": {"shape": [2, 2]},
            "action": {"kind": "multidiscrete", "n": [2, 3]},
        },
        {
            "op": "spaces",
            "version": 1,
            "observation": {"shape": [3]},
            "action": {"kind": "box", "low": [-1.0], "high": [1.0]},
        },
    ],
    "reset": [{"op": "observation"}, {"op": "error", "message": "no"}],
    "step": [{"op": "transition", "reward": 1.5, "terminated": False, "truncated": True}],
}
"""Replies of a server by request; an observation follows those of reset and step."""
_OBSERVATION: Final = np.array([0.5, -1.0, 2.0], np.float32).tobytes()


def changed_frames(random: Random, header: Any, arrays: list[bytes]) -> list[bytes]:  # noqa: ANN401  # any tree
    """Return a message with its header, its array or the number of its frames changed."""
    try:
        packed = msgpack.packb(mutation.tree(random, header) if random.random() < 0.7 else header)
    except (ValueError, OverflowError, TypeError):  # msgpack holds neither large integers nor lone surrogates
        packed = msgpack.packb(header)
    frames = [packed, *arrays]
    if random.random() < 0.3:
        at = random.randrange(len(frames))
        frames[at] = mutation.data(random, frames[at])
    if random.random() < 0.1:
        frames += [random.choice(frames)] * random.choice((1, 2, 1000))
    if random.random() < 0.05:
        del frames[random.randrange(len(frames))]
    return frames or [b""]


class _FakeSocket:
    """A socket whose peer answers with one kind of message changed."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._changed = random.choice(sorted(_MESSAGES))
        self._frames: list[bytes] = []
        self.closed = False

    def send_multipart(self, frames: list[bytes], **_options: object) -> None:
        op = msgpack.unpackb(frames[0])["op"]
        header = self._random.choice(_MESSAGES[op]) if op == self._changed else _MESSAGES[op][0]
        arrays = [] if op == "hello" else [_OBSERVATION]
        plain = [*wire.encode(header), *arrays]
        self._frames = changed_frames(self._random, header, arrays) if op == self._changed else plain

    def poll(self, _milliseconds: int) -> int:
        return 1

    def recv(self, _flags: int) -> bytes:
        return self._frames.pop(0)

    def getsockopt(self, _option: int) -> int:
        return len(self._frames)

    def close(self) -> None:
        self.closed = True


def _server_replies(_folder: Path) -> Check:
    def check(random: Random) -> None:
        env = RemoteEnv.__new__(RemoteEnv)  # without its constructor, which opens a real socket
        env._name, env._timeout, env._socket = "zmq://127.0.0.1:1", 1.0, _FakeSocket(random)
        env._hello()
        observation, _ = env.reset(seed=1)
        assert env.observation_space.contains(observation), "an observation of another shape"
        for _ in range(2):
            observation, reward, _, _, _ = env.step(env.action_space.sample())
            assert np.isfinite([*np.ravel(observation), reward]).all(), "numbers that are none"

    return check


@functools.cache
def _session(env: str) -> Session:
    return Session(gymnasium.make(env))


def _client_requests(_folder: Path) -> Check:
    requests: tuple[tuple[str, dict[str, Any], list[bytes]], ...] = (
        ("CartPole-v1", {"op": "hello", "version": 1}, []),
        ("CartPole-v1", {"op": "reset", "seed": 1}, []),
        ("CartPole-v1", {"op": "step"}, [np.array(1, np.int32).tobytes()]),
        ("Pendulum-v1", {"op": "step"}, [np.array([0.5], np.float32).tobytes()]),
        ("CartPole-v1", {"op": "close"}, []),
    )
    for env in ("CartPole-v1", "Pendulum-v1"):
        _session(env).answer(wire.encode({"op": "reset", "seed": 1}))

    def check(random: Random) -> None:
        env, header, arrays = random.choice(requests)
        reply = _session(env).answer(changed_frames(random, header, arrays))
        wire.header_from(reply)

    return check


_LISTED: Final = [{"labels": {"job": "ray"}, "targets": ["10.0.0.1:8080", "10.0.0.2:8080", "[::1]:9"]}]
_RAYLET: Final = (
    "/x/raylet",
    "--session_dir={folder}/session_2026-01-02_03-04-05_1_2",
    "--gcs-address=10.0.0.1:6379",
    "--temp_dir={folder}",
    "--node_id=ab12",
    "--node_ip_address=10.0.0.1",
    "--metrics-export-port=8080",
)


def _discovery(folder: Path) -> Check:
    process, session = folder / "proc" / "4242", folder / "session_2026-01-02_03-04-05_1_2"
    for path in (process, session):
        path.mkdir(parents=True, exist_ok=True)

    def check(random: Random) -> None:
        listed = folder / discovery.DISCOVERY_FILE
        listed.write_bytes(mutation.json_bytes(random, _LISTED))
        arguments = [part.format(folder=folder) for part in _RAYLET]
        at = random.randrange(len(arguments))
        arguments[at] = mutation.text(random, arguments[at])
        command = "\0".join(arguments).encode("utf-8", "surrogatepass")
        (process / "cmdline").write_bytes(mutation.data(random, command) if random.random() < 0.3 else command)
        (session / "metrics_export_port_ab12").write_bytes(mutation.data(random, b"8080"))
        (folder / "ray_current_cluster").write_bytes(mutation.data(random, b"10.0.0.1:6379"))
        for source in (DiscoveryFileTargets(listed).find(), LocalTargets(folder / "proc").find()):
            check_terminal(" ".join((source.source, source.problem, *source.urls)))
            assert all(url.startswith(("http://", "https://")) for url in source.urls), "an address of another scheme"
        if random.random() < 0.02:  # it reads the whole process table
            assert discovery.cluster_address(folder).text.isprintable(), "an address that cannot be printed"

    return check


_NODES: Final = {
    "nodes": [{"address": "10.0.0.1", "metrics_port": 8080}],
    "dashboard": "127.0.0.1:8265",
    "version": "2.60.0",
}
_STATE: Final = {
    "at": 1_800_000_000.0,
    "actors": [
        {"id": "ab", "name": "", "class": "Worker", "state": "DEAD", "pid": 7, "node": "a", "restarts": 0, "cause": "x"}
    ],
    "workers": [{"pid": 7, "node": "10.0.0.2", "kind": "worker", "exit": "killed", "ended_at": 1_800_000_000.0}],
    "nodes": [
        {"id": "x", "address": "10.0.0.1", "alive": True, "cause": ""},
        {"id": "y", "address": "10.0.0.2", "alive": False, "cause": "lost"},
    ],
}


def _control_store(folder: Path) -> Check:
    def check(random: Random) -> None:
        reply = control_store._parse(mutation.json_bytes(random, _NODES).decode(errors="replace"))
        endpoints(url for url in reply.metrics_urls)
        log = DeathLog(folder)
        for _ in range(2):
            known = cluster_state._parsed(mutation.json_bytes(random, _STATE).decode(errors="replace"))
            if not known.error:
                log.update(known)
        read_deaths(folder)
        (folder / "deaths.jsonl").unlink(missing_ok=True)

    return check


_REPLY: Final = (
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sat, 28 Nov 2026 05:00:00 GMT\r\nContent-Length: 12\r\n"
    "Connection: close\r\n\r\nray_x{} 1.0\n"
)
_CHUNKED: Final = (
    "HTTP/1.1 301 Moved\r\nTransfer-Encoding: chunked\r\nLocation: http://other/\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
)


class _HttpServer:
    """A server that answers each connection with the bytes it is given, and closes it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/metrics"
        self.reply = b""
        threading.Thread(target=self._serve, name="fuzz-http", daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                try:
                    connection.recv(65536)
                    connection.sendall(self.reply)
                except OSError:
                    continue


@functools.cache
def _http_server(_process: int) -> _HttpServer:
    return _HttpServer()


def _http_replies(_folder: Path) -> Check:
    server = _http_server(os.getpid())

    def check(random: Random) -> None:
        sample = mutation.text(random, random.choice((_REPLY, _CHUNKED))).encode("utf-8", "surrogatepass")
        server.reply = mutation.data(random, sample) if random.random() < 0.3 else sample
        reply = get(server.url, timeout=1.0)
        check_terminal(reply.error)
        assert reply.ok or reply.error, "neither a reply nor a reason"
        json.dumps(reply.json())

    return check


HARNESSES: Final = (
    Harness("zmq-reply", "replies of an environment server", _server_replies),
    Harness("zmq-request", "requests to raymon's environment server", _client_requests),
    Harness("discovery", "Ray's discovery file, raylets' command lines, port files", _discovery),
    Harness("control-store", "what the control store's child processes print, to the log of deaths", _control_store),
    Harness("http", "HTTP replies over a real connection", _http_replies),
)

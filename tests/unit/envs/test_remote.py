"""Environments over ZeroMQ: with our own server in Python, and with servers that are dead, slow or lie."""

import contextlib
import sys
import threading
import time
from pathlib import Path

import gymnasium
import msgpack
import numpy as np
import pytest
import zmq
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROOT, Command, free_port, poll

from raymon.envs import EnvError, FragmentCollector, ThreadedVector, make_vector, wire
from raymon.envs.remote import RemoteEnv
from raymon.envs.server import Session
from raymon.envs.vector import SerialVector, seeds_for

SPACES = {"op": "spaces", "version": 1, "observation": {"shape": [2]}, "action": {"kind": "discrete", "n": [3]}}
SEEN = np.array([0.5, -1.0], np.float32)
OBSERVATION = wire.encode({"op": "observation"}, SEEN)
TRANSITION = {"op": "transition", "reward": 1.5, "terminated": False, "truncated": True}


@contextlib.contextmanager
def scripted_server(hello=None, reset=OBSERVATION, step=None, delay=0.0):
    """A server that answers each request with given frames, whatever they are."""
    answers = {"hello": hello or wire.encode(SPACES), "reset": reset, "step": step or wire.encode(TRANSITION, SEEN)}
    port, stop, bound, requests = free_port(), threading.Event(), threading.Event(), []

    def run():
        with zmq.Context() as context, context.socket(zmq.REP) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.bind(f"tcp://127.0.0.1:{port}")
            bound.set()
            while not stop.is_set():
                if socket.poll(20):
                    requests.append(socket.recv_multipart())
                    op = msgpack.unpackb(requests[-1][0])["op"]
                    stop.wait(delay if op == "step" else 0.0)
                    socket.send_multipart(answers.get(op, wire.encode({"op": "closed"})))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    bound.wait(10)
    try:
        yield port, requests
    finally:
        stop.set()
        thread.join(5)


@contextlib.contextmanager
def python_server(env_id, count, port):
    program = (sys.executable, "-m", "raymon.envs.server")
    with Command(env_id, "--port", str(port), "--count", str(count), cwd=ROOT, program=program) as command:
        poll(lambda: "serving" in command.text(), 60, "the server's first line")
        yield command


def test_an_environment_behind_the_server_is_the_same_environment():
    port = free_port(2)
    with python_server("Pendulum-v1", 2, port) as command:
        remote = make_vector(f"zmq://127.0.0.1:{port}", 2, seed=3, worker=0, step_threads=0)
        local = SerialVector([gymnasium.make("Pendulum-v1") for _ in range(2)], seed=3, worker=0)
        assert remote.single_observation_space.shape == (3,)
        assert remote.single_action_space == local.single_action_space
        np.testing.assert_array_equal(remote.reset()[0], local.reset()[0])
        rng, ended = np.random.default_rng(0), 0
        for _ in range(210):
            actions = rng.uniform(-2, 2, (2, 1)).astype(np.float32)
            answer, expected = remote.step(actions), local.step(actions)
            for ours, theirs in zip(answer[:4], expected[:4], strict=True):
                np.testing.assert_array_equal(ours, theirs)
            ended += int(answer[3].sum())
        assert ended == 2
        remote.close()
        # the server goes on for the next client, and ends cleanly when asked
        again = make_vector(f"zmq://127.0.0.1:{port}", 2, seed=3, worker=0)
        assert isinstance(again, ThreadedVector)
        np.testing.assert_array_equal(again.reset()[0], local.reset()[0])
        again.close()
        command.interrupt()
        assert command.wait(10) == 0


def test_each_environment_of_each_worker_has_its_port():
    with contextlib.ExitStack() as stack:
        base = free_port()
        ports = []
        original = RemoteEnv.__init__

        def note(self, host, port, timeout_seconds=10.0):
            ports.append(port)
            raise EnvError("enough")

        RemoteEnv.__init__ = note
        stack.callback(setattr, RemoteEnv, "__init__", original)
        for worker in range(3):
            with pytest.raises(EnvError, match="enough"):
                make_vector(f"zmq://127.0.0.1:{base}", 1, seed=1, worker=worker)
        with pytest.raises(EnvError, match="enough"):
            make_vector(f"zmq://127.0.0.1:{base}", 4, seed=1, worker=2)
    assert ports == [base, base + 1, base + 2, base + 8]


def test_requests_on_the_wire_are_as_documented():
    with scripted_server() as (port, requests):
        env = RemoteEnv("127.0.0.1", port)
        env.reset(seed=12)
        observation, reward, terminated, truncated, _ = env.step(2)
        env.close()
        poll(lambda: len(requests) == 4, 5, "the goodbye")
    assert [msgpack.unpackb(request[0]) for request in requests] == [
        {"op": "hello", "version": 1},
        {"op": "reset", "seed": 12},
        {"op": "step"},
        {"op": "close"},
    ]
    assert requests[2][1] == b"\x02\x00\x00\x00"
    assert (reward, terminated, truncated) == (1.5, False, True)
    np.testing.assert_array_equal(observation, SEEN)


def changed(**entries):
    return wire.encode({**SPACES, **entries})


@pytest.mark.parametrize(
    ("hello", "parts"),
    [
        (changed(version=2), ["found protocol version 2, expected 1"]),
        (changed(version=None), ["found protocol version None"]),
        ([b"\xc1garbage"], ["expected a msgpack map"]),
        ([b""], ["expected a msgpack map"]),
        ([b"GET / HTTP/1.1\r\n\r\n"], ["expected a msgpack map"]),
        ([msgpack.packb([1, 2])], ["header of type list, expected a msgpack map"]),
        (wire.encode({"op": "welcome"}), ["found op 'welcome', expected 'spaces'"]),
        (wire.encode({"op": "error", "message": "no licence"}), ["no licence"]),
        (changed(observation={"shape": [0]}), ["found observation {'shape': [0]}"]),
        (changed(observation={"shape": "many"}), ["a list of lengths above 0"]),
        (changed(observation={"shape": [1 << 40]}), ["found observation"]),
        (changed(observation=None), ["found observation None"]),
        (changed(action={"kind": "discrete", "n": [0]}), ["found action", "expected kind discrete"]),
        (changed(action={"kind": "box", "low": [1.0], "high": [0.0]}), ["low < high"]),
        (changed(action={"kind": "box", "low": [0.0], "high": [1.0, 2.0]}), ["found action"]),
        (changed(action={"kind": "text"}), ["found action {'kind': 'text'}"]),
        ([b"\x80" + bytes(2 << 20)], ["expected at most"]),
        (changed(observation={"shape": [1 << 13, 1 << 13]}), ["found observation"]),
        (changed(observation={"shape": [(1 << 64) - 1] * 50_000}), ["found observation", "8 dimensions"]),
        (changed(action={"kind": "multidiscrete", "n": [60_000, 60_000]}), ["together 65536 at most"]),
        (wire.encode(SPACES) * 4, ["more than 3 frames"]),
    ],
)
def test_an_invalid_greeting_is_explained(hello, parts):
    with scripted_server(hello=hello) as (port, _), pytest.raises(EnvError) as error:
        RemoteEnv("127.0.0.1", port)
    for part in (f"zmq://127.0.0.1:{port}", *parts):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("step", "part"),
    [
        (
            wire.encode(TRANSITION, np.zeros(3, np.float32)),
            "found 12 bytes as observation, expected one frame of 8 bytes",
        ),
        (wire.encode(TRANSITION), "found 0 frames as observation"),
        (wire.encode(TRANSITION, SEEN) * 2, "more than 3 frames"),
        (wire.encode(TRANSITION, np.array([np.nan, 0], np.float32)), "expected finite numbers"),
        (wire.encode(TRANSITION, np.array([np.inf, 0], np.float32)), "expected finite numbers"),
        (wire.encode({**TRANSITION, "reward": float("nan")}, SEEN), "found reward nan, expected a finite number"),
        (wire.encode({**TRANSITION, "reward": "high"}, SEEN), "found reward 'high'"),
        (wire.encode({**TRANSITION, "terminated": 1}, SEEN), "found terminated 1, expected true or false"),
        (wire.encode({"op": "transition", "reward": 0.0}, SEEN), "found terminated None"),
        (OBSERVATION, "found op 'observation', expected 'transition'"),
        ([b"\x00" * 7], "expected a msgpack map"),
    ],
)
def test_an_invalid_answer_is_explained(step, part):
    with scripted_server(step=step) as (port, _):
        vector = make_vector(f"zmq://127.0.0.1:{port}", 1, seed=1, worker=0)
        vector.reset()
        with pytest.raises(EnvError) as error:
            vector.step(np.array([0]))
        assert part in str(error.value)
        assert f"environment 0 of worker 0 failed: zmq://127.0.0.1:{port}: " in str(error.value)
        with pytest.raises(EnvError, match="closed after an error"):
            vector.step(np.array([0]))
        vector.close()


def test_a_wrong_first_observation_is_an_error():
    with scripted_server(reset=wire.encode({"op": "observation"}, np.zeros(5, np.float32))) as (port, _):
        vector = make_vector(f"zmq://127.0.0.1:{port}", 1, seed=1, worker=0)
        with pytest.raises(EnvError, match="found 20 bytes as observation"):
            vector.reset()


def test_a_missing_server_ends_within_the_time_out():
    began = time.perf_counter()
    with pytest.raises(EnvError, match=r"no answer to 'hello' within 0\.3 s.*is the server running there"):
        make_vector(f"zmq://127.0.0.1:{free_port()}", 2, seed=1, worker=0, env_kwargs={"timeout_seconds": 0.3})
    assert time.perf_counter() - began < 5


def test_a_step_that_takes_too_long_ends_within_the_time_out():
    with scripted_server(delay=30.0) as (port, _):
        vector = make_vector(f"zmq://127.0.0.1:{port}", 1, seed=1, worker=0, env_kwargs={"timeout_seconds": 1.0})
        vector.reset()
        with pytest.raises(EnvError, match=r"no answer to 'step' within 1 s"):
            vector.step(np.array([1]))
        vector.close()


def test_a_server_killed_in_the_middle_fails_the_collection():
    port = free_port(3)
    with python_server("CartPole-v1", 3, port) as command:
        vector = make_vector(f"zmq://127.0.0.1:{port}", 3, seed=1, worker=0, env_kwargs={"timeout_seconds": 1.0})
        collector = FragmentCollector(vector, 8)
        act = lambda seen, steps, envs: (np.zeros(len(seen), np.int64), {})  # noqa: E731
        assert collector.collect(act).valid.sum() > 0
        command.process.kill()
        command.wait(10)

        def go_on():
            while True:
                collector.collect(act)

        with pytest.raises(EnvError, match=r"no answer to '(step|reset)' within 1 s"):
            go_on()
        vector.close()


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("zmq://host", "expected zmq://host:port"),
        ("zmq://host:0", "expected zmq://host:port"),
        ("zmq://host:99999", "expected zmq://host:port"),
        ("zmq://:5555", "expected zmq://host:port"),
        ("zmq://host:5555/path", "expected zmq://host:port"),
        ("zmq://127.0.0.1:65535", "found port 65536"),
    ],
)
def test_addresses_that_cannot_be_are_refused(url, part):
    with pytest.raises(EnvError, match=part):
        make_vector(url, 1, seed=1, worker=1, env_kwargs={"timeout_seconds": 0.1})


def test_unknown_arguments_are_refused():
    with pytest.raises(EnvError, match="the only keyword argument is timeout_seconds"):
        make_vector("zmq://127.0.0.1:5555", 1, seed=1, worker=0, env_kwargs={"speed": 1})
    with pytest.raises(EnvError, match="expected more than 0"):
        make_vector("zmq://127.0.0.1:5555", 1, seed=1, worker=0, env_kwargs={"timeout_seconds": 0})


@pytest.mark.parametrize(
    "space",
    [spaces.Discrete(4), spaces.MultiDiscrete([2, 5]), spaces.Box(np.float32([-1, -2]), np.float32([1, 2]))],
)
def test_spaces_survive_the_wire(space):
    header = wire.encode({"action": wire.describe_action(space)})
    assert wire.action_space(msgpack.unpackb(header[0])["action"]) == space


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.just(msgpack.packb({"op": "step"}))), min_size=1, max_size=3))
def test_the_server_answers_any_garbage_with_an_error(frames):
    session = Session(gymnasium.make("CartPole-v1"))
    header = msgpack.unpackb(session.answer(frames)[0])
    assert header["op"] == "error"
    assert header["message"]


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.none(),
        st.integers(),
        st.text(),
        st.dictionaries(st.text(), st.lists(st.floats())),
        st.fixed_dictionaries(
            {
                "kind": st.sampled_from(["discrete", "box"]),
                "n": st.lists(st.integers()),
                "low": st.lists(st.floats()),
                "high": st.lists(st.floats()),
            }
        ),
    )
)
def test_any_announced_space_is_used_or_refused(announced):
    for read in (wire.action_space, wire.observation_space):
        with contextlib.suppress(EnvError):
            assert isinstance(read(announced), spaces.Space)


def test_the_servers_seeds_are_the_factorys():
    with scripted_server() as (port, requests):
        vector = make_vector(f"zmq://127.0.0.1:{port}", 1, seed=9, worker=0)
        vector.reset()
        vector.close()
    assert msgpack.unpackb(requests[1][0])["seed"] == seeds_for(9, 0, 1)[0]


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@contextlib.contextmanager
def flooding_server(port, frames=1000, frame_bytes=1 << 22):
    """A server in another process whose reply never ends, or is one large frame."""
    code = (
        "import zmq; s = zmq.Context().socket(zmq.REP); s.setsockopt(zmq.LINGER, 0); s.setsockopt(zmq.SNDHWM, 0)\n"
        f"s.bind('tcp://127.0.0.1:{port}'); print('bound', flush=True); s.recv(); frame = bytes({frame_bytes})\n"
        f"for _ in range({frames}): s.send(frame, zmq.SNDMORE)\n"
        "s.send(frame); s.recv()"
    )
    with Command("-c", code, cwd=ROOT, program=(sys.executable,)) as command:
        poll(lambda: "bound" in command.text(), 30, "the server")
        yield


@contextlib.contextmanager
def watched_memory():
    """Yield a list with the largest growth of this process's memory."""
    before, largest, over = resident_bytes(), [0], threading.Event()

    def watch():
        while not over.wait(0.02):
            largest[0] = max(largest[0], resident_bytes() - before)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield largest
    finally:
        over.set()
        watching.join()


def test_an_endless_reply_ends_before_memory_does():
    port = free_port()
    with (
        watched_memory() as largest,
        flooding_server(port),
        pytest.raises(EnvError, match=r"more than \d+ (MiB|frames)"),
    ):
        RemoteEnv("127.0.0.1", port, timeout_seconds=60.0)
    assert largest[0] < 1.5e9


def test_a_frame_that_is_too_large_is_not_received():
    port = free_port()
    with (
        watched_memory() as largest,
        flooding_server(port, frames=0, frame_bytes=65 << 20),
        pytest.raises(EnvError, match="no answer to 'hello'"),
    ):
        RemoteEnv("127.0.0.1", port, timeout_seconds=3.0)
    assert largest[0] < 100e6


def test_a_request_of_many_frames_does_not_stop_the_server():
    port = free_port()
    with python_server("CartPole-v1", 1, port), zmq.Context() as context:
        with context.socket(zmq.REQ) as hostile:
            hostile.setsockopt(zmq.LINGER, 0)
            hostile.connect(f"tcp://127.0.0.1:{port}")
            hostile.send_multipart([bytes(1000)] * 10)
            assert b"more than 3 frames" in hostile.recv_multipart()[0]
        env = RemoteEnv("127.0.0.1", port)
        assert env.reset(seed=1)[0].shape == (4,)
        env.close()

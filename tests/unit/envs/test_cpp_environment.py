"""The C++ example, built as its page says and used through the same protocol."""

import json
import subprocess

import msgpack
import numpy as np
import pytest
import zmq
from support import ROOT, Command, free_port, poll

from raymon import cli
from raymon.envs import FragmentCollector, ThreadedVector, make_vector


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    build = tmp_path_factory.mktemp("cpp")
    command = f"cmake -S examples/cpp_env -B {build} && cmake --build {build}"
    page = (ROOT / "docs/environments.md").read_text()
    assert command.replace(str(build), "build/cpp_env") in page, "the page shows another build command"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout + done.stderr
    return build / "cpp_env"


@pytest.fixture
def server(program, tmp_path):
    port = free_port(4)
    with Command("--port", str(port), "--count", "4", cwd=tmp_path, program=(str(program),)) as command:
        poll(lambda: "serving 4" in command.text(), 20, "the server's first line")
        yield port, command


def test_it_plays_whole_episodes_from_seeds(server):
    port, command = server
    vector = make_vector(f"zmq://127.0.0.1:{port}", 4, seed=1, worker=0)
    assert isinstance(vector, ThreadedVector)
    assert vector.single_observation_space.shape == (4,)
    np.testing.assert_array_equal(vector.single_action_space.high, [1.0])
    first = vector.reset()[0]
    assert (np.abs(first) <= 0.05).all()
    assert np.unique(first).size == first.size
    np.testing.assert_array_equal(vector.reset()[0], first)

    def lean(seen, steps, environments):  # push towards the side the pole falls to
        return np.sign(seen[:, 2:3] + 0.3 * seen[:, 3:4]).astype(np.float32), {}

    collector = FragmentCollector(vector, 128)
    lengths = [length for _ in range(8) for length in collector.collect(lean).lengths]
    assert max(lengths) > 100
    vector.close()
    falling = make_vector(f"zmq://127.0.0.1:{port}", 4, seed=1, worker=0)
    falling.reset()
    ends = [falling.step(np.ones((4, 1), np.float32))[2] for _ in range(30)]
    assert 3 < int(np.argmax(np.array(ends)[:, 0])) < 20
    falling.close()
    command.process.terminate()
    assert command.wait(10) == 0


@pytest.mark.parametrize(
    ("request_frames", "part"),
    [
        ([b"\xc1"], "not a msgpack map"),
        ([b""], "ends too early"),
        ([msgpack.packb({"op": "fly"})], "unknown op 'fly'"),
        ([msgpack.packb({"op": "step"})], "expected one frame of 4 bytes"),
        ([msgpack.packb({"op": "step"}), bytes(9)], "expected one frame of 4 bytes"),
        ([msgpack.packb({"op": [1]})], "a type that this protocol does not use"),
        ([msgpack.packb({"op": "x" * 300})[:100]], "ends too early"),
    ],
)
def test_it_answers_wrong_requests_with_an_error_and_lives_on(server, request_frames, part):
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"tcp://127.0.0.1:{server[0]}")
        for frames, expected in ((request_frames, "error"), ([msgpack.packb({"op": "hello", "version": 1})], "spaces")):
            socket.send_multipart(frames)
            assert socket.poll(5000)
            header = msgpack.unpackb(socket.recv_multipart()[0])
            assert header["op"] == expected
            if expected == "error":
                assert part in header["message"]


def test_invalid_options_are_explained(program):
    done = subprocess.run([program, "--ports", "1"], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 2
    assert "unknown option --ports" in done.stderr


def test_a_policy_learns_to_balance_its_pole(server, tmp_path, capsys):
    options = [
        "--env",
        f"zmq://127.0.0.1:{server[0]}",
        "--workers",
        "0",
        "--sampler",
        "sync",
        "--envs-per-worker",
        "4",
        "--fragment-steps",
        "128",
        "--minibatch",
        "128",
        "--epochs",
        "8",
        "--learning-rate",
        "1e-3",
        "--stop-at-return",
        "120",
        "--total-env-steps",
        "100000",
        "--no-page",
        "--exit-when-done",
        "--runs",
        str(tmp_path),
        "--name",
        "pole",
    ]
    assert cli.main(["train", *options]) == 0
    capsys.readouterr()
    evaluation = ["--episodes", "5", "--as-json", "--env", options[1]]
    assert cli.main(["evaluate", str(tmp_path / "pole"), *evaluation]) == 0
    assert json.loads(capsys.readouterr().out)["return_mean"] > 80  # chance makes about 25

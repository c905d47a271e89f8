"""Serve a gymnasium environment over ZeroMQ: `python -m raymon.envs.server CartPole-v1 --port 5555`.

The reference for servers in other languages, and a way to run an environment in another process, Python or machine.
It listens on the loopback interface by default: the protocol has no authentication.
"""

import argparse
import signal
import sys
import threading
from typing import Any, Final

import gymnasium
import numpy as np
import zmq
from gymnasium import spaces

from raymon.envs import wire
from raymon.envs.env_error import EnvError
from raymon.envs.make import make_single
from raymon.envs.spaces import action_form, observation_form
from raymon.format import one_line

_WAIT_SECONDS: Final = 3600.0


class Session:
    """Answers requests with one environment."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self._env = env
        self._observation, self._action = observation_form(env.observation_space), action_form(env.action_space)
        self._dtype = "float32" if isinstance(self._action.space, spaces.Box) else "int32"

    def answer(self, request: list[bytes]) -> list[bytes]:
        """Return the reply to a request; an error becomes a reply too."""
        try:
            return self._answer(request)
        except Exception as error:  # noqa: BLE001  # sent to the client, which raises it
            return wire.encode({"op": "error", "message": f"{type(error).__name__}: {error}"[:500]})

    def _answer(self, request: list[bytes]) -> list[bytes]:
        header = wire.header_from(request)
        op = header.get("op")
        if op == "hello":
            return wire.encode(
                {
                    "op": "spaces",
                    "version": wire.VERSION,
                    "observation": wire.describe_observation(self._observation.space),
                    "action": wire.describe_action(self._action.space),
                }
            )
        if op == "reset":
            return wire.encode(
                {"op": "observation"}, self._observation.row(self._env.reset(seed=header.get("seed"))[0])
            )
        if op == "step":
            action = wire.array_from(request[1:], self._action.space.shape or (), self._dtype, "action")
            observation, reward, terminated, truncated, _ = self._env.step(self._action.split(action[np.newaxis])[0])
            answer = {
                "op": "transition",
                "reward": float(reward),
                "terminated": bool(terminated),
                "truncated": bool(truncated),
            }
            return wire.encode(answer, self._observation.row(observation))
        if op == "close":
            return wire.encode({"op": "closed"})
        raise EnvError(f"found op {op!r}, expected hello, reset, step or close")


def serve(env: gymnasium.Env[Any, Any], host: str, port: int, stop: threading.Event) -> None:
    """Answer requests on one port until `stop` is set; raise `EnvError` for one that would exhaust the memory."""
    session = Session(env)
    with zmq.Context() as context, wire.open_socket(context, zmq.REP) as socket:
        socket.bind(f"tcp://{host}:{port}")
        while not stop.is_set():
            if (request := wire.receive(socket, _WAIT_SECONDS, stop.is_set)) is not None:
                socket.send_multipart(session.answer(request))
    env.close()  # type: ignore[no-untyped-call]  # not annotated in gymnasium


def main(arguments: list[str] | None = None) -> int:
    """Serve the environments, each on its own port, until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m raymon.envs.server", description=__doc__.splitlines()[0])
    parser.add_argument("env", help="gymnasium id, or module:Id-v0")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5555, help="port of the first environment (default: %(default)s)")
    parser.add_argument(
        "--count", type=int, default=1, help="environments, on consecutive ports (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    stop = threading.Event()
    try:
        envs = [make_single(options.env) for _ in range(options.count)]
    except EnvError as error:
        print(f"raymon: {one_line(str(error))}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threads = [
        threading.Thread(target=serve, args=(env, options.host, options.port + number, stop), daemon=True)
        for number, env in enumerate(envs)
    ]
    for thread in threads:
        thread.start()
    print(f"serving {options.count} x {options.env} on {options.host}:{options.port} and up", flush=True)
    while not stop.wait(0.2):
        if not all(thread.is_alive() for thread in threads):
            return 1
    for thread in threads:
        thread.join(2.0)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

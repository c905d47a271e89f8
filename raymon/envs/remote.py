"""An environment in another process or language, reached over ZeroMQ: `--env zmq://host:port`.

Every wait is bounded: a dead, slow or faulty server becomes an `EnvError` that says what was found and what was
expected. An error closes the connection; to go on, make a new environment.
"""

import contextlib
import urllib.parse
from collections.abc import Iterator
from typing import Any, Final

import gymnasium
import numpy as np
import zmq
from gymnasium import spaces

from raymon.envs import wire
from raymon.envs.env_error import EnvError
from raymon.envs.spaces import Array

SCHEME: Final = "zmq://"
_MAX_PORT: Final = 65535


def parse_address(url: str) -> tuple[str, int]:
    """Return host and port of `zmq://host:port`; raises `EnvError`."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.path.strip("/") or parts.query:
        raise EnvError(f"found {url!r}, expected zmq://host:port with a port from 1 to {_MAX_PORT}")
    return host, port


class RemoteEnv(gymnasium.Env[Array, Any]):
    """The client of one environment server.

    The wire protocol is in `docs/environments.md`; `examples/cpp_env` is a server in C++, `raymon.envs.server` one in
    Python.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # gymnasium declares it so

    def __init__(self, host: str, port: int, timeout_seconds: float = 10.0) -> None:
        """Connect and ask for the spaces.

        Args:
            host: Name or address of the server's machine.
            port: TCP port of this environment.
            timeout_seconds: Longest time for any answer, including the first.

        Raises:
            EnvError: The server does not answer, or its answer is invalid.
        """
        if not 0 < port <= _MAX_PORT:
            raise EnvError(f"found port {port} for an environment, expected at most {_MAX_PORT}; start at a lower port")
        if not timeout_seconds > 0:
            raise EnvError(f"found timeout_seconds={timeout_seconds}, expected more than 0")
        self._name, self._timeout = f"{SCHEME}{host}:{port}", timeout_seconds
        self._socket = wire.open_socket(zmq.Context.instance(), zmq.REQ)
        self._socket.setsockopt(zmq.IPV6, 1)
        try:
            self._socket.connect(f"tcp://{f'[{host}]' if ':' in host else host}:{port}")
            self._hello()
        except zmq.ZMQError as error:
            self._socket.close()
            raise EnvError(f"{self._name}: {error}; expected the address of a running server") from error
        except EnvError:
            self._socket.close()
            raise

    def _hello(self) -> None:
        header, _ = self._ask("spaces", {"op": "hello", "version": wire.VERSION})
        if (version := header.get("version")) != wire.VERSION:
            raise EnvError(
                f"{self._name}: found protocol version {version!r}, expected {wire.VERSION}; update the server"
            )
        with self._checking():
            self.observation_space = wire.observation_space(header.get("observation"))
            self.action_space = wire.action_space(header.get("action"))
        self._dtype = np.float32 if isinstance(self.action_space, spaces.Box) else np.int32

    def _ask(self, expected: str, header: wire.Header, array: Array | None = None) -> tuple[wire.Header, list[bytes]]:
        """Send a request and return the answer; any failure closes the connection."""
        if self._socket.closed:
            raise EnvError(f"{self._name}: the connection was closed after an error; make the environment again")
        try:
            self._socket.send_multipart(wire.encode(header, array), flags=zmq.NOBLOCK)
            reply = wire.receive(self._socket, self._timeout)
            if reply is None:
                raise EnvError(
                    f"no answer to {header['op']!r} within {self._timeout:g} s, expected {expected!r}; is the server "
                    "running there, and is the time-out (timeout_seconds) longer than its slowest step?"
                )
            answer, frames = wire.decode(reply, expected)
        except (EnvError, zmq.ZMQError) as error:
            self._socket.close()
            raise EnvError(f"{self._name}: {error}") from error
        return answer, list(frames)

    @contextlib.contextmanager
    def _checking(self) -> Iterator[None]:
        """Close the connection and name the server when an answer cannot be used."""
        try:
            yield
        except EnvError as error:
            self._socket.close()
            raise EnvError(f"{self._name}: {error}") from error

    def _observation(self, frames: list[bytes]) -> Array:
        return wire.array_from(frames, self.observation_space.shape or (), "float32", "observation")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed, options=options)
        _, frames = self._ask("observation", {"op": "reset", "seed": seed})
        with self._checking():
            return self._observation(frames), {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:  # noqa: ANN401  # any action space
        """Take one step."""
        header, frames = self._ask("transition", {"op": "step"}, np.asarray(action, self._dtype))
        with self._checking():
            reward = wire.number_from(header, "reward")
            terminated, truncated = (wire.flag_from(header, key) for key in ("terminated", "truncated"))
            return self._observation(frames), reward, terminated, truncated, {}

    def close(self) -> None:
        """Tell the server that this client is done, without waiting for its answer."""
        if not self._socket.closed:
            self._socket.setsockopt(zmq.LINGER, 200)
            try:
                self._socket.send_multipart(wire.encode({"op": "close"}), flags=zmq.NOBLOCK)
            except zmq.ZMQError:
                pass  # in the middle of a request, or no server
            finally:
                self._socket.close()

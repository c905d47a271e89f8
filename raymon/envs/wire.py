"""Messages between raymon and an environment in another process, as specified in `docs/environments.md`.

A message is a list of ZeroMQ frames: first a msgpack map (the header), then at most one array, little-endian and
contiguous: float32 for observations and box actions, int32 for discrete ones. Used by the client and the Python server.
The peer may be hostile: announced sizes are bounded before they are multiplied or allocated.
"""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgpack
import numpy as np
import zmq
from gymnasium import spaces

from raymon.envs.env_error import EnvError
from raymon.envs.spaces import Array

VERSION: Final = 1
MAX_HEADER_BYTES: Final = 1 << 20
MAX_FRAME_BYTES: Final = 1 << 26
_MAX_FRAMES: Final = 3
_MAX_MESSAGE_BYTES: Final = 1 << 29
"""Most memory for one incoming message; ZeroMQ bounds the size of frames, but not their number or sum."""
_SLICE_MILLISECONDS: Final = 50
_MAX_SIZE: Final = MAX_FRAME_BYTES // 4
_MAX_DIMENSIONS: Final = 8
_MAX_CHOICES: Final = 1 << 16

Header = dict[str, Any]


def encode(header: Mapping[str, Any], array: Array | None = None) -> list[bytes]:
    """Return the frames of a message."""
    frames = [msgpack.packb(dict(header))]
    if array is not None:
        frames.append(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return frames


def open_socket(context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> "zmq.Socket[bytes]":
    """Return a socket that neither lingers nor accepts a frame that is too large."""
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    return socket


def receive(
    socket: "zmq.Socket[bytes]", seconds: float, stopping: Callable[[], bool] = lambda: False
) -> list[bytes] | None:
    """Wait for a message and return its frames; None if there is none in time, or before `stopping` returns True.

    Raises:
        EnvError: The message would exhaust the memory. The socket must then be closed.
    """
    deadline = time.monotonic() + seconds
    before = 0
    while not socket.poll(max(0, min(_SLICE_MILLISECONDS, int(1000 * (deadline - time.monotonic()))))):
        if time.monotonic() >= deadline or stopping():
            return None
        before = before or _resident_bytes()
        if _resident_bytes() - before > _MAX_MESSAGE_BYTES:
            raise EnvError(f"found a message of more than {_MAX_MESSAGE_BYTES >> 20} MiB that does not end")
    frames = [socket.recv(zmq.NOBLOCK)]
    while socket.getsockopt(zmq.RCVMORE):
        frame = socket.recv(zmq.NOBLOCK)
        if len(frames) <= _MAX_FRAMES:  # keep only the first ones: `decode` refuses the message
            frames.append(frame)
    return frames


def _resident_bytes() -> int:
    """Return the resident memory of this process; 0 if unknown."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  # a kernel file, read while waiting
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def decode(frames: Sequence[bytes], expected: str) -> tuple[Header, Sequence[bytes]]:
    """Return the header and the frames after it.

    Raises:
        EnvError: The first frame is not a msgpack map, has another `op` than `expected`, or reports an error.
    """
    header = header_from(frames)
    if header.get("op") == "error":
        raise EnvError(f"the server reported {str(header.get('message', 'an error without a message'))[:500]}")
    if header.get("op") != expected:
        raise EnvError(f"found op {header.get('op')!r}, expected {expected!r}")
    return header, frames[1:]


def header_from(frames: Sequence[bytes]) -> Header:
    """Return the header of a message; raises `EnvError`."""
    if len(frames) > _MAX_FRAMES:
        raise EnvError(f"found a message of more than {_MAX_FRAMES} frames, expected a header and at most one array")
    if len(frames[0]) > MAX_HEADER_BYTES:
        raise EnvError(f"found a header of {len(frames[0])} bytes, expected at most {MAX_HEADER_BYTES}")
    try:
        header = msgpack.unpackb(frames[0], raw=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise EnvError(
            f"found {bytes(frames[0][:16])!r} as header, expected a msgpack map ({type(error).__name__})"
        ) from error
    if not isinstance(header, dict):
        raise EnvError(f"found a header of type {type(header).__name__}, expected a msgpack map")
    return header


def array_from(frames: Sequence[bytes], shape: tuple[int, ...], dtype: str, what: str) -> Array:
    """Return the array of a message.

    Raises:
        EnvError: It has not exactly one frame of the expected size, or holds NaN or infinity.
    """
    size = math.prod(shape) * 4
    if len(frames) != 1 or len(frames[0]) != size:
        received = f"{len(frames)} frames" if len(frames) != 1 else f"{len(frames[0])} bytes"
        raise EnvError(f"found {received} as {what}, expected one frame of {size} bytes: {dtype} of shape {shape}")
    array = np.frombuffer(frames[0], dtype=np.dtype(dtype).newbyteorder("<")).reshape(shape).astype(dtype)
    if dtype == "float32" and not np.isfinite(array).all():
        raise EnvError(f"found {np.asarray(array).reshape(-1)[:8]} as {what}, expected finite numbers")
    return array


def number_from(header: Mapping[str, Any], key: str) -> float:
    """Return a finite number of a header; raises `EnvError`."""
    value = header.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise EnvError(f"found {key} {value!r}, expected a finite number")
    return float(value)


def flag_from(header: Mapping[str, Any], key: str) -> bool:
    """Return a boolean of a header; raises `EnvError`."""
    if not isinstance(value := header.get(key), bool):
        raise EnvError(f"found {key} {value!r}, expected true or false")
    return value


def describe_observation(space: spaces.Box) -> Header:
    """Return the announcement of a flat observation space."""
    return {"shape": [int(length) for length in space.shape]}


def describe_action(space: spaces.Space[Any]) -> Header:
    """Return the announcement of an action space in the form the policy acts in."""
    if isinstance(space, spaces.Discrete):
        return {"kind": "discrete", "n": [int(space.n)]}
    if isinstance(space, spaces.MultiDiscrete):
        return {"kind": "multidiscrete", "n": [int(n) for n in space.nvec]}
    if isinstance(space, spaces.Box):
        return {"kind": "box", "low": [float(x) for x in space.low], "high": [float(x) for x in space.high]}
    raise EnvError(f"found action space {space}, expected Discrete, MultiDiscrete or Box")


def observation_space(announced: object) -> spaces.Box:
    """Return the space a server announced; raises `EnvError`."""
    shape = announced.get("shape") if isinstance(announced, dict) else None
    if not isinstance(shape, list) or not _fits(shape):
        raise EnvError(
            f"found observation {_short(announced)}, expected a map with shape: a list of lengths above 0, "
            f"of {_MAX_DIMENSIONS} dimensions and {_MAX_SIZE} entries at most"
        )
    return spaces.Box(-np.inf, np.inf, tuple(shape), np.float32)


def _fits(shape: list[Any]) -> bool:
    known = 0 < len(shape) <= _MAX_DIMENSIONS and all(_whole(length, _MAX_SIZE) for length in shape)
    return known and math.prod(shape) <= _MAX_SIZE


def action_space(announced: object) -> spaces.Space[Any]:
    """Return the space a server announced; raises `EnvError`."""
    plain = announced if isinstance(announced, dict) else {}
    kind, choices, low, high = (plain.get(key) for key in ("kind", "n", "low", "high"))
    if kind in ("discrete", "multidiscrete") and isinstance(choices, list) and 0 < len(choices) <= _MAX_CHOICES:
        fits = all(_whole(n, _MAX_CHOICES) for n in choices) and sum(choices) <= _MAX_CHOICES
        if fits and kind == "multidiscrete":
            return spaces.MultiDiscrete(choices)
        if fits and len(choices) == 1:
            return spaces.Discrete(choices[0])
    if kind == "box" and _numbers(low) and _numbers(high):
        with np.errstate(over="ignore"):  # bounds beyond float32 count as none
            bottom, top = np.array(low, np.float32), np.array(high, np.float32)
        if bottom.shape == top.shape and bottom.size and (bottom < top).all():
            return spaces.Box(bottom, top, dtype=np.float32)
    raise EnvError(
        f"found action {_short(announced)}, expected kind discrete with n: [choices], multidiscrete with "
        f"n: [choices, ...], together {_MAX_CHOICES} at most, or box with low and high: lists of numbers, low < high"
    )


def _short(announced: object) -> str:
    return repr(announced)[:200]


def _whole(value: object, most: int) -> bool:
    return type(value) is int and 0 < value <= most


def _numbers(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= _MAX_CHOICES
        and all(type(x) in (int, float) and not math.isnan(x) for x in value)
    )

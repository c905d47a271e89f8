"""Join a Ray cluster by its address, with the token if the cluster wants one.

Ray enables token authentication by itself for a cluster it starts or finds, never for an address that is named: its
client is then refused for 20 s and gives up. If it is enabled for a cluster without tokens, workers die when they
start. So the cluster is asked first. Imports Ray inside functions only.
"""

import contextlib
import os
import socket
import ssl
from pathlib import Path
from typing import Any, Final

from raymon import ray_internals
from raymon.cluster.auth import find_token
from raymon.errors import UserError
from raymon.format import first_line

_ASK: Final = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_ASK_SECONDS: Final = 5.0
_MODE: Final = "RAY_AUTH_MODE"
_TLS: Final = "RAY_USE_TLS"
_TLS_FILES: Final = ("RAY_TLS_CA_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_SERVER_CERT")


class JoinError(UserError):
    """A cluster that cannot be joined."""


def join(address: str) -> Any:  # noqa: ANN401  # Ray's context, which is not annotated
    """Connect this process to the cluster at `host:port` and return Ray's context.

    Raises:
        JoinError: The cluster wants a token or TLS and there is none here, or Ray refuses.
    """
    import ray

    if not _uses_tls() and _speaks_tls(address):
        raise JoinError(
            f"the Ray cluster at {address} speaks TLS; set RAY_USE_TLS=1 and {', '.join(_TLS_FILES)} as its nodes do"
        )
    if _MODE not in os.environ and wants_token(address):
        if not find_token():
            raise JoinError(
                f"the Ray cluster at {address} wants a token and there is none here; copy the head's "
                "~/.ray/auth_token to the same place here, or put its text into RAY_AUTH_TOKEN"
            )
        _enable_tokens()
    try:
        return ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        ray.shutdown()
        raise JoinError(f"the Ray cluster at {address} cannot be joined: {first_line(error)}") from error


def wants_token(address: str) -> bool:
    """Return whether the control store at `host:port` refuses a client without a token; False if it does not answer."""
    if ":" not in address or "://" in address:
        return False  # `auto`, which Ray resolves itself, or another kind of address
    import grpc

    with _channel(address) as channel:
        try:
            channel.unary_unary(_ASK)(b"", timeout=_ASK_SECONDS)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return False


def _channel(address: str) -> Any:  # noqa: ANN401  # grpc is not annotated
    """Return a gRPC channel, encrypted if Ray's variables say so; raise `JoinError` if they are incomplete."""
    import grpc

    if not _uses_tls():
        return grpc.insecure_channel(address)
    try:
        files = [Path(os.environ[name]).read_bytes() for name in _TLS_FILES]
    except KeyError as error:
        raise JoinError(f"{_TLS} is set and {error.args[0]} is not; Ray needs {', '.join(_TLS_FILES)}") from error
    except OSError as error:
        raise JoinError(f"{_TLS} is set, but {error.filename} cannot be read: {error.strerror}") from error
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(*files))


def _uses_tls() -> bool:
    return os.environ.get(_TLS, "0").lower() in ("1", "true")


def _speaks_tls(address: str) -> bool:
    """Return whether a TLS server listens at `host:port`, whatever its certificate."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent
    with contextlib.suppress(OSError, ValueError), socket.create_connection((host, int(port)), _ASK_SECONDS) as plain:
        plain.settimeout(_ASK_SECONDS)
        with context.wrap_socket(plain):
            return True
    return False


def _enable_tokens() -> None:
    """Make Ray send its token, here and in child processes; Ray reads the variable only when it is imported."""
    os.environ[_MODE] = "token"
    ray_internals.send_tokens()

"""Join a Ray cluster by its address, with the token if the cluster wants one.

Ray enables token authentication by itself for a cluster it starts or finds, never for an address that is named: its
client is then refused for 20 s and gives up. If it is enabled for a cluster without tokens, workers die when they
start. So the cluster is asked first. Imports Ray inside functions only.
"""

import os
from typing import Any, Final

from raymon import ray_internals
from raymon.cluster.auth import find_token
from raymon.errors import UserError

_ASK: Final = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_ASK_SECONDS: Final = 5.0
_MODE: Final = "RAY_AUTH_MODE"


class JoinError(UserError):
    """A cluster that cannot be joined."""


def join(address: str) -> Any:  # noqa: ANN401  # Ray's context, which is not annotated
    """Connect this process to the cluster at `host:port` and return Ray's context.

    Raises:
        JoinError: The cluster wants a token and there is none, or Ray refuses.
    """
    import ray

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
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        raise JoinError(f"the Ray cluster at {address} cannot be joined: {reason}") from error


def wants_token(address: str) -> bool:
    """Return whether the control store at `host:port` refuses a client without a token; False if it does not answer."""
    if ":" not in address or "://" in address:
        return False  # `auto`, which Ray resolves itself, or another kind of address
    import grpc

    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(_ASK)(b"", timeout=_ASK_SECONDS)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return False


def _enable_tokens() -> None:
    """Make Ray send its token, here and in child processes; Ray reads the variable only when it is imported."""
    os.environ[_MODE] = "token"
    ray_internals.send_tokens()

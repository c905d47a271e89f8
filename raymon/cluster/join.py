"""Joining a Ray cluster by its address, with the token where the cluster wants one.

Ray switches token authentication on by itself for a cluster it starts or finds, never for an address that is named:
the client is refused then for 20 s and gives up. Switched on towards a cluster that has none, workers die at their
start. So the cluster is asked first. Imports Ray inside functions only.
"""

import os
from pathlib import Path
from typing import Any, Final

from raymon import ray_internals
from raymon.errors import UserError

_ASK: Final = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_ASK_SECONDS: Final = 5.0
_MODE: Final = "RAY_AUTH_MODE"


class JoinError(UserError):
    """A cluster that cannot be joined: the message says why and what to do."""


def join(address: str) -> Any:  # noqa: ANN401  # Ray's context, which is not annotated
    """Connect this process to the cluster at `host:port` and return Ray's context.

    Raises:
        JoinError: When the cluster wants a token and there is none, or Ray refuses.
    """
    import ray

    if _MODE not in os.environ and wants_token(address):
        if not _has_token():
            raise JoinError(
                f"the Ray cluster at {address} asks for a token and there is none here; copy the head's "
                "~/.ray/auth_token to the same place here, or put its text into RAY_AUTH_TOKEN"
            )
        _switch_tokens_on()
    try:
        return ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        ray.shutdown()
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = lines[0] if lines else type(error).__name__
        raise JoinError(f"the Ray cluster at {address} cannot be joined: {said}") from error


def wants_token(address: str) -> bool:
    """Tell whether the control store at `host:port` refuses who has no token; False when it does not answer."""
    if ":" not in address or "://" in address:
        return False  # `auto`, for which Ray finds out itself, or a kind of address this does not speak to
    import grpc

    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(_ASK)(b"", timeout=_ASK_SECONDS)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return False


def _switch_tokens_on() -> None:
    """Make Ray send its token from now on, here and in child processes; it reads the variable once, when imported."""
    os.environ[_MODE] = "token"
    ray_internals.send_tokens()


def _has_token() -> bool:
    """Tell whether Ray would find a token, looking where Ray looks."""
    if os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return True
    named = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    return (Path(named) if named else Path.home() / ".ray" / "auth_token").is_file()

"""Ray's auth token: where it is, where it may be sent, and what is unsafe about it.

It goes to addresses that the user named and to those of a Ray of this user's or root's on this machine. Every header
and every child process with the token is made here.
"""

import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from raymon.cluster import discovery
from raymon.cluster.ownership import is_local, is_loopback, listener_is_trusted

PLACES: Final = "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"
"""Where Ray looks for its token, in this order."""


@dataclass(frozen=True, slots=True)
class Token:
    """Ray's token; empty when there is none.

    Attributes:
        text: The secret.
        place: The variable or the file that it comes from.
    """

    text: str = ""
    place: str = ""

    def __bool__(self) -> bool:
        return bool(self.text)

    @property
    def readable_by_others(self) -> bool:
        """Whether other users of this machine can read the file that holds it."""
        path = Path(self.place)
        if not path.is_absolute():
            return False
        try:
            if not path.stat().st_mode & 0o077:
                return False
            return all(folder.stat().st_mode & 0o011 for folder in path.resolve().parents)
        except OSError:
            return False


def default_token_file() -> Path:
    """Return where Ray keeps its token unless a variable names another place."""
    return Path.home() / ".ray" / "auth_token"


def find_token() -> Token:
    """Return the token that Ray itself would use."""
    if text := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return Token(text, "RAY_AUTH_TOKEN") if text.isprintable() else Token()
    named = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    path = Path(named).absolute() if named else default_token_file()
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return Token()
    return Token(text, str(path)) if text and text.isprintable() else Token()


def cluster_is_trusted(address: str, *, named: bool = False) -> bool:
    """Return whether the control store at `host:port` may be sent the token.

    On this machine a process of this user's or root's has to listen there. Elsewhere it has to be the control store of
    a Ray node of theirs on this machine, which sends the token there itself.

    Args:
        address: `host:port`.
        named: Whether the user named it.
    """
    if named:
        return True
    host, _, port = address.rpartition(":")
    if is_local(host):
        return port.isdecimal() and listener_is_trusted(host, int(port))
    return any(raylet.gcs_address == address for raylet in discovery.raylets())


def dashboard_is_trusted(url: str, *, cluster_trusted: bool) -> bool:
    """Return whether a dashboard that the user did not name may be sent the token.

    On this machine it has to be a process of this user's or root's. Elsewhere it is trusted as the control store that
    named it is.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return False
    return listener_is_trusted(host, port) if is_local(host) else cluster_trusted


def headers_for(url: str, *, named: bool = False, cluster_trusted: bool = False) -> dict[str, str]:
    """Return the header that a Ray Dashboard expects; empty without a token or if it may not be sent there.

    Args:
        url: The dashboard's.
        named: Whether the user named it.
        cluster_trusted: Whether the control store that named it may be sent the token.
    """
    if not named and not dashboard_is_trusted(url, cluster_trusted=cluster_trusted):
        return {}
    token = find_token()
    return {"Authorization": f"Bearer {token.text}"} if token else {}


def ray_environment(*, send_token: bool) -> dict[str, str]:
    """Return the variables of a child process with Ray's client, which sends the token only if it may."""
    return dict(os.environ) if send_token else {**os.environ, "RAY_AUTH_MODE": "disabled"}


def use_token_file(path: str, environment: MutableMapping[str, str]) -> None:
    """Make `find_token` and Ray read the token from a file, if one is named, in place of any other source."""
    if path:
        environment["RAY_AUTH_TOKEN_PATH"] = str(Path(path).resolve())
        environment.pop("RAY_AUTH_TOKEN", None)


def unencrypted_cluster(address: str) -> str:
    """Return the same for Ray's token and the control store at `host:port`, which speaks TLS if RAY_USE_TLS says so."""
    if ":" not in address or os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true") or not find_token():
        return ""
    return unencrypted(f"http://{address.removeprefix('ray://')}").replace("use https", "set RAY_USE_TLS")


def unencrypted(url: str, what: str = "the token") -> str:
    """Return a warning when `what` is secret and can be read on its way to `url`; empty for https and the loopback."""
    parts = urlsplit(url)
    if parts.scheme != "http" or is_loopback(parts.hostname or ""):
        return ""
    return f"{what} goes to {parts.netloc} unencrypted; use https, or a tunnel: ssh -L"

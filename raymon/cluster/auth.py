"""Ray's auth token: where it is, when it may be sent, and what is unsafe about it."""

import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from raymon.cluster.ownership import is_loopback

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
    def headers(self) -> dict[str, str]:
        """The header that the Ray Dashboard expects; empty without a token."""
        return {"Authorization": f"Bearer {self.text}"} if self.text else {}

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


def use_token_file(path: str, environment: MutableMapping[str, str]) -> None:
    """Make `find_token` and Ray read the token from a file, if one is named, in place of any other source."""
    if path:
        environment["RAY_AUTH_TOKEN_PATH"] = str(Path(path).resolve())
        environment.pop("RAY_AUTH_TOKEN", None)


def unencrypted(url: str, what: str = "the token") -> str:
    """Return a warning when `what` is secret and can be read on its way to `url`; empty for https and the loopback."""
    parts = urlsplit(url)
    if parts.scheme != "http" or is_loopback(parts.hostname or ""):
        return ""
    return f"{what} goes to {parts.netloc} unencrypted; use https, or a tunnel: ssh -L"

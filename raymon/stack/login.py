"""Grafana logins for commands: from files and the environment, never from the command line itself."""

import argparse
import os
from pathlib import Path

from raymon.errors import UserError
from raymon.stack.grafana import Auth


class LoginError(UserError):
    """The login cannot be read or is incomplete."""


def add_login(parser: argparse.ArgumentParser, prefix: str = "") -> None:
    """Add the options for a token or a user with a password."""
    add = parser.add_argument
    add(
        f"--{prefix}token-file",
        type=Path,
        metavar="FILE",
        help="service account token (default: the variable RAYMON_GRAFANA_TOKEN)",
    )
    add(f"--{prefix}user", default="", metavar="NAME", help="user, instead of a token")
    add(f"--{prefix}password-file", type=Path, metavar="FILE", help="the user's password")


def login_from(args: argparse.Namespace, prefix: str = "") -> Auth:
    """Return the login the options name; None without one.

    Raises:
        LoginError: For a file that cannot be read or is empty, or half a login.
    """
    options = vars(args)
    token_file, user = options[f"{prefix}token_file"], options[f"{prefix}user"]
    password_file = options[f"{prefix}password_file"]
    flag = prefix.replace("_", "-")
    if token_file and user:
        raise LoginError(f"give --{flag}token-file or --{flag}user, not both")
    if bool(user) != bool(password_file):
        raise LoginError(f"--{flag}user and --{flag}password-file belong together")
    if token_file:
        return _secret(token_file)
    if user:
        return (user, _secret(password_file))
    return os.environ.get("RAYMON_GRAFANA_TOKEN", "").strip() or None


def _secret(path: Path) -> str:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise LoginError(f"{path} cannot be read: {reason}") from None
    if not text or not text.isprintable():
        raise LoginError(f"{path} is empty or holds more than one line; expected the secret alone")
    return text

"""The error of this package."""

from raymon.errors import UserError


class EnvError(UserError):
    """An environment that cannot be made or that breaks its promises; says what was found, expected and what to do."""

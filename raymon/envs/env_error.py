"""The error of environments."""

from raymon.errors import UserError


class EnvError(UserError):
    """An environment that cannot be made or violates its interface."""

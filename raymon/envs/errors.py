"""The one exception this package raises on purpose."""


class EnvError(RuntimeError):
    """An environment that cannot be made or that breaks its promises; says what was found, expected and what to do."""

"""The base of every error that a user can cause and fix."""


class UserError(Exception):
    """An error whose message says what was found, what was expected and what to do.

    `raymon.cli.main` prints the message and ends with the exit code; nothing else catches it for that.

    Attributes:
        exit_code: 1 for a problem that was found, 2 for wrong use or when no answer is possible.
    """

    exit_code = 2

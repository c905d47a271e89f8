"""`raymon down`: stop what `raymon up` started; its data stays."""

import argparse
from pathlib import Path

from raymon.stack import state
from raymon.stack.launch import StackError
from raymon.stack.running import stop_stack


def main(arguments: list[str]) -> int:
    """Run the command; 0 when nothing of raymon's runs afterwards, 1 when that is unknown."""
    parser = argparse.ArgumentParser(prog="raymon down", description="Stop what `raymon up` started; its data stays.")
    default = state.default_directory()
    parser.add_argument("--directory", type=Path, metavar="DIR", help=f"as given to raymon up (default: {default})")
    directory = parser.parse_args(arguments).directory or default
    try:
        stopped, gone = stop_stack(directory)
    except OSError as error:
        raise StackError(f"{directory} cannot be used: {error.strerror or error}") from error
    for name in stopped:
        print(f"{name}: stopped")
    for name in gone:
        print(f"{name}: had already ended")
    if not stopped and not gone:
        print(f"nothing to stop: no record of a start in {directory}")
    return 0

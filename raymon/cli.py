"""The command line: a table from verb to the module that does it, imported only when it runs."""

import importlib
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from raymon import __version__


class Verb(NamedTuple):
    """One command; `module.main(arguments) -> exit code`."""

    name: str
    module: str
    sentence: str


VERBS: Final = (
    Verb("train", "raymon.train.command", "Train with PPO and parallel sampling, everything visible."),
    Verb("evaluate", "raymon.train.evaluate", "Run a checkpoint's policy and print the statistics of its returns."),
    Verb("demo", "raymon.train.demo", "Start a small run with an injected fault, to see what trouble looks like."),
    Verb("status", "raymon.page.command", "Open the status page on a running cluster."),
    Verb("top", "raymon.top.command", "Show the same in the terminal; --once --json for scripts."),
    Verb("profile", "raymon.profile.command", "Look into a live run: flame graphs, timeline, who holds the others up."),
    Verb("doctor", "raymon.stack.doctor", "Check what commonly goes wrong, and say what mends it."),
    Verb("up", "raymon.stack.up", "Start the Prometheus and Grafana that are installed, provisioned."),
    Verb("down", "raymon.stack.down", "Stop what `raymon up` started."),
    Verb("dashboards", "raymon.stack.dashboards", "Push the dashboards into a Grafana, or export them."),
)


def usage() -> str:
    """Return the overview of the verbs."""
    width = max(len(verb.name) for verb in VERBS)
    lines = [f"  {verb.name:<{width}}  {verb.sentence}" for verb in VERBS]
    return "\n".join(
        ["usage: raymon <command> [options]", "", *lines, "", "raymon <command> --help tells the options."]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 fine, 1 problem found, 2 wrong use or cannot tell."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if given else 2
    if given[0] in ("-V", "--version"):
        print(f"raymon {__version__}")
        return 0
    for verb in VERBS:
        if verb.name == given[0]:
            try:
                return int(importlib.import_module(verb.module).main(given[1:]))
            except KeyboardInterrupt:
                return 130
    expected = ", ".join(verb.name for verb in VERBS)
    print(f"raymon: unknown command {given[0]!r}; expected one of {expected}", file=sys.stderr)
    return 2

"""The command line: a table from verb to the module that runs it, imported only when it is needed."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from raymon import __version__
from raymon.errors import UserError
from raymon.format import one_line


class Verb(NamedTuple):
    """One command.

    Attributes:
        module: Holds `main(arguments) -> exit code`.
        extra: The optional dependencies of `raymon-rl` that the command needs.
    """

    name: str
    module: str
    sentence: str
    extra: str = ""


VERBS: Final = (
    Verb("train", "raymon.train.command", "Train with PPO and parallel sampling, and show everything.", "train"),
    Verb("evaluate", "raymon.train.evaluate", "Play episodes with a checkpoint and print their returns.", "train"),
    Verb("demo", "raymon.train.demo", "Start a small run with an injected fault, to see how it is reported.", "train"),
    Verb("status", "raymon.page.command", "Open the status page of a running cluster.", "page"),
    Verb("top", "raymon.top.command", "Show the same in the terminal; --once --json for scripts."),
    Verb("profile", "raymon.profile.command", "Profile a live run: flame graphs, timeline, stragglers."),
    Verb("watch", "raymon.incident.watch", "Watch a run without a screen: incidents, messages, a recording."),
    Verb("incidents", "raymon.incident.incidents", "List the collected incidents, or print one."),
    Verb("postmortem", "raymon.incident.postmortem", "Name the first cause of a run's end from its recording."),
    Verb("export", "raymon.export.command", "Serve the verdicts as metrics, for Prometheus and Alertmanager.", "stack"),
    Verb("doctor", "raymon.stack.doctor", "Check for common problems and print how to fix them."),
    Verb("up", "raymon.stack.up", "Start the installed Prometheus and Grafana, configured for raymon.", "stack"),
    Verb("down", "raymon.stack.down", "Stop what `raymon up` started."),
    Verb("dashboards", "raymon.stack.dashboards", "Push the dashboards to a Grafana, or export them.", "stack"),
)

EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {
    "page": ("streamlit",),
    "stack": ("grafana_api", "requests", "yaml", "prometheus_client"),
    "train": ("torch", "gymnasium", "tyro", "yaml", "zmq", "msgpack", "tomli"),
    "rllib": ("tree", "lz4", "ormsgpack", "scipy", "tensorboardX", "pandas", "pyarrow", "fsspec"),
}
"""Import names of the packages that each extra installs."""


def usage() -> str:
    """Return the list of commands."""
    width = max(len(verb.name) for verb in VERBS)
    lines = [f"  {verb.name:<{width}}  {verb.sentence}" for verb in VERBS]
    return "\n".join(
        ["usage: raymon <command> [options]", "", *lines, "", "Run `raymon <command> --help` for its options."]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 success, 1 a problem was found, 2 wrong use or no answer possible, 128 + signal when interrupted.
    """
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or [""]
    if name in ("", "-h", "--help", "help"):
        print(usage())
        return 0 if name else 2
    if name in ("-V", "--version"):
        print(f"raymon {__version__}")
        return 0
    verb = next((verb for verb in VERBS if verb.name == name), None)
    if verb is None:
        expected = ", ".join(verb.name for verb in VERBS)
        print(f"raymon: unknown command {name!r}; expected one of {expected}", file=sys.stderr)
        return 2
    return _run(verb, rest)


def _run(verb: Verb, arguments: list[str]) -> int:
    try:
        return int(importlib.import_module(verb.module).main(arguments))
    except KeyboardInterrupt:
        return 130
    except UserError as error:
        print(f"raymon {verb.name}: {one_line(str(error))}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = next((extra for extra in (verb.extra, *EXTRAS) if package in EXTRAS.get(extra, ())), None)
        if extra is None:
            raise
        print(
            f"raymon {verb.name}: the package {package} is missing; run pip install 'raymon-rl[{extra}]'",
            file=sys.stderr,
        )
        return 2

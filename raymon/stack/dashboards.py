"""`raymon dashboards push` into a Grafana that runs already, and `raymon dashboards export` into a folder."""

import argparse
import json
import sys
from pathlib import Path

from raymon.stack import files, kubernetes, push
from raymon.stack.command_line import seconds, url
from raymon.stack.grafana import Grafana, GrafanaError
from raymon.stack.login import LoginError, add_login, login_from


def parser() -> argparse.ArgumentParser:
    """Return the options of both commands."""
    found = argparse.ArgumentParser(prog="raymon dashboards", description="Put raymon's dashboards where Grafana is.")
    commands = found.add_subparsers(dest="command", required=True, metavar="push|export")
    one = commands.add_parser(
        "push",
        help="put them into a running Grafana",
        description="Create or update raymon's folder and dashboards; what is equal is left alone. Nothing of another "
        "team's is overwritten. Exit code: 0 done, 1 something was refused or failed, 2 wrong use.",
    )
    add = one.add_argument
    add("--url", required=True, metavar="URL", help="Grafana's address, with its sub-path if it has one")
    add_login(one)
    add("--folder-uid", default="raymon", metavar="UID", help="folder to put them into (default: raymon)")
    add("--folder-title", default="raymon", metavar="TITLE", help="its title if it has to be made (default: raymon)")
    add(
        "--prometheus-url",
        type=url,
        metavar="URL",
        help="make the datasource, too: Prometheus's address as Grafana reaches it",
    )
    add("--dry-run", action="store_true", help="show what would change, of what is there as a diff, and change nothing")
    add("--force", action="store_true", help="overwrite dashboards of these uids that are not ours or were edited")
    add("--ca-file", type=Path, metavar="FILE", help="certificate of the authority that signed the server's")
    add("--timeout", type=seconds, default=10.0, metavar="SECONDS", help="for one call (default: 10)")
    two = commands.add_parser("export", help="write them into a folder", description="Write the dashboards as files.")
    two.add_argument("directory", type=Path, metavar="DIR", help="created if it does not exist")
    two.add_argument(
        "--kubernetes",
        action="store_true",
        help="write ConfigMaps for the sidecar of Grafana's Helm chart: kubectl apply -f DIR",
    )
    return found


def main(arguments: list[str]) -> int:
    """Run the command."""
    options = parser()
    given = options.parse_args(arguments)
    try:
        return _export(given.directory, given.kubernetes) if given.command == "export" else _push(given)
    except LoginError as error:
        print(f"raymon dashboards: {error}", file=sys.stderr)
        return 2
    except (GrafanaError, files.FilesError) as error:
        print(f"raymon dashboards: {error}", file=sys.stderr)
        return 1


def _export(directory: Path, as_config_maps: bool) -> int:
    models = files.dashboards()
    if as_config_maps:
        texts = kubernetes.config_maps(models)
    else:
        texts = {name: json.dumps(model, indent=2, ensure_ascii=False) + "\n" for name, model in models.items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"raymon dashboards: cannot write to {directory}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{len(texts)} dashboards written to {directory}")
    return 0


def _push(given: argparse.Namespace) -> int:
    if given.ca_file and not given.ca_file.is_file():
        raise LoginError(f"--ca-file {given.ca_file} does not exist")
    grafana = Grafana(given.url, login_from(given), given.timeout, given.ca_file or True)
    target = push.Target(given.folder_uid, given.folder_title, given.prometheus_url or "", given.force)
    steps = push.plan(grafana, files.dashboards(), files.datasource(), target)
    if given.dry_run:
        for step in steps:
            print(_line(step, would=True))
            for line in step.preview():
                print(f"    {line}")
        return 1 if any(step.action == "refuse" for step in steps) else 0
    failed = False
    for step, error in push.carry_out(grafana, steps, target):
        failed |= bool(error) or step.action == "refuse"
        print(_line(step, error), file=sys.stderr if error or step.action == "refuse" else sys.stdout)
    return 1 if failed else 0


def _line(step: push.Step, error: str = "", would: bool = False) -> str:
    if error:
        return f"{step.kind} {step.name}: failed: {error}"
    if step.action == "refuse":
        return f"{step.kind} {step.name}: left alone: {step.reason}"
    if step.action == "unchanged":
        return f"{step.kind} {step.name}: unchanged"
    return f"{step.kind} {step.name}: " + (f"would {step.action}" if would else f"{step.action}d")

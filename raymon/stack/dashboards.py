"""`raymon dashboards push` into a running Grafana, and `raymon dashboards export` into a folder."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from raymon.cluster.auth import unencrypted
from raymon.format import printable
from raymon.stack import files, kubernetes, push
from raymon.stack.grafana import Grafana
from raymon.stack.login import LoginError, add_login, login_from
from raymon.stack.option_types import seconds, url

_LONGEST_LINE: Final = 1000


def build_parser() -> argparse.ArgumentParser:
    """Return the options of both commands."""
    parser = argparse.ArgumentParser(prog="raymon dashboards", description="Put raymon's dashboards where Grafana is.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="push|export")
    pushing = commands.add_parser(
        "push",
        help="put them into a running Grafana",
        description="Create or update raymon's folder and dashboards; what is equal is left alone. Nothing of another "
        "team is overwritten. Exit code: 0 done, 1 something was refused or failed, 2 wrong use.",
    )
    add = pushing.add_argument
    add("--url", required=True, metavar="URL", help="Grafana's address, with its sub-path if it has one")
    add_login(pushing)
    add("--folder-uid", default="raymon", metavar="UID", help="folder to put them into (default: raymon)")
    add("--folder-title", default="raymon", metavar="TITLE", help="its title if it is created (default: raymon)")
    add(
        "--prometheus-url",
        type=url,
        metavar="URL",
        help="create the datasource as well: Prometheus's address as Grafana reaches it",
    )
    add("--dry-run", action="store_true", help="show what would change, as a diff, and change nothing")
    add("--force", action="store_true", help="overwrite dashboards of these uids that are not raymon's or were edited")
    _add_large_fleet(pushing)
    add("--ca-file", type=Path, metavar="FILE", help="certificate of the authority that signed the server's")
    add("--timeout", type=seconds, default=10.0, metavar="SECONDS", help="for one call (default: 10)")
    exporting = commands.add_parser("export", help="write them into a folder", description="Write dashboards as files.")
    exporting.add_argument("directory", type=Path, metavar="DIR", help="created if it does not exist")
    exporting.add_argument(
        "--kubernetes",
        action="store_true",
        help="write ConfigMaps for the sidecar of Grafana's Helm chart: kubectl apply -f DIR",
    )
    _add_large_fleet(exporting)
    return parser


def _add_large_fleet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--large-fleet",
        action="store_true",
        help=f"for over 1,000 workers: read what {files.LARGE_FLEET_RULES} records; Prometheus must load it",
    )


def main(arguments: list[str]) -> int:
    """Run the command."""
    args = build_parser().parse_args(arguments)
    models = files.dashboards(args.large_fleet)
    return _export(models, args.directory, args.kubernetes) if args.command == "export" else _push(models, args)


def _export(models: Mapping[str, dict[str, Any]], directory: Path, as_config_maps: bool) -> int:
    if as_config_maps:
        texts = kubernetes.config_maps(models)
    else:
        texts = {name: json.dumps(model, indent=2, ensure_ascii=False) + "\n" for name, model in models.items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise files.FilesError(f"cannot write to {directory}: {error.strerror}") from error
    print(f"{len(texts)} dashboards written to {directory}")
    return 0


def _push(models: Mapping[str, dict[str, Any]], args: argparse.Namespace) -> int:
    if args.ca_file and not args.ca_file.is_file():
        raise LoginError(f"--ca-file {args.ca_file} does not exist")
    login = login_from(args)
    grafana = Grafana(args.url, login, args.timeout, args.ca_file or True)
    if warning := unencrypted(args.url, "the login") if login else "":
        print(f"raymon dashboards: {warning}", file=sys.stderr)
    target = push.Target(args.folder_uid, args.folder_title, args.prometheus_url or "", args.force)
    steps = push.plan(grafana, models, files.datasource(), target)
    if args.dry_run:
        for step in steps:
            print(_line(step, would=True))
            for line in step.preview():
                print(f"    {printable(line, _LONGEST_LINE)}")
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
        return f"{step.kind} {step.name}: left alone: {printable(step.reason, _LONGEST_LINE)}"
    if step.action == "unchanged":
        return f"{step.kind} {step.name}: unchanged"
    return f"{step.kind} {step.name}: " + (f"would {step.action}" if would else f"{step.action}d")

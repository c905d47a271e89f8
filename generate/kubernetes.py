"""`prometheus/kubernetes/`: the rules for the Prometheus operator, the dashboards as ConfigMaps for Grafana."""

from typing import Any, Final

import yaml

from generate.alert import Pace
from generate.dashboards import DASHBOARDS
from generate.rules import dump, groups

HEADER: Final = "# Written by python -m generate; change what it is made from.\n"
SIDECAR_LABEL: Final = "grafana_dashboard"
"""The label by which the sidecar of Grafana's chart finds dashboards, and `grafana_folder` their folder."""
_NAME: Final = {"app.kubernetes.io/name": "raymon"}


class _Block(str):
    """Text that is written as a YAML block, line by line."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes `_Block` as a block."""


_Dumper.add_representer(_Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|"))


def rules() -> str:
    """Return the PrometheusRule."""
    return HEADER + dump(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "raymon", "labels": _NAME},
            "spec": {"groups": groups(Pace())},
        }
    )


def dashboards() -> str:
    """Return a ConfigMap per dashboard, in one file."""
    maps: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": board.uid,
                "labels": {**_NAME, SIDECAR_LABEL: "1"},
                "annotations": {"grafana_folder": "raymon"},
            },
            "data": {f"{board.uid}.json": _Block(board.text())},
        }
        for board in DASHBOARDS
    ]
    return HEADER + yaml.dump_all(maps, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)

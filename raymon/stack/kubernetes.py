"""The dashboards as Kubernetes ConfigMaps, for the dashboard sidecar of Grafana's Helm chart."""

import json
from collections.abc import Mapping
from typing import Any, Final

import yaml

SIDECAR_LABEL: Final = "grafana_dashboard"
"""The sidecar loads ConfigMaps that have this label."""
FOLDER_ANNOTATION: Final = "grafana_folder"


def config_maps(models: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """Return the text of one ConfigMap per dashboard by its file name.

    The JSON is compact: `kubectl apply` keeps a copy of the object in an annotation of at most 256 KiB.

    Args:
        models: Dashboards by file name, as `files.dashboards` returns them.
    """
    return {
        f"{model['uid']}.yaml": yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": model["uid"],
                    "labels": {"app.kubernetes.io/name": "raymon", SIDECAR_LABEL: "1"},
                    "annotations": {FOLDER_ANNOTATION: "raymon"},
                },
                "data": {name: json.dumps(model, ensure_ascii=False, separators=(",", ":"))},
            },
            sort_keys=False,
            allow_unicode=True,
        )
        for name, model in models.items()
    }

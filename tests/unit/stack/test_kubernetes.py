"""`raymon dashboards export --kubernetes`: one ConfigMap per dashboard, as Kubernetes and Grafana's sidecar want it."""

import json

import jsonschema
import yaml

from raymon.stack import dashboards, files

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
CONFIG_MAP = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "data"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "v1"},
        "kind": {"const": "ConfigMap"},
        "metadata": {
            "type": "object",
            "required": ["name", "labels"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63},
                "labels": TEXTS,
                "annotations": TEXTS,
            },
        },
        "data": TEXTS,
    },
}
APPLY_LIMIT_BYTES = 262_144
"""`kubectl apply` copies the object into an annotation; annotations may have this size in all."""


def test_export_writes_a_config_map_per_dashboard(tmp_path, capsys):
    assert dashboards.main(["export", "--kubernetes", str(tmp_path / "maps")]) == 0
    assert str(tmp_path / "maps") in capsys.readouterr().out
    maps = [yaml.safe_load(path.read_text()) for path in sorted((tmp_path / "maps").iterdir())]
    for config_map in maps:
        jsonschema.validate(config_map, CONFIG_MAP)
        assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert len(json.dumps(config_map).encode()) < APPLY_LIMIT_BYTES
    written = {name: json.loads(text) for config_map in maps for name, text in config_map["data"].items()}
    assert written == files.dashboards()

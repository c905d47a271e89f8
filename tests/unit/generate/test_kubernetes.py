"""The Kubernetes objects: shaped as the schemas of operator, Kubernetes and kustomize want, the same as the files."""

import re

import jsonschema
import pytest
import yaml
from support import ROOT

from raymon.cluster.ports import EXPORT_PORT

FOLDER = ROOT / "prometheus" / "kubernetes"
NAME = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
DURATION = {"type": "string", "pattern": r"^(0|(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"}


def record(required, **properties):
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def several(of):
    return {"type": "array", "items": of, "minItems": 1}


METADATA = record(["name"], name=NAME, namespace=NAME, labels=TEXTS, annotations=TEXTS)
RELABELING = record(
    ["action"],
    action={"enum": ["replace", "labeldrop"]},
    sourceLabels=several({"type": "string"}),
    targetLabel={"type": "string"},
    regex={"type": "string"},
)
RULE = record(
    ["expr"],
    record={"type": "string"},
    alert={"type": "string"},
    expr={"type": "string"},
    labels=TEXTS,
    annotations=TEXTS,
    **{"for": DURATION},
)
GROUP = record(["name"], name={"type": "string"}, interval=DURATION, rules=several(RULE))
REQUIREMENT = record(
    ["key", "operator"],
    key={"type": "string"},
    operator={"enum": ["In", "Exists"]},
    values=several({"type": "string"}),
)
# After the definitions of the Prometheus operator (monitoring.coreos.com/v1), of Kubernetes (v1) and of kustomize, cut
# down to the fields in use: a misspelt one is an error here, where the API server would drop it in silence.
SCHEMAS = {
    "PodMonitor": record(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "monitoring.coreos.com/v1"},
        kind={},
        metadata=METADATA,
        spec=record(
            ["selector", "podMetricsEndpoints"],
            jobLabel={"type": "string"},
            namespaceSelector=record([], any={"type": "boolean"}, matchNames=several({"type": "string"})),
            selector=record([], matchLabels=TEXTS, matchExpressions=several(REQUIREMENT)),
            podMetricsEndpoints=several(
                record(
                    ["port"],
                    port={"type": "string", "maxLength": 15},
                    interval=DURATION,
                    scrapeTimeout=DURATION,
                    relabelings=several(RELABELING),
                    metricRelabelings=several(RELABELING),
                )
            ),
        ),
    ),
    "PrometheusRule": record(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "monitoring.coreos.com/v1"},
        kind={},
        metadata=METADATA,
        spec=record(
            ["groups"],
            groups=several(record(["name"], name={"type": "string"}, interval=DURATION, rules=several(RULE))),
        ),
    ),
    "Kustomization": record(
        ["resources"],
        apiVersion={"const": "kustomize.config.k8s.io/v1beta1"},
        kind={},
        namespace=NAME,
        resources=several({"type": "string"}),
    ),
}
DOCUMENTS = [
    pytest.param(document, id=f"{path.name}: {document['kind']} {document.get('metadata', {}).get('name', '')}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_object_follows_its_schema(document):
    jsonschema.validate(document, SCHEMAS[document["kind"]])


def test_the_schema_finds_a_misspelt_field():
    document = yaml.safe_load((FOLDER / "podmonitor.yaml").read_text())
    document["spec"]["podMetricsEndpoint"] = document["spec"].pop("podMetricsEndpoints")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMAS["PodMonitor"])


def test_files_named_by_kustomize_exist():
    named = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert set(named) | {"kustomization.yaml", "large-fleet-prometheusrule.yaml"} == {
        path.name for path in FOLDER.glob("*.yaml")
    }


@pytest.mark.parametrize("prefix", ["", "large-fleet-"])
def test_the_rules_are_those_of_the_file(prefix):
    rule = yaml.safe_load((FOLDER / f"{prefix}prometheusrule.yaml").read_text())
    assert rule["spec"] == yaml.safe_load((ROOT / "prometheus" / f"{prefix}rules.yml").read_text())


def test_ray_pods_are_selected_by_kuberays_labels_and_ports():
    monitor = yaml.safe_load((FOLDER / "podmonitor.yaml").read_text())["spec"]
    (chosen,) = monitor["selector"]["matchExpressions"]
    assert (chosen["key"], set(chosen["values"])) == ("ray.io/node-type", {"head", "worker"})
    assert [endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]] == [
        "metrics",
        "as-metrics",
        "dash-metrics",
        "raymon",
    ]
    declared = re.search(r"`ports: (\[.*?\])`", (ROOT / "docs" / "deploy.md").read_text())
    assert declared is not None
    assert yaml.safe_load(declared[1]) == [{"name": "raymon", "containerPort": EXPORT_PORT}]

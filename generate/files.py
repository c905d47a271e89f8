"""The generated files and their texts."""

from generate import kubernetes, large_fleet_rules, metric_reference, rules
from generate.dashboards import DASHBOARDS
from raymon.stack import files


def generated() -> dict[str, str]:
    """Return the text of every generated file by its path in the repository."""
    return {
        **{f"dashboards/{board.uid}.json": board.text() for board in DASHBOARDS},
        "prometheus/rules.yml": rules.text(),
        files.LARGE_FLEET_RULES: large_fleet_rules.text(),
        "prometheus/kubernetes/prometheusrule.yaml": kubernetes.prometheus_rule("raymon", rules.groups()),
        "prometheus/kubernetes/large-fleet-prometheusrule.yaml": kubernetes.prometheus_rule(
            "raymon-large-fleet", large_fleet_rules.groups()
        ),
        "docs/metrics.md": metric_reference.text(),
    }

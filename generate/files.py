"""The generated files and their texts."""

from generate import kubernetes, metric_reference, rules
from generate.dashboards import DASHBOARDS


def generated() -> dict[str, str]:
    """Return the text of every generated file by its path in the repository."""
    return {
        **{f"dashboards/{board.uid}.json": board.text() for board in DASHBOARDS},
        "prometheus/rules.yml": rules.text(),
        "prometheus/kubernetes/prometheusrule.yaml": kubernetes.prometheus_rule(),
        "docs/metrics.md": metric_reference.text(),
    }

"""Which files are generated, and what is in them."""

from generate import kubernetes, metric_reference, rule_cases, rules
from generate.dashboards import DASHBOARDS


def generated() -> dict[str, str]:
    """Return path in the repository -> text, of every generated file."""
    return {
        **{f"dashboards/{board.uid}.json": board.text() for board in DASHBOARDS},
        "prometheus/rules.yml": rules.text(),
        "prometheus/rules_test.yml": rule_cases.text(),
        "prometheus/kubernetes/prometheusrule.yaml": kubernetes.rules(),
        "prometheus/kubernetes/dashboards.yaml": kubernetes.dashboards(),
        "docs/metrics.md": metric_reference.text(),
    }

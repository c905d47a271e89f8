"""The rules: promtool's checks and cases; every alert is explained, can fire and can stay silent."""

import re
import subprocess

import pytest
import yaml
from alert_cases import CASES, promtool_document
from promql import metrics_of
from support import ROOT

from generate import alerts, recording_rules
from generate.alert import RUNBOOK
from generate.dashboards import DASHBOARDS
from raymon import catalog, queries
from raymon.queries import engine_families, recorded_rules

RULES = ROOT / "prometheus" / "rules.yml"
ALERTS = {alert.name: alert for alert in alerts.ALERTS}
RUNBOOK_FILE = ROOT / "docs" / "runbook.md"


def promtool(*arguments):
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)


def run_cases(folder, rules, cases):
    """Run cases against a document of rules and return promtool's result."""
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    (folder / "cases.yml").write_text(yaml.safe_dump(promtool_document("rules.yml", tuple(cases))))
    return promtool("test", "rules", folder / "cases.yml")


def test_promtool_accepts_the_rules():
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert result.returncode == 0, result.stdout + result.stderr


def test_alerts_fire_and_stay_silent_as_their_cases_say(tmp_path):
    result = run_cases(tmp_path, yaml.safe_load(RULES.read_text()), CASES)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("expression", ["vector(0) > 1", "vector(1)"], ids=["never", "always"])
def test_cases_reveal_an_alert_that_fires_never_or_always(expression, tmp_path):
    rules = yaml.safe_load(RULES.read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        if "alert" in rule:
            rule["expr"] = expression
    result = run_cases(tmp_path, rules, CASES)
    failed = set(re.findall(r"alertname: (\w+)", result.stdout + result.stderr))
    assert failed == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_cases_that_fire_stay_silent_and_vanish(name):
    cases = [case for case in CASES if case.alert == name]
    assert any(case.fires_at and case.silent_at for case in cases)
    assert any(not case.fires_at for case in cases)
    assert any("stale" in values for case in cases for values in case.series.values())


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_follows_the_conventions(name):
    alert = ALERTS[name]
    rule = alert.rule()
    assert re.fullmatch(r"Raymon([A-Z][a-z]+)+", name)
    assert len(name) <= 40
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["summary"].endswith(".")
    assert "{{" not in rule["annotations"]["summary"]
    assert "{{ $labels." in rule["annotations"]["description"]
    assert rule["annotations"]["runbook"] == f"{RUNBOOK}#{name.lower()}"
    board = rule["annotations"]["dashboard_url"].removeprefix("/d/").partition("?")[0]
    assert board in {board.uid for board in DASHBOARDS}
    assert len(alert.reason.split()) > 10


def test_there_are_few_alerts():
    assert 8 <= len(ALERTS) <= 14


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_reads_recorded_rules(name):
    known = {metric.name for metric in catalog.every()}
    known |= {value for value in vars(queries.ray_families).values() if isinstance(value, str)}
    known |= {rule["record"] for rule in recording_rules.RECORDING_RULES}
    assert metrics_of(ALERTS[name].expression) <= known


def test_each_reason_is_a_comment_in_the_rules():
    text = re.sub(r"\n\s*# ", " ", RULES.read_text())
    for alert in ALERTS.values():
        assert alert.reason in text


def test_recorded_series_are_named_level_metric_operations():
    for rule in recording_rules.RECORDING_RULES:
        assert re.fullmatch(r"[a-z_]+:[a-z0-9_]+:[a-z0-9_]+", rule["record"])


def test_dashboards_work_without_the_recorded_series():
    """One query looks for them, to say that the rules are not loaded."""
    shown = {name: metrics_of(query.fill()) - engine_families.EVERY for name, query in queries.BOOK.items()}
    recorded = {name: {family for family in families if ":" in family} for name, families in shown.items()}
    assert {name: families for name, families in recorded.items() if families} == {
        "run.PROBLEMS": set(recorded_rules.RATES)
    }


def test_windows_hold_four_scrapes():
    for window in re.findall(r"\[(\d+)([sm])", RULES.read_text()):
        assert int(window[0]) * {"s": 1, "m": 60}[window[1]] >= 20


def test_the_runbook_has_a_section_for_each_alert():
    text = RUNBOOK_FILE.read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S))
    assert list(sections) == list(ALERTS)
    for name, section in sections.items():
        assert re.findall(r"^\*\*(\w+)\.\*\*", section, flags=re.M) == [
            "Meaning",
            "Impact",
            "Diagnosis",
            "Mitigation",
        ], name


def test_the_runbook_names_panels_that_exist():
    titles = {panel.title or panel.queries[0].title for board in DASHBOARDS for panel in board.panels()}
    titles |= {"Worker lost", "Status → Targets"}
    named = set(re.findall(r"(?<!\*)\*([^*\n]+(?:\n[^*\n]+)?)\*(?!\*)", RUNBOOK_FILE.read_text()))
    assert {" ".join(name.split()) for name in named} <= titles


def test_alerts_on_verdicts_fire_for_what_export_serves(tmp_path):
    rules = ROOT / "prometheus" / "verdict-rules.yml"
    assert set(re.findall(r"ray_raymon_\w+", rules.read_text())) == {catalog.RUN_VERDICT.name}
    (tmp_path / "rules.yml").write_text(rules.read_text())
    labels = {"run": "r", "code": "worker_stalled", "severity": "critical"}
    summary = "raymon calls run r worker_stalled."
    description = "The status page and raymon incidents say where and why."
    fired = {"exp_labels": labels, "exp_annotations": {"summary": summary, "description": description}}
    case = {
        "interval": "5s",
        "input_series": [
            {
                "series": 'ray_raymon_run_verdict{run="r", code="worker_stalled", severity="critical"}',
                "values": "_x3 1x4 stale",
            }
        ],
        "alert_rule_test": [
            {"eval_time": f"{at}s", "alertname": "RaymonVerdictCritical", "exp_alerts": [fired] * number}
            for at, number in ((15, 0), (25, 1), (40, 0))
        ],
    }
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "5s", "tests": [case]}
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(document))
    result = promtool("test", "rules", tmp_path / "cases.yml")
    assert result.returncode == 0, result.stdout + result.stderr

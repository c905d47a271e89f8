"""The rules: promtool's own checks and cases, each alert explained, and each able to fire and to stay silent."""

import re
import subprocess

import pytest
import yaml
from promql import metrics_of
from support import ROOT

from generate import recording_rules
from generate.alert import RUNBOOK, Pace
from generate.alerts import alerts
from generate.dashboards import DASHBOARDS
from generate.rule_cases import CASES
from raymon import catalog, queries

RULES = ROOT / "prometheus" / "rules.yml"
CASE_FILE = ROOT / "prometheus" / "rules_test.yml"
ALERTS = {alert.name: alert for alert in alerts(Pace())}
RUNBOOK_FILE = ROOT / "docs" / "runbook.md"


def promtool(*arguments, cwd=ROOT):
    return subprocess.run(["promtool", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def test_promtool_accepts_the_rules():
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_cases_hold():
    tested = promtool("test", "rules", CASE_FILE)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_the_cases_of_an_alert_can_fail(name, tmp_path):
    """An alert that never fires, and one that always does, are both found out."""
    rules = yaml.safe_load(RULES.read_text())
    (group,) = [group for group in rules["groups"] if any(rule.get("alert") == name for rule in group["rules"])]
    (rule,) = [rule for rule in group["rules"] if rule.get("alert") == name]
    cases = yaml.safe_load(CASE_FILE.read_text())
    cases["tests"] = [case for case in cases["tests"] if case["alert_rule_test"][0]["alertname"] == name]
    (tmp_path / "rules_test.yml").write_text(yaml.safe_dump(cases))
    for expression in ("vector(0) > 1", "vector(1)"):
        rule["expr"] = expression
        (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
        assert promtool("test", "rules", "rules_test.yml", cwd=tmp_path).returncode != 0, expression


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_case_that_fires_one_step_after_silence_and_one_with_a_vanished_series(name):
    cases = [case for case in CASES if case.alert == name]
    assert any(case.fires_at and case.silent_at for case in cases)
    assert any(not case.fires_at for case in cases) or name == "RaymonMetricsMissing"
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
    assert rule["annotations"]["runbook_url"] == f"{RUNBOOK}#{name.lower()}"
    board = rule["annotations"]["dashboard_url"].removeprefix("/d/").partition("?")[0]
    assert board in {board.uid for board in DASHBOARDS}
    assert len(alert.reason.split()) > 10


def test_there_are_eight_to_ten():
    assert 8 <= len(ALERTS) <= 10


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_reads_what_is_recorded(name):
    known = {metric.name for metric in catalog.every()}
    known |= {value for value in vars(queries.ray_families).values() if isinstance(value, str)}
    known |= {recording_rules.STEPS_RATE, recording_rules.STEP_COST}
    assert metrics_of(ALERTS[name].expression) <= known


def test_each_reason_stands_beside_its_rule():
    text = re.sub(r"\n\s*# ", " ", RULES.read_text())
    for alert in ALERTS.values():
        assert alert.reason in text


def test_recorded_series_are_named_by_level_metric_and_operations():
    for rule in recording_rules.records(Pace()):
        assert re.fullmatch(r"[a-z_]+:[a-z0-9_]+:[a-z0-9_]+", rule["record"])


def test_dashboards_work_without_the_recorded_series():
    shown = {name for query in queries.BOOK.values() for name in metrics_of(query.fill())}
    assert not {name for name in shown if ":" in name}


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

"""Recorded parts of queries: each is used, and with them no dashboard reads every worker of a run."""

import re

import pytest
from promql import metrics_of
from promql_parser import parse

from generate import recording_rules
from raymon import catalog, queries
from raymon.queries import large_fleet
from raymon.queries.large_fleet import PARTS, RECORDED_FOR_ALERTS

RECORDED = {name: large_fleet.recorded(query.expression) for name, query in queries.BOOK.items()}
RULES = [part.rule() for part in PARTS]
SERIES = [rule["record"] for rule in RULES]
OF_WORKERS = {metric.name for source in ("process", "worker", "export") for metric in catalog.of(source)}
OF_WORKERS |= {metric.name for metric in (catalog.ROLE, catalog.TOKENS, catalog.RESPONSES, catalog.RESPONSE_LENGTH)}
OF_WORKERS |= {metric.name for metric in (catalog.GENERATION_LENGTH, catalog.GENERATION_SECONDS)}
OF_WORKERS -= {catalog.RUN_VERDICT.name, catalog.RUN_FINDING.name}
READ_BY = {
    "run.PROBLEMS": "whether the rules are loaded cannot be recorded",
    "run.DRIVER_AGE": "reads the drivers' series only",
    "flow.RECORDING_DROPPED": "an increase over the dashboard's range cannot be recorded",
    "flow.TASK_PROCESSES": "only processes of Ray tasks have the series",
    "workers.PROCESS_IDS": "lists every worker",
}
"""Queries that read families of workers, with the reason."""


def test_every_part_is_read():
    read = {name for expression in RECORDED.values() for name in metrics_of(filled(expression))}
    read |= {name for rule in RULES for name in metrics_of(rule["expr"])}
    assert {part.series for part in (*PARTS, *RECORDED_FOR_ALERTS)} <= read


def test_no_recorded_query_reads_every_worker():
    all_workers = {name: text for name, text in RECORDED.items() if "$worker" not in text}
    reading = {name for name, text in all_workers.items() if metrics_of(filled(text)) & OF_WORKERS}
    assert reading == set(READ_BY)


def filled(expression):
    return queries.Query("t", "s", "h.", expression).fill()


def test_series_have_one_rule_and_names_of_level_metric_operations():
    assert len(set(SERIES)) == len(SERIES)
    assert all(re.fullmatch(r"run(_[a-z]+)*:ray_raymon_[a-z_]+:[a-z0-9_]+", series) for series in SERIES)
    assert not set(SERIES) & {rule["record"] for rule in recording_rules.RECORDING_RULES}


@pytest.mark.parametrize("rule", RULES, ids=SERIES)
def test_a_rule_reads_every_run_and_what_was_recorded_before(rule):
    assert not re.search(r"\$[a-z_]", rule["expr"])
    read = {name for name in metrics_of(rule["expr"]) if ":" in name}
    assert read <= {*SERIES[: SERIES.index(rule["record"])], *(part.series for part in RECORDED_FOR_ALERTS)}
    parse(rule["expr"])


def test_the_rules_for_alerts_are_what_the_queries_contain():
    there = {rule["record"]: rule["expr"] for rule in recording_rules.RECORDING_RULES}
    assert all(there[part.series] == part.rule()["expr"] for part in RECORDED_FOR_ALERTS)

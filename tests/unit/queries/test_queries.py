"""The queries: every metric is queried, every query is shown and explained, the PromQL follows the linters' rules."""

import re

import pytest
from promql import bare_counters, calls_of, metrics_of, selectors_of
from promql_parser import parse

from generate.dashboards import DASHBOARDS
from raymon import catalog, queries
from raymon.queries import engine_families, recorded_rules
from raymon.queries.query import Query

# Read bare: the series of the first four begin with the first event, which increase() does not see; the others are
# gauges of Ray in spite of their names.
BARE = {
    catalog.WORKER_RESTARTS.name,
    catalog.TASK_PROCESSES.name,
    queries.ray_families.OOM_KILLS,
    queries.ray_families.WORKER_FAILURES,
    queries.ray_families.SPILL_REQUESTS,
    queries.ray_families.NODE_MEMORY_TOTAL,
}
BOOK = sorted(queries.BOOK)


def query(name) -> Query:
    return queries.BOOK[name]


def test_every_metric_is_queried():
    queried = {family(name) for name in queries.BOOK for name in metrics_of(query(name).fill())}
    missing = {metric.name for metric in catalog.every()} - queried
    assert not missing, f"write a query over {sorted(missing)} and put it on a panel"


def test_every_query_is_on_a_panel():
    shown = {id(query) for board in DASHBOARDS for panel in board.panels() for query in panel.queries}
    hidden = [name for name, query in queries.BOOK.items() if id(query) not in shown]
    assert not hidden, f"show {hidden} or delete them"


def family(name):
    return re.sub(r"_(bucket|count|sum)$", "", name) if name.startswith(catalog.FLEET_ROLLOUT.name) else name


@pytest.mark.parametrize("name", BOOK)
def test_a_query_has_title_help_and_unit(name):
    entry = query(name)
    assert entry.title
    assert not entry.title.endswith(".")
    assert entry.help.endswith(".")
    assert ". " not in entry.help, "one sentence"
    assert entry.unit


@pytest.mark.parametrize("name", BOOK)
def test_a_query_parses_and_reads_known_families(name):
    entry = query(name)
    known = (
        {metric.name for metric in (*catalog.every(), *catalog.of("export"))}
        | {"ALERTS", *engine_families.EVERY, *recorded_rules.RATES}
        | {
            value
            for value in vars(queries.ray_families).values()
            if isinstance(value, str) and value.startswith("ray_")
        }
    )
    assert {family(name) for name in metrics_of(entry.fill())} <= known
    assert "$" not in entry.fill()


@pytest.mark.parametrize("name", BOOK)
def test_a_query_selects_runs_or_sessions(name):
    for selector in selectors_of(parse(readable(query(name).expression))):
        matchers = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
        if selector.name == "ALERTS":  # alerts about a Ray session have no run
            assert matchers["run"] == "(_run)|"
            continue
        if selector.name in engine_families.EVERY:  # nothing of raymon's or Ray's is known of them
            continue
        ours = selector.name.startswith(catalog.PREFIX) or selector.name in recorded_rules.RATES
        assert matchers.get("run" if ours else "SessionName") == ("_run" if ours else "_session"), selector.prettify()


def readable(expression):
    """Return the expression for a parser that does not know Grafana's variables."""
    return expression.replace("$__rate_interval", "7m").replace("$__range", "9m").replace("$", "_")


@pytest.mark.parametrize("name", BOOK)
def test_rates_use_grafanas_interval(name):
    tree = parse(readable(query(name).expression))
    for call, window in calls_of(tree):
        if call in ("rate", "irate", "increase"):
            assert window in ("7m", "9m"), "use $__rate_interval, or $__range for the whole time range"
        assert call != "irate"


@pytest.mark.parametrize("name", BOOK)
def test_counters_are_read_through_rates(name):
    bare = bare_counters(parse(readable(query(name).expression)))
    assert bare <= BARE, f"{bare} need rate() or increase()"


@pytest.mark.parametrize("name", BOOK)
def test_every_selector_is_aggregated(name):
    tree = parse(readable(query(name).expression))
    bare = [selector.prettify() for selector in selectors_of(tree, outside_aggregations=True)]
    assert not bare, f"a restarted worker shows twice in {bare}"


@pytest.mark.parametrize("name", BOOK)
def test_the_fleet_histogram_is_never_averaged(name):
    used = metrics_of(query(name).fill())
    assert f"{catalog.FLEET_ROLLOUT.name}_sum" not in used, "its sum is not exact in Ray; a counter of seconds is"
    assert not re.search(r"[{,]le=", query(name).expression), "bounds are written differently by Prometheus 2 and 3"


def test_longer_variable_names_are_filled_in_first():
    entry = Query("t", "s", "h.", 'rate(a{run=~"$run"}[$__range]) + b{w=~"$worker"}[$__rate_interval]')
    assert entry.fill(run="r1", worker="3", window="2h", rate_interval="1m") == (
        'rate(a{run=~"r1"}[2h]) + b{w=~"3"}[1m]'
    )

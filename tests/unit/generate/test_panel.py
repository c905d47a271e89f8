"""Panels as Grafana draws them: nothing misleading, nothing unreadable. Each rule was broken once in a real Grafana."""

import json
import re

import pytest
from promql import selectors_of, walk
from promql_parser import AggregateExpr, parse
from support import ROOT

from generate.colours import (
    BLUE,
    COLOURS,
    EXPORT_AND_SCRAPE_SECONDS,
    GREEN,
    NEUTRAL,
    NO_VALUE,
    RED,
    RUN_STATES,
    SEVERITIES,
    YELLOW,
)
from generate.dashboards import DASHBOARDS
from generate.panel import INSTANT, PLAIN_SECONDS
from generate.recording_rules import RECORDING_RULES
from raymon import catalog, queries
from raymon.health import THRESHOLDS
from raymon.queries import recorded_rules, run

BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "dashboards").glob("*.json"))}
SUMMARIES = ("sum", "max", "count", "quantile")
"""Aggregations that drop labels; topk and bottomk keep them."""
NARROW_SCREEN = 1366
"""Pixels; Grafana's menu takes 57 of them, a panel's frame 32, a letter of a title at most 8."""
ALL_RUNS_TOGETHER = {
    "run.WORKERS_UP",
    "run.WORKERS_EXPECTED",
    "run.WORKERS_MISSING",
    "run.WORKERS_BY_STATE",
    "run.ACTIVITIES",
    "run.LOSSES",
    "run.STEPS_PER_SECOND_NOW",
    "run.DRIVER_PHASES",
    "run.WORKER_PHASES",
    "run.FLEET_ROLLOUTS",
    "flow.FRAGMENTS",
    "flow.FRAGMENT_STEPS",
    "flow.DROPPED",
    "flow.PUT_BYTES",
    "flow.WORKERS_REPORTING",
    "workers.ONE_PHASES",
    "learning.NONFINITE",
    "verdicts.WORKER_STATES",
}
"""Queries that do not keep runs apart: their parts are sums or shares with names of their own."""
AGE = [(None, NEUTRAL), (20, YELLOW), (60, RED)]
SLOW = [(None, GREEN), (1.5, YELLOW), (THRESHOLDS.slow_factor, RED)]
FULL = [(None, GREEN), (THRESHOLDS.store_used_ratio - 0.15, YELLOW), (THRESHOLDS.store_used_ratio, RED)]
LOST = [(None, NEUTRAL), (0.5, RED)]
FAILED = [(None, GREEN), (1, RED)]
STEPS = {
    "raymon-overview: Workers now / missing": LOST,
    "raymon-overview: Since the last update / /, late$/": AGE,
    "raymon-overview: Slower than the others": SLOW,
    "raymon-overview: Workers lost": LOST,
    "raymon-overview: Workers / Slowness": SLOW,
    "raymon-overview: Workers / Heartbeat": AGE,
    "raymon-overview: Workers / Failures/s": [(None, NEUTRAL), (0.001, RED)],
    "raymon-overview: Object store used": FULL,
    "raymon-overview: Observations dropped by recording": LOST,
    "raymon-worker: Processes / Heartbeat": AGE,
    "raymon-learner: Non-finite updates": [(None, GREEN), (0.5, RED)],
    "raymon-language: Slower per token than the others": [(None, BLUE), *SLOW[1:]],
    "raymon-nodes: Object store used": FULL,
    "raymon-nodes: Spilled to disk": [(None, GREEN), (THRESHOLDS.spilled_bytes, RED)],
    "raymon-nodes: Allocated on disk": FAILED,
    "raymon-nodes: Killed for memory": FAILED,
    "raymon-nodes: Ended unexpectedly": FAILED,
}
"""Thresholds of every panel, series and column that has some, with the colour from each on."""
PROCESS_FAMILIES = {metric.name for metric in catalog.of("process")}
"""Families of workers and drivers."""
FREE_AXES = {
    "raymon-overview: Mean return",
    "raymon-overview: Steps trained on",
    "raymon-learner: Return: mean, min, max",
    "raymon-learner: Loss by term",
    "raymon-learner: Explained variance",
    "raymon-learner: KL divergence",
    "raymon-learner: Policy entropy",
    "raymon-learner: Policy version",
    "raymon-language: Reward",
    "raymon-worker: Worker's mean return",
    "raymon-worker: Worker's policy version",
}
"""Graphs of values that may be negative, or that only grow."""
NAMES_BY_ROLE = {
    "What the workers are doing now": "{{role}}{{activity}}",
    "Where the workers' time goes now": "{{role}}{{phase}}",
    "Slowest rollouts": "{{run}} {{role}}{{worker}}",
    "Longest without progress": "{{run}} {{role}}{{worker}}",
}
"""Panels over workers of all roles, with the names of their series."""
ROLE = f'{catalog.ROLE.name}{{run=~"$run"'
FIRST_SCREEN_UNITS = 19
"""Units of height that a screen of 1600 x 1000 pixels shows."""


def flat(board):
    """Yield the panels of a dashboard, those of collapsed rows included."""
    for panel in board["panels"]:
        yield from panel["panels"] if panel["type"] == "row" else (panel,)


PANELS = {f"{name}: {panel['title']}": panel for name, board in BOARDS.items() for panel in flat(board)}
TARGETS = {
    f"{name} {target['refId']}": (panel, target) for name, panel in PANELS.items() for target in panel["targets"]
}


def defaults(panel):
    return panel["fieldConfig"]["defaults"]


def all_steps(panel):
    """Return the thresholds of a panel and of its overrides."""
    steps = list(defaults(panel)["thresholds"]["steps"])
    for override in panel["fieldConfig"]["overrides"]:
        for each in override["properties"]:
            if each["id"] == "thresholds":
                steps += each["value"]["steps"]
    return steps


def aggregations(expression):
    """Yield the aggregations that drop labels, outermost first, with the labels they keep."""
    tree = parse(expression.replace("$__rate_interval", "7m").replace("$__range", "9m").replace("$", "_"))
    for node, _ in walk(tree):
        if isinstance(node, AggregateExpr) and str(node.op) in SUMMARIES:
            yield node, set(node.modifier.labels) if node.modifier else set()


def labels_of(expression):
    """Return the labels that the first outermost aggregation keeps."""
    return next(labels for _, labels in aggregations(expression))


def properties_of(panel):
    """Yield the matched name, the property and its value of every override of a panel."""
    for override in panel["fieldConfig"]["overrides"]:
        for each in override["properties"]:
            yield override["matcher"]["options"], each["id"], each["value"]


def test_an_empty_panel_has_a_neutral_colour():
    for name, panel in PANELS.items():
        if panel["type"] in ("stat", "gauge", "bargauge"):
            assert NO_VALUE in defaults(panel)["mappings"], name
            assert defaults(panel)["noValue"], name


def test_bars_and_axes_begin_at_zero():
    drawn = {name: panel for name, panel in PANELS.items() if panel["type"] in ("bargauge", "timeseries")}
    assert {name for name, panel in drawn.items() if defaults(panel).get("min") != 0} == FREE_AXES


def test_a_graph_ranks_its_series_over_the_whole_range():
    for name, (panel, target) in TARGETS.items():
        if panel["type"] not in INSTANT:
            for ranked in re.findall(r"(?:top|bottom)k\(\d+, (.*)", target["expr"]):
                assert "@ end()" in ranked, f"{name}: topk() would pick other series at each step"


def test_a_legend_names_every_label_of_its_series():
    for name, (panel, target) in TARGETS.items():
        if panel["type"] not in ("table", "heatmap"):
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert labels_of(target["expr"]) - {"le"} <= named, name  # a quantile over buckets has no bound


def test_a_stat_with_several_numbers_names_them():
    for name, panel in PANELS.items():
        if panel["type"] == "stat":
            several = len(panel["targets"]) > 1 or "{{" in panel["targets"][0]["legendFormat"]
            assert panel["options"]["textMode"] == ("value_and_name" if several else "value"), name


def test_ages_turn_yellow_only_after_export_and_scrape():
    for name, panel in PANELS.items():
        if any("time() -" in target["expr"] for target in panel["targets"]):
            limits = [step["value"] for step in all_steps(panel) if step["color"] in (YELLOW, RED)]
            # Limits up to 2 are those of ratios, in other columns of the same table.
            assert not [limit for limit in limits if 2 < limit <= EXPORT_AND_SCRAPE_SECONDS], name


def test_an_update_of_long_iterations_is_late_as_the_verdict_says():
    assert THRESHOLDS.no_update_factor == run.LATE_ITERATIONS
    assert AGE[1] == (run.LATE_SECONDS, YELLOW)
    (target,) = PANELS["raymon-overview: Since the last update"]["targets"]
    assert target["legendFormat"] == "{{run}}{{late}}"
    assert '"late", ", late"' in target["expr"]


def test_the_lowest_colour_is_never_red():
    for name, panel in PANELS.items():
        assert RED not in [step["color"] for step in all_steps(panel) if step["value"] is None], name


def test_counted_events_are_whole_numbers():
    for name, panel in PANELS.items():
        if "increase(" in panel["targets"][0]["expr"] and panel["type"] != "heatmap":
            assert defaults(panel)["decimals"] == 0, name
            assert "round(" in panel["targets"][0]["expr"], name


def test_a_bar_gauge_has_room_for_its_names():
    for name, panel in PANELS.items():
        if panel["type"] == "bargauge" and "{{worker}}" in panel["targets"][0]["legendFormat"]:
            assert panel["gridPos"]["w"] >= 8, name


def test_raw_values_of_rays_labels_are_renamed():
    for name, panel in PANELS.items():
        legends = {target["legendFormat"] for target in panel["targets"]}
        if legends & {"{{Location}}", "{{State}}", "{{Type}}"}:
            overrides = [each for override in panel["fieldConfig"]["overrides"] for each in override["properties"]]
            assert [each for each in overrides if each["id"] == "displayName"], name
        if panel["type"] == "table":
            (organize,) = [step["options"] for step in panel["transformations"] if step["id"] == "organize"]
            raw = {"NodeAddress", "alertname"} & set(organize["indexByName"])
            assert raw <= set(organize["renameByName"]), name


def test_a_state_timeline_says_what_is_missing_by_a_number():
    """Grafana ignores `noValue` there: a text for no data must be a state of the query."""
    for name, panel in PANELS.items():
        if panel["type"] == "state-timeline":
            assert "noValue" not in defaults(panel), name
    assert not [
        panel for board in DASHBOARDS for panel in board.panels() if panel.kind == "state-timeline" and panel.empty
    ]
    panel = PANELS["raymon-overview: Verdict over time"]
    (target,) = panel["targets"]
    assert f' or 0 * max by (run) ({catalog.RUN_INFO.name}{{run=~"$run"}})) and topk(3, ' in target["expr"]
    (mapped,) = defaults(panel)["mappings"]
    assert mapped["options"]["0"] == {"text": "no verdict: start raymon export", "color": NEUTRAL, "index": 0}
    assert [mapped["options"][str(number)]["text"] for number in range(1, 6)] == [text for text, _ in SEVERITIES]


def test_a_query_keeps_runs_apart_or_says_that_it_does_not():
    together = set()
    for name, query in queries.BOOK.items():
        for node, labels in aggregations(query.expression):
            if "run" not in labels and any(each.name.startswith(catalog.PREFIX) for each in selectors_of(node)):
                together.add(name)
    assert together == ALL_RUNS_TOGETHER
    for name, query in queries.BOOK.items():
        assert ("all selected runs together" in query.help) == (name in together), name


def test_a_column_of_a_counter_is_there_before_its_first_event():
    (table,) = [panel for panel in flat(BOARDS["raymon-overview"]) if panel["title"] == "Workers"]
    expressions = {target["expr"] for target in table["targets"]}
    zero = f' or 0 * max by (run, worker) ({catalog.HEARTBEAT.name}{{run=~"$run",worker!="{catalog.DRIVER}"}})'
    for metric in (catalog.WORKER_RESTARTS, catalog.ROLLOUT_FAILURES):
        (expression,) = [each for each in expressions if metric.name in each]
        assert expression.endswith(zero)
    assert queries.workers.ONE_RESTARTS.expression.endswith(zero.replace('"$run",', '"$run",worker=~"$worker",'))


def test_the_worker_table_shows_the_role_of_each():
    (table,) = [panel for panel in flat(BOARDS["raymon-overview"]) if panel["title"] == "Workers"]
    (organize,) = [step["options"] for step in table["transformations"] if step["id"] == "organize"]
    assert sorted(organize["indexByName"], key=organize["indexByName"].get)[:3] == ["run", "worker", "role"]
    (role,) = [target for target in table["targets"] if "worker, role" in target["expr"]]
    assert organize["excludeByName"][f"Value #{role['refId']}"]


def test_workers_of_different_roles_are_kept_apart():
    drawn = {name: PANELS[f"raymon-overview: {name}"] for name in NAMES_BY_ROLE}
    for name, panel in drawn.items():
        (target,) = panel["targets"]
        assert target["legendFormat"] == NAMES_BY_ROLE[name]
        assert f"label_join(topk by (run, worker) (1, max by (run, worker, role) ({ROLE}}}))" in target["expr"], name
        if name in ("What the workers are doing now", "Where the workers' time goes now"):
            assert labels_of(target["expr"]) == set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            colours = {
                part.strip("/"): value["fixedColor"] for part, key, value in properties_of(panel) if key == "color"
            }
            for series in ("generate", "rollout generate"):
                (colour,) = [colour for pattern, colour in colours.items() if re.search(pattern, series)]
                assert colour == COLOURS["generate"]
    for name, others in (("Slowest rollouts", f'{ROLE},role!="rollout"}}'), ("Fewest steps per second", f"{ROLE}}}")):
        (target,) = PANELS[f"raymon-overview: {name}"]["targets"]
        assert target["expr"].endswith(f" unless on (run, worker) max by (run, worker) ({others}))"), name


def test_a_quantile_is_named_p():
    for name, (_, target) in TARGETS.items():
        assert "q{{" not in target["legendFormat"], name
        assert "{{quantile}}" not in target["legendFormat"], name
    lengths = PANELS["raymon-language: Response length"]["targets"]
    assert [target["legendFormat"] for target in lengths] == ["{{run}} p50", "{{run}} p95", "{{run}} p99"]


def test_rollout_durations_are_of_the_same_workers():
    (panel,) = [panel for panel in flat(BOARDS["raymon-worker"]) if panel["title"] == "Rollout duration"]
    chosen = {target["expr"].partition(" and on (run, worker) ")[2] for target in panel["targets"]}
    assert len(panel["targets"]) == 3
    assert len(chosen) == 1, "each line chooses its own workers"
    (order,) = chosen
    assert re.match(r'topk\(3, max by \(run, worker\) .*quantile="0.95"', order)


def test_the_worker_board_leaves_drivers_out():
    for name, (_, target) in TARGETS.items():
        if name.startswith("raymon-worker: "):
            for selector in re.findall(r"(\w+)\{([^}]*)\}", target["expr"]):
                if selector[0] in PROCESS_FAMILIES:
                    assert f'worker!="{catalog.DRIVER}"' in selector[1], f"{name}: {selector[0]}"


def test_thresholds_are_those_of_the_limits():
    steps = {}
    for name, panel in PANELS.items():
        steps[name] = defaults(panel)["thresholds"]["steps"]
        for part, key, value in properties_of(panel):
            if key == "thresholds":
                steps[f"{name} / {part}"] = value["steps"]
    pairs = {
        name: [
            (step["value"], NEUTRAL if step["color"] == "transparent" else step["color"])
            for step in each  # the cells of a table have no colour instead of that of text
        ]
        for name, each in steps.items()
        if len(each) > 1
    }
    assert pairs == {name: [(pytest.approx(v) if v else v, c) for v, c in each] for name, each in STEPS.items()}


def test_the_ticks_of_a_duration_are_round():
    """Grafana chooses ticks that are round in the unit of the data: with the unit `s` 500 s would be 8.33 min."""
    durations = [panel for panel in PANELS.values() if panel["type"] == "timeseries" and "s" in defaults(panel)["unit"]]
    assert PLAIN_SECONDS in {defaults(panel)["unit"] for panel in durations}
    for name, panel in PANELS.items():
        if panel["type"] == "timeseries":
            assert defaults(panel)["unit"] not in ("s", "m", "ms", "dtdurations"), name


def test_titles_fit_a_narrow_screen():
    for name, panel in PANELS.items():
        pixels = panel["gridPos"]["w"] * (NARROW_SCREEN - 57) / 24 - 32
        assert 8 * len(panel["title"]) <= pixels, name


def test_panels_have_the_form_that_a_real_grafana_showed_well():
    runs = PANELS["raymon-overview: Runs"]
    (organize,) = [step["options"] for step in runs["transformations"] if step["id"] == "organize"]
    columns = sorted(organize["indexByName"], key=organize["indexByName"].get)
    assert organize["renameByName"][columns[1]] == "Running for"
    assert {part for part, key, _ in properties_of(runs) if key == "custom.width"} >= {"run", "Running for"}
    assert not defaults(runs)["custom"]["filterable"]
    assert PANELS["raymon-overview: Rollout durations of all workers"]["gridPos"]["h"] >= 13
    assert defaults(PANELS["raymon-learner: Learning rate"])["decimals"] == 2
    gauges = {panel["title"] for panel in PANELS.values() if panel["type"] == "gauge"}
    assert gauges == {"Object store used"}, "a gauge is for a share of something; a count is a stat or a column"


def test_empty_cells_of_label_columns_are_empty():
    for name, panel in PANELS.items():
        if panel["type"] == "table" and defaults(panel)["noValue"]:
            texts = [override["properties"] for override in panel["fieldConfig"]["overrides"]]
            assert any({"id": "noValue", "value": ""} in properties for properties in texts), name


@pytest.mark.parametrize("name", BOARDS)
def test_annotations_are_as_narrow_as_a_scrape(name):
    for annotation in BOARDS[name]["annotations"]["list"]:
        if not annotation.get("builtIn"):
            assert annotation["step"] == "5s"
            assert not re.search(r"\[\d", annotation["expr"]), "a fixed window widens the mark"
            texts = set(re.findall(r"\{\{(\w+)\}\}", annotation["textFormat"]))
            tags = set(annotation["tagKeys"].split(","))
            series = {"run", "worker", "reason"} if annotation["name"] == "Worker lost" else {"run"}
            assert texts == tags == labels_of(annotation["expr"]) == series
            if annotation["name"] == "Worker lost":
                assert f'{catalog.WORKER_TROUBLE.name}{{run=~"$run",state="given_up"}}' in annotation["expr"]


def test_activities_are_one_row_per_worker_with_named_states():
    (timeline,) = [panel for panel in flat(BOARDS["raymon-worker"]) if panel["type"] == "state-timeline"]
    (target,) = timeline["targets"]
    assert labels_of(target["expr"]) == {"run", "worker"}
    (mapped,) = defaults(timeline)["mappings"]
    texts = [(mapped["options"][str(number)]["text"]) for number in range(1, len(catalog.ACTIVITIES) + 1)]
    assert texts == list(catalog.ACTIVITIES)
    for number, activity in enumerate(catalog.ACTIVITIES, 1):
        assert (
            f'{number} * {catalog.ACTIVITY.name}{{run=~"$run",worker=~"$worker",activity="{activity}"}}'
            in (target["expr"])
        )


def test_every_state_of_a_run_has_a_text_and_live_states_win():
    states = [state for state, _ in RUN_STATES]
    assert set(catalog.RUN_STATES) <= set(states)
    assert states[-1] == "training"
    assert dict(RUN_STATES)["training"] == GREEN


def test_colours_are_legible_on_white():
    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    themed = {GREEN, RED, NEUTRAL, "transparent"}  # Grafana chooses these to suit the theme
    colours = set(COLOURS.values()) | {YELLOW, BLUE} | {colour for _, colour in (*RUN_STATES, *SEVERITIES)}
    colours |= {step["color"] for panel in PANELS.values() for step in all_steps(panel)}
    for colour in colours - themed:
        assert 1.05 / (luminance(colour) + 0.05) > 2, colour


def test_the_first_screen_answers_the_five_questions():
    first = [
        panel["title"]
        for panel in BOARDS["raymon-overview"]["panels"]
        if panel["gridPos"]["y"] + panel["gridPos"]["h"] <= FIRST_SCREEN_UNITS
    ]
    alive = {"State", "Workers now", "Since the last update", "Steps per second"}
    wrong, learning, time, slow = (
        "What is wrong now",
        "Mean return",
        "Where the driver's time goes",
        "Slower than the others",
    )
    assert alive | {wrong, learning, time, slow} <= set(first)


def test_problems_are_firing_alerts_and_workers_in_trouble():
    (panel,) = [panel for panel in flat(BOARDS["raymon-overview"]) if panel["title"] == "What is wrong now"]
    assert panel["type"] == "table"
    assert panel["gridPos"]["w"] >= 8
    (target,) = panel["targets"]
    assert 'ALERTS{alertstate="firing",alertname=~"Raymon.*"' in target["expr"]
    assert catalog.WORKER_TROUBLE.name in target["expr"]
    assert defaults(panel)["noValue"] == "no alert is firing"
    assert '"alertname", "rules not loaded"' in target["expr"], "no alert fires either where no rule is evaluated"
    assert all(f'{rule}{{run=~"$run"}}' in target["expr"] for rule in recorded_rules.RATES)
    assert set(recorded_rules.RATES) <= {rule["record"] for rule in RECORDING_RULES}


def test_the_worker_table_shows_the_slowest_first_in_colour():
    (table,) = [
        panel
        for panel in flat(BOARDS["raymon-overview"])
        if panel["title"] == "Workers" and "sortBy" in panel["options"]
    ]
    assert table["options"]["sortBy"] == [{"displayName": "Slowness", "desc": True}]
    coloured = {
        override["matcher"]["options"]
        for override in table["fieldConfig"]["overrides"]
        if {"id": "custom.displayMode", "value": "color-background"} in override["properties"]
    }
    assert {"Slowness", "Heartbeat"} <= coloured

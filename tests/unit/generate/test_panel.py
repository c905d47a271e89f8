"""Panels as Grafana draws them: nothing misleading, nothing unreadable. Each rule was broken once in a real Grafana."""

import json
import re

import pytest
from promql import walk
from promql_parser import AggregateExpr, parse
from support import ROOT

from generate.colours import COLOURS, EXPORT_AND_SCRAPE_SECONDS, GREEN, NO_VALUE, RED, RUN_STATES, YELLOW
from generate.panel import INSTANT
from raymon import catalog

BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "dashboards").glob("*.json"))}
SUMMARIES = ("sum", "max", "count", "quantile")
"""Aggregations that drop labels; topk and bottomk keep them."""
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


def labels_of(expression):
    """Return the labels that the first outermost aggregation keeps."""
    tree = parse(expression.replace("$__rate_interval", "7m").replace("$__range", "9m").replace("$", "_"))
    aggregation = next(node for node, _ in walk(tree) if isinstance(node, AggregateExpr) and str(node.op) in SUMMARIES)
    return set(aggregation.modifier.labels) if aggregation.modifier else set()


def test_an_empty_panel_has_a_neutral_colour():
    for name, panel in PANELS.items():
        if panel["type"] in ("stat", "gauge", "bargauge"):
            assert NO_VALUE in defaults(panel)["mappings"], name
            assert defaults(panel)["noValue"], name


def test_bars_and_quantities_begin_at_zero():
    for name, panel in PANELS.items():
        quantity = defaults(panel)["unit"] in ("s", "bytes", "binBps") or "per second" in panel["title"]
        if panel["type"] == "bargauge" or (panel["type"] == "timeseries" and quantity):
            assert defaults(panel)["min"] == 0, name


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
            assert {"run", "worker"} & labels_of(annotation["expr"])


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

    for name, colour in COLOURS.items():
        assert 1.05 / (luminance(colour) + 0.05) > 2, name


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
    assert {"Slowness", "Last progress", "Heartbeat"} <= coloured

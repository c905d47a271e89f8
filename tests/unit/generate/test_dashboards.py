"""The dashboards: current, valid by the rules of dashboard-linter and of Grafana 9.4 to 13, every link alive."""

import json
import re
import subprocess
import sys
import warnings

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from support import ROOT

from generate.dashboard import RAY_DASHBOARD
from generate.dashboards import DASHBOARDS

with warnings.catch_warnings():
    # It recommends the second version of the schema, which Grafana 9 to 11 do not read.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.models import dashboard as sdk

# Without these it knows nothing of what is inside a panel's options, its custom fields and its targets.
plugins.register_default_plugins()

FILES = sorted((ROOT / "dashboards").glob("*.json"))
NAMES = [path.stem for path in FILES]
KINDS = {
    "stat",
    "timeseries",
    "table",
    "heatmap",
    "state-timeline",
    "status-history",
    "bargauge",
    "gauge",
    "text",
    "row",
}
UNITS = {"none", "short", "percentunit", "percent", "s", "suffix:s", "bytes", "binBps", "sci"}
"""Not `cps`, which Grafana shows as c/s, and not `Bps`, which is decimal beside binary bytes."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
UID = re.compile(r"[A-Za-z0-9_-]{1,40}")


def model(name):
    return json.loads((ROOT / "dashboards" / f"{name}.json").read_text())


def panels_of(board, rows=False):
    """Yield every panel, those inside collapsed rows too."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            if rows:
                yield panel
            yield from panel["panels"]
        else:
            yield panel


def test_generated_files_are_current(tmp_path):
    checked = subprocess.run(
        [sys.executable, "-m", "generate", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert [board.uid for board in sorted(DASHBOARDS, key=lambda board: board.uid)] == NAMES


def test_a_stale_file_is_named_and_rewritten(tmp_path):
    command = [sys.executable, "-m", "generate", "--root", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    changed = tmp_path / "dashboards" / "raymon-overview.json"
    changed.write_text(changed.read_text().replace("Is it alive?", "Is it dead?"))
    check = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert check.returncode == 1
    assert "dashboards/raymon-overview.json" in check.stderr
    assert "python -m generate" in check.stderr
    subprocess.run(command, check=True, capture_output=True)
    assert changed.read_text() == (ROOT / "dashboards" / "raymon-overview.json").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_has_what_grafana_requires(name):
    board = model(name)
    assert board["uid"] == name
    assert UID.fullmatch(board["uid"])
    assert board["id"] is None
    assert board["title"]
    assert board["schemaVersion"] == 37
    assert board["editable"] is False
    assert board["refresh"] in ("5s", "10s", "30s", "1m")
    assert "__inputs" not in board
    numbers = [panel["id"] for panel in panels_of(board, rows=True)]
    assert len(numbers) == len(set(numbers))


@pytest.mark.filterwarnings("ignore:Prefer using dashboardv2:DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_grafanas_sdk_knows_every_key(name):
    board = model(name)
    read = sdk.Dashboard.from_json(board)
    written = json.loads(JSONEncoder(sort_keys=True).encode(read))
    lost = missing_keys(board, written)
    # Grafana 9.4's word for what is called `mode` since 10.
    assert lost <= {"panels.options.tooltip.show"}


@pytest.mark.filterwarnings("ignore:Prefer using dashboardv2:DeprecationWarning")
def test_grafanas_sdk_reveals_a_misspelt_key():
    board = model("raymon-overview")
    graph = next(panel for panel in panels_of(board) if panel["type"] == "timeseries")
    graph["options"]["legend"]["showLegends"] = True
    graph["targets"][0]["legendFormt"] = "x"
    graph["fieldConfig"]["defaults"]["custom"]["fillOpacit"] = 1
    board["descripton"] = "x"
    check = missing_keys(board, json.loads(JSONEncoder(sort_keys=True).encode(sdk.Dashboard.from_json(board))))
    assert {key.rpartition(".")[2] for key in check} >= {"showLegends", "legendFormt", "fillOpacit", "descripton"}


def missing_keys(given, read, path=""):
    if isinstance(given, dict) and isinstance(read, dict):
        lost = {f"{path}{key}" for key in given if key not in read and given[key] is not None}
        return lost.union(
            *(missing_keys(given[key], read[key], f"{path}{key}.") for key in given if key in read), set()
        )
    if isinstance(given, list) and isinstance(read, list):
        return set().union(*(missing_keys(left, right, path) for left, right in zip(given, read, strict=True)), set())
    return set()


@pytest.mark.parametrize("name", NAMES)
def test_panels_do_not_overlap_and_stay_within_24_columns(name):
    board = model(name)
    for placed in (board["panels"], *(row["panels"] for row in board["panels"] if row["type"] == "row")):
        taken = set()
        for panel in placed:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            taken |= cells


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_is_described(name):
    board = model(name)
    titles = [panel["title"] for panel in panels_of(board)]
    assert len(titles) == len(set(titles)), "two panels with one title"
    for panel in panels_of(board):
        assert panel["type"] in KINDS - {"row"}
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        for override in panel["fieldConfig"]["overrides"]:
            units = {each["value"] for each in override["properties"] if each["id"] == "unit"}
            assert units <= UNITS | {"string"}, f"{panel['title']}: {override['matcher']['options']}"
        assert panel["options"], "newer Grafana fails on empty options"
        assert panel["targets"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert panel["datasource"] == SOURCE
        assert all(target["datasource"] == SOURCE for target in panel["targets"])


@pytest.mark.parametrize("name", NAMES)
def test_legends_and_tables_work_in_every_grafana(name):
    for panel in panels_of(model(name)):
        legend = panel["options"].get("legend", {})
        if panel["type"] in ("timeseries", "state-timeline"):
            assert "showLegend" in legend
        if panel["type"] == "table":
            assert all(target["format"] == "table" and target["instant"] for target in panel["targets"])
        if panel["type"] == "heatmap":
            assert all(target["format"] == "heatmap" for target in panel["targets"])


@pytest.mark.parametrize("name", NAMES)
def test_variables_have_labels_and_are_used(name):
    board = model(name)
    variables = board["templating"]["list"]
    names = [variable["name"] for variable in variables]
    assert names[0] == "datasource"
    first = variables[0]
    assert (first["label"], first["query"]) == ("Data source", "prometheus")
    assert first["current"]["value"] == "default"
    for variable in variables[1:]:
        assert variable["refresh"] == 2
        # Grafana puts allValue into queries as it stands: where another variable filters, it would undo that.
        filters = re.search(r"\$\w+", variable["query"]["query"].partition("(")[2])
        assert variable["allValue"] == (".+" if variable["name"] == "worker" or not filters else None)
        assert variable["label"]
        assert variable["datasource"] == SOURCE
        assert variable["query"]["query"].startswith("label_values(")
    used = set(re.findall(r"\$(?!__)(\w+)", json.dumps([board["panels"], board["annotations"]])))
    used |= {check for variable in variables for check in re.findall(r"\$(\w+)", json.dumps(variable.get("query", "")))}
    assert used <= set(names)
    assert set(names) - {"datasource"} <= used | {"run"}, "a variable that chooses nothing"


@pytest.mark.parametrize("name", NAMES)
def test_the_run_variable_depends_on_the_engine(name):
    variables = {variable["name"]: variable for variable in model(name)["templating"]["list"]}
    if "engine" in variables:
        assert 'engine=~"$engine"' in variables["run"]["query"]["query"]


def test_labels_in_tables_are_text_and_encoded_in_links():
    tables = [panel for name in NAMES for panel in panels_of(model(name)) if panel["type"] == "table"]
    assert tables
    for panel in tables:
        text = {
            override["matcher"]["options"]
            for override in panel["fieldConfig"]["overrides"]
            if {"id": "unit", "value": "string"} in override["properties"]
        }
        linked = re.findall(r"__data\.fields\.(\w+)(:percentencode)?}", json.dumps(panel["fieldConfig"]))
        assert {name for name, _ in linked} <= text
        assert all(encoded for name, encoded in linked if name == "run")


def test_every_link_leads_to_a_known_dashboard():
    known = {RAY_DASHBOARD: {}} | {
        name: {variable["name"] for variable in model(name)["templating"]["list"]} for name in NAMES
    }
    followed = set()
    for name in NAMES:
        for url in re.findall(r'"url": "(/d/[^"]*)"', (ROOT / "dashboards" / f"{name}.json").read_text()):
            uid, _, query = url.removeprefix("/d/").partition("?")
            assert uid in known
            followed.add(uid)
            assert set(re.findall(r"var-(\w+)=", query)) <= set(known[uid])
    assert {"raymon-worker", "raymon-learner", RAY_DASHBOARD} <= followed


def test_a_row_of_the_worker_table_opens_that_worker():
    table = next(panel for panel in panels_of(model("raymon-overview")) if panel["title"] == "Workers")
    links = [
        prop["value"][0]["url"]
        for override in table["fieldConfig"]["overrides"]
        for prop in override["properties"]
        if prop["id"] == "links" and override["matcher"]["options"] == "worker"
    ]
    (link,) = links
    assert link.startswith("/d/raymon-worker?${datasource:queryparam}&var-run=${__data.fields.run:percentencode}&")
    assert link.endswith("&var-worker=${__data.fields.worker}&${__url_time_range}")


@pytest.mark.parametrize("name", NAMES)
def test_starts_and_losses_are_annotated(name):
    annotations = {check["name"]: check for check in model(name)["annotations"]["list"] if not check.get("builtIn")}
    assert set(annotations) == {"Training began", "Worker lost"}
    assert annotations["Training began"]["useValueForTime"] == "on"


def test_the_overview_has_its_rows_in_order():
    rows = [panel["title"] for panel in panels_of(model("raymon-overview"), rows=True) if panel["type"] == "row"]
    assert rows == [
        "At a glance",
        "Is it alive?",
        "Is it learning?",
        "Where does the time go?",
        "Which worker?",
        "What does it wait for?",
        "What does it use?",
    ]

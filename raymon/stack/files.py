"""The packaged dashboards, rules and configurations.

In a wheel they are in `raymon/share/`, in a checkout or an editable install in the folders at the repository's top.
"""

import json
from pathlib import Path
from typing import Any, Final

import yaml

from raymon.errors import UserError
from raymon.queries import large_fleet

PACKAGE = Path(__file__).resolve().parent.parent
TAG: Final = "raymon"
"""The tag that every packaged dashboard carries."""
LARGE_FLEET_RULES: Final = "prometheus/large-fleet-rules.yml"
_RECORDED: Final = (
    "For large fleets: graphs read recorded series, and the table of workers lists the worst of each run."
)


class FilesError(UserError):
    """A packaged file is missing or cannot be read."""

    exit_code = 1


def share(name: str) -> Path:
    """Return the packaged file or folder of that name.

    Raises:
        FilesError: When neither the wheel's place nor the checkout's holds it.
    """
    places = (PACKAGE / "share" / name, PACKAGE.parent / name)
    for place in places:
        if place.exists():
            return place
    raise FilesError(
        f"{name} not found at {places[0]} or {places[1]}: the installation is incomplete; install raymon-rl again"
    )


def dashboards(for_large_fleet: bool = False) -> dict[str, dict[str, Any]]:
    """Return the packaged dashboards as file name -> model, in the order of their names.

    Args:
        for_large_fleet: Let their queries read what `LARGE_FLEET_RULES` records instead of every worker's series.
    """
    models = {}
    for path in sorted(share("dashboards").glob("*.json")):
        model = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(model, dict) or not model.get("uid"):
            raise FilesError(f"{path} is not a dashboard with a uid; install raymon-rl again")
        models[path.name] = _with_recorded(model) if for_large_fleet else model
    if not models:
        raise FilesError(f"no dashboard in {share('dashboards')}: install raymon-rl again")
    return models


def _with_recorded(model: dict[str, Any]) -> dict[str, Any]:
    """Return a dashboard with recorded series in its queries; as it is if there are none for them."""
    changed = _recorded_queries(model)
    return model if changed == model else {**changed, "description": f"{model['description']} {_RECORDED}"}


def _recorded_queries(part: Any) -> Any:  # noqa: ANN401  # JSON
    if isinstance(part, list):
        return [_recorded_queries(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: large_fleet.recorded(value) if key == "expr" else _recorded_queries(value) for key, value in part.items()
    }


def datasource() -> dict[str, Any]:
    """Return the packaged datasource: its uid, name, type and options; the caller replaces its `url`."""
    path = share("dashboards") / "provisioning" / "datasources" / "raymon.yaml"
    entry: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["datasources"][0]
    return {key: value for key, value in entry.items() if key != "editable"}  # a key of provisioning, not of the API


def scrape_config() -> dict[str, Any]:
    """Return the packaged configuration of Prometheus for the Ray of this machine."""
    configuration: dict[str, Any] = yaml.safe_load((share("prometheus") / "prometheus.yml").read_text(encoding="utf-8"))
    return configuration


def rule_files() -> tuple[Path, ...]:
    """Return the packaged files of Prometheus rules, those whose top level is `groups`, without `LARGE_FLEET_RULES`."""
    paths = []
    for path in sorted(share("prometheus").rglob("*.yml")):
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        rules = len(documents) == 1 and isinstance(documents[0], dict) and set(documents[0]) == {"groups"}
        if rules and path.name != Path(LARGE_FLEET_RULES).name:
            paths.append(path)
    return tuple(paths)


def rule_groups() -> dict[str, tuple[str, ...]]:
    """Return the packaged groups of rules as group name -> names of its alerts and recorded series."""
    groups: dict[str, tuple[str, ...]] = {}
    for path in rule_files():
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            groups[group["name"]] = tuple(rule.get("alert") or rule["record"] for rule in group["rules"])
    return groups

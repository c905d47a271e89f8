"""Push raymon's dashboards, and on request its datasource, to a Grafana; write only what differs, keep edits."""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from raymon.stack import compare, files
from raymon.stack.grafana import Grafana, GrafanaError

Action = Literal["create", "update", "unchanged", "refuse"]
_ADMINISTRATOR_KEYS = ("isDefault", "basicAuth", "basicAuthUser", "withCredentials")
"""Keys of a datasource that raymon leaves unchanged."""


@dataclass(frozen=True, slots=True)
class Target:
    """The destination of a push.

    Attributes:
        folder_uid: Folder of the dashboards; created if it does not exist.
        folder_title: Its title then.
        prometheus_url: Prometheus as Grafana reaches it; empty leaves the datasources alone.
        force: Overwrite dashboards and a datasource of raymon's uids that are another team's or were edited.
    """

    folder_uid: str = "raymon"
    folder_title: str = "raymon"
    prometheus_url: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One change to make, or not to make.

    Attributes:
        kind: folder, datasource or dashboard.
        name: Its uid.
        action: What to do; `refuse` when it is not raymon's to change.
        reason: Why, for a refusal; else what the server has.
        there: What the server has, as plain data.
        wanted: What it should have.
        message: Message of the version, for a dashboard.
    """

    kind: Literal["folder", "datasource", "dashboard"]
    name: str
    action: Action
    reason: str = ""
    there: dict[str, Any] = field(default_factory=dict)
    wanted: dict[str, Any] = field(default_factory=dict)
    message: str = ""

    def diff(self) -> Iterator[str]:
        """Yield the difference as unified diff lines."""
        there, wanted = _text(self.there), _text(self.wanted)
        yield from difflib.unified_diff(there, wanted, f"{self.name} (server)", f"{self.name} (raymon)", lineterm="")

    def preview(self) -> Iterator[str]:
        """Yield what would change, one line for each: of a new dashboard its title and size, else the difference."""
        if self.action == "create" and self.kind == "dashboard":
            shown = sum(panel.get("type") != "row" for panel in compare.panels(self.wanted))
            yield f"{self.wanted['title']!r}, {shown} panels"
        elif self.action != "unchanged":
            yield from self.diff()


def _text(model: dict[str, Any]) -> list[str]:
    return json.dumps(model, indent=1, sort_keys=True).splitlines() if model else []


def plan(
    grafana: Grafana, models: Mapping[str, dict[str, Any]], datasource: Mapping[str, Any], target: Target
) -> list[Step]:
    """Compare with what the server has and return the steps; changes nothing.

    Raises:
        GrafanaError: The server cannot be reached, or refuses the login.
    """
    if (database := grafana.health()["database"]) != "ok":
        raise GrafanaError(f"{grafana.url} says its database is {database!r}: look at its log; nothing was pushed")
    steps = [_folder(grafana, target)]
    if target.prometheus_url:
        steps.append(_datasource(grafana, {**datasource, "url": target.prometheus_url}, target.force))
    steps += [_dashboard(grafana, model, target) for model in models.values()]
    return steps


def _folder(grafana: Grafana, target: Target) -> Step:
    wanted = {"uid": target.folder_uid, "title": target.folder_title}
    folder = grafana.folder(target.folder_uid)
    if folder is None:
        return Step("folder", target.folder_uid, "create", wanted=wanted)
    return Step("folder", target.folder_uid, "unchanged", f"titled {folder.get('title')!r}")


def _datasource(grafana: Grafana, wanted: dict[str, Any], force: bool) -> Step:
    uid = wanted["uid"]
    datasource = grafana.datasource(uid)
    if datasource is None:
        return Step("datasource", uid, "create", wanted=wanted)
    # a PUT without these would set them back
    wanted = {**wanted, **{key: datasource[key] for key in _ADMINISTRATOR_KEYS if key in datasource}}
    there = {key: datasource.get(key) for key in wanted}
    if isinstance(datasource.get("jsonData"), dict):  # other keys in it are the administrator's
        wanted = {**wanted, "jsonData": {**datasource["jsonData"], **wanted["jsonData"]}}
        there["jsonData"] = datasource["jsonData"]
    if there == wanted:
        return Step("datasource", uid, "unchanged")
    if datasource.get("readOnly"):
        return Step("datasource", uid, "refuse", "it comes from a file on the server; change it there", there, wanted)
    if datasource.get("type") != wanted["type"] and not force:
        reason = f"a datasource of type {datasource.get('type')!r} has this uid; --force replaces it"
        return Step("datasource", uid, "refuse", reason, there, wanted)
    return Step("datasource", uid, "update", there=there, wanted=wanted)


def _dashboard(grafana: Grafana, model: dict[str, Any], target: Target) -> Step:
    uid = model["uid"]
    wanted = compare.plain(model)
    message = compare.message(model)
    reply = grafana.dashboard(uid)
    if reply is None:
        return Step("dashboard", uid, "create", wanted=wanted, message=message)
    there, meta = compare.plain(reply["dashboard"]), reply.get("meta", {})
    moved = meta.get("folderUid", target.folder_uid) != target.folder_uid
    if compare.is_current(grafana, model, reply) and not moved:
        return Step("dashboard", uid, "unchanged")
    if reason := _refusal(grafana, uid, reply, target, moved):
        return Step("dashboard", uid, "refuse", reason, there, wanted)
    # the server refuses to save it if the dashboard was changed since it was read
    wanted = {**wanted, "version": reply["dashboard"].get("version", 0)}
    return Step("dashboard", uid, "update", there=there, wanted=wanted, message=message)


def _refusal(grafana: Grafana, uid: str, reply: dict[str, Any], target: Target, moved: bool) -> str:
    """Return why a dashboard must not be overwritten, empty when it may be."""
    meta, there = reply.get("meta", {}), reply["dashboard"]
    if meta.get("provisioned"):
        file = meta.get("provisionedExternalId") or "a file"
        return f"it is provisioned on the server from {file}: change it there; the API cannot"
    if target.force:
        return ""
    if files.TAG not in (there.get("tags") or []):
        return f"another team's dashboard {there.get('title')!r} has this uid; --force overwrites it"
    if moved:
        where = meta.get("folderTitle") or meta.get("folderUid") or "another folder"
        return f"it is in folder {where!r}; push there with --folder-uid, or --force moves it"
    latest = grafana.latest_message(uid)
    if latest is not None and not compare.pushed_by_raymon(latest):
        return f"{meta.get('updatedBy') or 'somebody'} edited it since it was pushed; --force overwrites the edit"
    return ""


def carry_out(grafana: Grafana, steps: list[Step], target: Target) -> Iterator[tuple[Step, str]]:
    """Carry out the steps; yield each with an empty string, or with the sentence why it failed."""
    for step in steps:
        try:
            _apply(grafana, step, target)
        except GrafanaError as error:
            yield step, str(error)
            if step.kind == "folder":  # without the folder every dashboard would fail in the same way
                return
        else:
            yield step, ""


def _apply(grafana: Grafana, step: Step, target: Target) -> None:
    if step.action not in ("create", "update"):
        return
    if step.kind == "folder":
        grafana.create_folder(step.wanted["title"], step.wanted["uid"])
    elif step.kind == "datasource":
        (grafana.create_datasource if step.action == "create" else grafana.update_datasource)(step.wanted)
    else:
        grafana.save_dashboard({"id": None, **step.wanted}, target.folder_uid, step.message, overwrite=target.force)

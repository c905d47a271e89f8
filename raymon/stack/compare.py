"""Compare the dashboard in Grafana with the packaged one."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from raymon import __version__
from raymon.stack.grafana import Grafana

_SERVER_KEYS = ("id", "version", "iteration")


def plain(model: dict[str, Any]) -> dict[str, Any]:
    """Return a model without the keys that the server adds."""
    return {key: value for key, value in model.items() if key not in _SERVER_KEYS}


def digest(model: dict[str, Any]) -> str:
    """Return a short digest of a model."""
    return hashlib.sha256(json.dumps(plain(model), sort_keys=True).encode()).hexdigest()[:12]


def message(model: dict[str, Any]) -> str:
    """Return the version message with which raymon saves a model."""
    return f"raymon {__version__} {digest(model)}"


def pushed_by_raymon(text: str) -> bool:
    """Return whether a version message is one of raymon's."""
    parts = text.split()
    return len(parts) == 3 and parts[0] == "raymon"


def panels(model: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the panels of a model, those of folded rows among them."""
    for panel in model.get("panels") or []:
        yield panel
        yield from panels(panel)


def _shape(model: dict[str, Any]) -> tuple[object, ...]:
    return (
        model.get("title"),
        sorted(
            (panel.get("title", ""), tuple(sorted(target.get("expr", "") for target in panel.get("targets") or [])))
            for panel in panels(model)
        ),
    )


def is_current(grafana: Grafana, model: dict[str, Any], reply: dict[str, Any]) -> bool:
    """Return whether the dashboard under the model's uid is the model.

    Newer servers hand a model back migrated to their own schema version; then the digest in the message of its latest
    version decides, or, for a provisioned one that has no message, its titles and queries.
    """
    there = reply["dashboard"]
    if plain(there) == plain(model):
        return True
    if there.get("schemaVersion") == model.get("schemaVersion"):
        return False
    if reply.get("meta", {}).get("provisioned"):
        return _shape(there) == _shape(model)
    return (grafana.latest_message(model["uid"]) or "").endswith(f" {digest(model)}")

"""The shape of an incident's data: what is read from a file is brought into it before anything uses it.

`incident.json` may be damaged or come from another user. A part of another shape than raymon writes is left out, so
that report, page and terminal need not check it again; keys that are not listed here are kept as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

LARGEST: Final = 1e300
Shape = Any
"""A type, a list of one shape, `Each` of one, or a dictionary of shapes by key."""


@dataclass(frozen=True, slots=True)
class Each:
    """A dictionary with any keys, whose values all have one shape."""

    shape: Shape


_TEXTS: Final = [str]
SHAPE: Final[Mapping[str, Shape]] = {
    "severity": str,
    "advice": str,
    "findings": [{"sentence": str}],
    "followed_by": [{"at": float, "code": str, "worker": str, "sentence": str}],
    "view": {
        "workers": [
            {
                "worker": str,
                "activity": str,
                "steps_per_second": float,
                "progress_age_seconds": float,
                "heartbeat_age_seconds": float,
                "rss_bytes": float,
                "node": str,
                "pid": int,
            }
        ],
        "nodes": [
            {
                "address": str,
                "silent_seconds": float,
                "cpu_ratio": float,
                "memory_used_bytes": float,
                "memory_total_bytes": float,
                "disk_used_bytes": float,
                "disk_free_bytes": float,
            }
        ],
    },
    "stacks": {
        "sentence": str,
        "note": str,
        "groups": [{"processes": _TEXTS, "frames": _TEXTS}],
        "unreadable": _TEXTS,
        "elsewhere": _TEXTS,
    },
    "cluster": {
        "note": str,
        "actors": [{"class": str, "pid": int, "node": str, "state": str, "restarts": int, "cause": str}],
        "ended_workers": [{"kind": str, "pid": int, "node": str, "exit": str, "ended_at": float}],
        "nodes": [{"address": str, "alive": bool, "cause": str}],
    },
    "deaths": [
        {
            "kind": str,
            "worker": str,
            "at": float,
            "pid": int,
            "node": str,
            "exception": str,
            "message": str,
            "exit_code": int,
            "signal": str,
            "frames": _TEXTS,
            "sentence": str,
        }
    ],
    "series": {"values": Each([float])},
    "logs": Each(str),
    "machine": {},
    "versions": {},
}
_EMPTY: Final[Mapping[Any, Any]] = {str: "", int: 0, bool: False, float: None}
"""The value that replaces one that is missing within an entry of a list."""


def shaped(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of an incident with every part that has another shape left out."""
    return _fields(data, SHAPE)


def _fields(data: Mapping[str, Any], shapes: Mapping[str, Shape]) -> dict[str, Any]:
    fields = {name: value for name, value in data.items() if name not in shapes}
    for name, shape in shapes.items():
        if name in data and (value := _value(data[name], shape)) is not None:
            fields[name] = value
    return fields


def _value(value: Any, shape: Shape) -> Any:  # noqa: ANN401  # any JSON
    """Return a value in its shape; None if it has another one."""
    if shape is float:
        return value if _is_number(value) else None
    if isinstance(shape, type):
        return value if type(value) is shape else None
    if isinstance(shape, list):
        return _list(value, shape[0]) if isinstance(value, list) else None
    if not isinstance(value, dict):
        return None
    if isinstance(shape, Each):
        shapes = dict.fromkeys(value, shape.shape)
        return _fields(value, shapes)
    return _fields(value, shape)


def _list(items: list[Any], shape: Shape) -> list[Any]:
    if shape is float:  # gaps in a series are kept
        return [_value(item, float) for item in items]
    kept = [_value(item, shape) for item in items]
    if isinstance(shape, dict):
        return [_complete(item, shape) for item in kept if item is not None]
    return [item for item in kept if item is not None]


def _complete(entry: dict[str, Any], shapes: Mapping[str, Shape]) -> dict[str, Any]:
    missing = {name: [] if isinstance(shape, list) else _EMPTY[shape] for name, shape in shapes.items()}
    return {**missing, **entry}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST  # NaN is neither

"""Options as plain data, and files of options in YAML or TOML."""

import dataclasses
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from raymon.train.options import Config, ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MAX_FILE_BYTES: Final = 1 << 18
_MAX_DEPTH: Final = 16
_OPENING: Final = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING: Final = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


def as_plain(config: Config) -> dict[str, Any]:
    """Return the configuration as data that JSON, YAML and TOML can hold."""
    plain = dataclasses.asdict(config)
    for key, value in plain.items():
        if isinstance(value, Path):
            plain[key] = str(value)
        elif isinstance(value, tuple):
            plain[key] = list(value)
    return plain


def from_plain(plain: dict[str, Any], source: str) -> Config:
    """Build a configuration from data; raises `ConfigError` naming `source` and the unknown or wrong key."""
    types_of = typing.get_type_hints(Config)
    if unknown := sorted(str(key) for key in plain if key not in types_of):
        raise ConfigError(f"{source}: unknown option {', '.join(unknown)}; `raymon train --help` lists them all")
    for key, value in plain.items():
        if not _fits(value, types_of[key]):
            shown = repr(value)
            example = getattr(Config, key)
            raise ConfigError(f"{source}: {key} is {shown[:100]}, expected {_described(types_of[key])}, as {example!r}")
    return Config(**plain)


def _fits(value: object, expected: Any) -> bool:  # noqa: ANN401  # a type, or what typing offers in place of one
    origin, parts = typing.get_origin(expected), typing.get_args(expected)
    if origin is types.UnionType:
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(item, parts[0]) for item in value)
    if expected in (str, Path):
        return isinstance(value, str) and "\0" not in value
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is expected


def _described(expected: Any) -> str:  # noqa: ANN401  # a type, or what typing offers in place of one
    parts = typing.get_args(expected)
    if typing.get_origin(expected) is Literal:
        return f"one of {', '.join(parts)}"
    if typing.get_origin(expected) is types.UnionType:
        return " or ".join(_described(part) for part in parts)
    if typing.get_origin(expected) is tuple:
        return f"a list of {_described(parts[0])} items"
    return {int: "a whole number", float: "a number", bool: "true or false", types.NoneType: "nothing"}.get(
        expected, "a text"
    )


def load(path: Path) -> Config:
    """Read a configuration from a `.yaml`, `.yml` or `.toml` file; raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than {_MAX_FILE_BYTES} bytes, expected options, one a line")
        text = content.decode()
        data = tomllib.loads(text) if path.suffix == ".toml" else _parse_yaml(text)
    except (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as a configuration: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds {type(data).__name__}, expected options, one `name: value` a line")
    return from_plain(data, str(path))


def _parse_yaml(text: str) -> object:
    """Parse YAML without aliases, which can multiply a few bytes to gigabytes, and without deep nesting.

    PyYAML looks through every open bracket at each token: thousands of them take it seconds.
    """
    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            raise yaml.YAMLError("it holds an alias (*name), which no option needs")
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > _MAX_DEPTH:
            raise yaml.YAMLError(f"it holds brackets more than {_MAX_DEPTH} deep, which no option needs")
    return yaml.safe_load(text)


def save(config: Config, path: Path) -> None:
    """Write the configuration as YAML, or as TOML if the file's name ends in `.toml`; raises `OSError`."""
    plain = as_plain(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".toml":
        lines = [f"{key} = {_toml(value)}" for key, value in plain.items() if value is not None]
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text(yaml.safe_dump(plain, sort_keys=False))


def _toml(value: Any) -> str:  # noqa: ANN401  # whatever a field holds
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)

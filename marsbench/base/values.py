"""Plain values, such as those of a command line, into the fields of dataclasses."""

import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Any

from marsbench.base.errors import ConfigError, unknown_name

LATER: dict[str, tuple[str, ...]] = {"mode": ("zero_shot",)}
"""Values of the design that this version does not have, by key."""


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nest dotted keys: ``{"optim.lr": 1}`` is ``{"optim": {"lr": 1}}``."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        group, _, leaf = key.partition(".")
        if not leaf:
            if isinstance(value, Mapping) and isinstance(nested.get(key), dict):
                nested[key] |= value
            else:
                nested[key] = dict(value) if isinstance(value, Mapping) else value
            continue
        inner = nested.setdefault(group, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"'{group}' is given both a value and the key '{key}'.")
        inner[leaf] = value
    return nested


def plain(values: Any) -> dict[str, Any]:
    """Give a dataclass, and those nested in it, as dictionaries of plain values."""
    found: dict[str, Any] = {}
    for item in fields(values):
        value = getattr(values, item.name)
        if is_dataclass(value):
            value = plain(value)
        found[item.name] = value.value if isinstance(value, StrEnum) else value
    return found


def build(
    cls: type,
    values: Mapping[str, Any],
    problems: list[str],
    check_key: Callable[[str], None],
    prefix: str = "",
) -> Any:
    """Build a dataclass, and those nested in it.

    Args:
        cls: The dataclass; its fields are texts, numbers, booleans, `StrEnum`s or dataclasses.
        values: By field.
        problems: Collects what is wrong.
        check_key: Raises if no field is called so.
        prefix: What stands before the names of the fields.
    """
    hints = typing.get_type_hints(cls)
    chosen: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key not in hints:
            try:
                check_key(path)
            except ConfigError as error:
                problems.append(f"{error.problem} {error.remedy.partition('`')[0]}".strip())
            continue
        hint = hints[key]
        if is_dataclass(hint):
            if isinstance(value, hint):  # type: ignore[arg-type]
                chosen[key] = value
            elif isinstance(value, Mapping):
                chosen[key] = build(hint, value, problems, check_key, f"{path}.")  # type: ignore[arg-type]
            else:
                names = ", ".join(f"{path}.{f.name}" for f in fields(hint))
                problems.append(f"'{path}' is a group of keys, not a value: set {names}.")
            continue
        try:
            chosen[key] = _value(hint, value, path)
        except ConfigError as error:
            problems.append(str(error).replace("\n", " "))
    return cls(**chosen)


def _value(hint: Any, value: Any, path: str) -> Any:
    """Check a value against a field's type; numbers may arrive as text."""
    if isinstance(hint, types.UnionType):
        if value is None or value == "null":
            return None
        hint = next(t for t in typing.get_args(hint) if t is not type(None))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if value in LATER.get(path, ()):
            raise ConfigError(f"{path}={value} is not there yet in this version.")
        if value is None or value not in [m.value for m in hint]:
            raise unknown_name(path, str(value), [m.value for m in hint])
        return hint(value)
    if hint is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise ConfigError(f"'{path}' is true or false, not '{value}'.")
    if hint is str:
        if value is None or isinstance(value, bool | Mapping | list | tuple):
            raise ConfigError(f"'{path}' is one name, not '{value}'.")
        return str(value)
    wanted = "a whole number" if hint is int else "a number"
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (hint is int and number != int(number)):
        raise ConfigError(f"'{path}' is {wanted}, not '{value}'.")
    return int(number) if hint is int else number

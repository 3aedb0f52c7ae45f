"""JSON Schema of dataclasses, as `marsbench.base.values` checks them."""

import inspect
import re
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from typing import Annotated, Any

from marsbench.base.values import Limit, NotBlank, Text, is_union, to_plain

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def json_schema(cls: type, title: str) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a dataclass and the dataclasses within it.

    Descriptions come from the docstrings. Values that `marsbench.base.values.build` accepts with
    ``strict`` are valid.

    Args:
        cls: The dataclass.
        title: Title of the schema.
    """
    known: dict[str, Any] = {}
    schema = _object(cls, known)
    return {"$schema": DIALECT, "title": title, **schema, "$defs": dict(sorted(known.items()))}


def _object(cls: type, known: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    description, notes = _docstring(cls)
    properties: dict[str, Any] = {}
    required = []
    for item in fields(cls):
        schema = _schema(hints[item.name], known)
        if item.name in notes:
            schema = {"description": notes[item.name], **schema}
        if item.default is not MISSING:
            schema["default"] = _json(item.default)
        elif item.default_factory is not MISSING:
            schema["default"] = _json(item.default_factory())
        else:
            required.append(item.name)
        properties[item.name] = schema
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _json(value: Any) -> Any:
    if is_dataclass(value):
        return {key: _json(inner) for key, inner in to_plain(value).items()}
    if isinstance(value, tuple):
        return list(map(_json, value))
    return value.value if isinstance(value, StrEnum) else value


def _schema(hint: Any, known: dict[str, Any]) -> dict[str, Any]:
    """Schema of a type; dataclasses go to `known` and are named."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return {**_schema(args[0], known), **_limits(args[1])}
    if is_union(hint):
        inner = next(arg for arg in args if arg is not type(None))
        return {"anyOf": [_schema(inner, known), {"type": "null"}]}
    if origin in (tuple, list):
        is_fixed = origin is tuple and args[-1] is not Ellipsis
        length = {"minItems": len(args), "maxItems": len(args)} if is_fixed else {}
        return {"type": "array", "items": _schema(args[0], known), **length}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(args[1], known)}
    if is_dataclass(hint):
        name = typing.cast(type, hint).__name__
        if name not in known:
            known[name] = {}
            known[name] = _object(typing.cast(type, hint), known)
        return {"$ref": f"#/$defs/{name}"}
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"enum": [member.value for member in hint]}
    return {"type": _SCALARS[hint]}


def _limits(limit: Any) -> dict[str, Any]:
    if limit is NotBlank:
        return {"pattern": r"\S"}
    if isinstance(limit, Text):
        form = {"pattern": f"^(?:{limit.form})$"} if limit.form else {}
        return {"maxLength": limit.longest, **form}
    if isinstance(limit, Limit):
        names = {"minimum": limit.low, "maximum": limit.high, "exclusiveMinimum": limit.above}
        return {name: value for name, value in names.items() if value is not None}
    return {}


def _docstring(cls: type) -> tuple[str, dict[str, str]]:
    """First paragraph of a docstring, and the notes of its attributes."""
    text, _, attributes = inspect.cleandoc(cls.__doc__ or "").partition("\nAttributes:\n")
    notes: dict[str, str] = {}
    for match in re.finditer(r"^    (\w+): (.*(?:\n     +.*)*)", attributes, re.MULTILINE):
        notes[match[1]] = " ".join(match[2].split())
    return " ".join(text.partition("\n\n")[0].split()), notes

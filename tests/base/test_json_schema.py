"""JSON Schemas of dataclasses, read by a small validator of the keywords in use."""

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import pytest

from marsbench.base.json_schema import DIALECT, json_schema
from marsbench.base.values import Limit, NotBlank, Problem, Text, build


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    """An inner group.

    Attributes:
        share: Share of the whole, a number
            on two lines.
    """

    share: Annotated[float, Limit(above=0, high=1)]
    children: tuple["Inner", ...] = ()


@dataclass(frozen=True)
class Outer:
    """The whole.

    Attributes:
        name: Name.
    """

    name: Annotated[str, Text(5, r"[a-z]+", "small letters")]
    count: Annotated[int, Limit(low=1)] | None = None
    title: Annotated[str, NotBlank] = "a"
    flag: bool = False
    colour: Colour = Colour.RED
    pair: tuple[int, int] = (1, 2)
    inner: Inner = field(default_factory=lambda: Inner(1.0))
    numbers: Mapping[str, float] = field(default_factory=dict)


SCHEMA = json_schema(Outer, "Outer things")

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def is_valid(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value is valid; an unknown keyword is an error of the test."""
    for key, rule in schema.items():
        match key:
            case "$ref":
                ok = is_valid(value, SCHEMA["$defs"][rule.removeprefix("#/$defs/")])
            case "anyOf":
                ok = any(is_valid(value, inner) for inner in rule)
            case "enum":
                ok = value in rule
            case "type":
                ok = isinstance(value, TYPES[rule])
                ok &= rule == "boolean" or not isinstance(value, bool)
            case "properties":
                ok = all(is_valid(value[k], inner) for k, inner in rule.items() if k in value)
            case "required":
                ok = set(rule) <= set(value)
            case "additionalProperties":
                others = set(value) - set(schema.get("properties", ()))
                ok = not others if rule is False else all(is_valid(value[k], rule) for k in others)
            case "items":
                ok = all(is_valid(inner, rule) for inner in value)
            case "minItems":
                ok = len(value) >= rule
            case "maxItems":
                ok = len(value) <= rule
            case "pattern":
                ok = re.search(rule, value) is not None
            case "maxLength":
                ok = len(value) <= rule
            case "minimum":
                ok = value >= rule
            case "maximum":
                ok = value <= rule
            case "exclusiveMinimum":
                ok = value > rule
            case "$schema" | "$defs" | "title" | "description" | "default":
                ok = True
            case _:
                raise AssertionError(f"unknown keyword {key}")
        if not ok:
            return False
    return True


VALID: dict[str, Any] = {
    "name": "abc",
    "count": 2,
    "title": "x",
    "flag": True,
    "colour": "blue",
    "pair": [2, 3],
    "inner": {"share": 0.5, "children": [{"share": 1}]},
    "numbers": {"a": 1, "b": 0.5},
}

CHANGES: list[tuple[str, Any]] = [
    ("name", "ABC"),
    ("name", "abcdef"),
    ("name", ""),
    ("name", 5),
    ("name", None),
    ("count", None),
    ("count", 0),
    ("count", "1"),
    ("count", 1.5),
    ("count", True),
    ("title", " "),
    ("flag", 1),
    ("colour", "green"),
    ("colour", None),
    ("pair", [1]),
    ("pair", [1, 2, 3]),
    ("pair", [1, "a"]),
    ("inner", {}),
    ("inner", {"share": 0}),
    ("inner", {"share": 1.1}),
    ("inner", {"share": 1, "children": [{"share": 2}]}),
    ("inner", {"share": 1, "more": 2}),
    ("inner", [1]),
    ("numbers", {"a": "1"}),
    ("numbers", []),
    ("numbers", {}),
    ("other", 1),
]


@pytest.mark.parametrize(("key", "value"), CHANGES, ids=str)
def test_schemas_accept_what_building_accepts(key: str, value: Any) -> None:
    values = copy.deepcopy(VALID) | {key: value}
    problems: list[Problem] = []
    build(Outer, values, problems, strict=True)
    assert is_valid(values, SCHEMA) == (problems == [])


def test_required_fields_and_defaults() -> None:
    assert is_valid(VALID, SCHEMA)
    assert is_valid({"name": "a"}, SCHEMA)
    assert not is_valid({"title": "a"}, SCHEMA)
    assert SCHEMA["$schema"] == DIALECT
    assert SCHEMA["title"] == "Outer things"
    assert SCHEMA["description"] == "The whole."
    assert SCHEMA["properties"]["name"]["description"] == "Name."
    assert SCHEMA["properties"]["inner"]["default"] == {"share": 1.0, "children": []}
    assert SCHEMA["properties"]["colour"]["default"] == "red"
    share = SCHEMA["$defs"]["Inner"]["properties"]["share"]
    assert share["description"] == "Share of the whole, a number on two lines."
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA

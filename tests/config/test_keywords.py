"""Typed keyword arguments restate the keys of the dataclasses behind them."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest

from marsbench.config import keywords
from marsbench.config.schema import RunConfig
from marsbench.evaluate.settings import LISTS, SettingKeys, Settings
from marsbench.predict.options import OptionKeys, Options
from marsbench.report.build import ReportKeys, write_report
from marsbench.sweep.launchers.settings import LauncherKeys, LauncherSettings


def options(hint: Any) -> set[Any]:
    """Types of a union; an enumeration also as its values."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return set().union(*map(options, typing.get_args(hint)))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {hint, *(Literal[member.value] for member in hint)}
    if typing.get_origin(hint) is Literal:
        return {Literal[value] for value in typing.get_args(hint)}
    return {hint}


def expected(cls: type) -> dict[str, set[Any]]:
    """Types of the keys of a dataclass."""
    return {name: options(hint) for name, hint in typing.get_type_hints(cls).items()}


def stated(keys: Any) -> dict[str, set[Any]]:
    """Types of the keys of a TypedDict; paths may stand for text."""
    types_of = {name: options(hint) for name, hint in typing.get_type_hints(keys).items()}
    return {n: found - {Path} if str in found else found for n, found in types_of.items()}


def test_keys_of_runs() -> None:
    groups = {
        item.name: typing.get_type_hints(keywords.SharedKeys)[item.name]
        for item in dataclasses.fields(RunConfig)
        if dataclasses.is_dataclass(typing.get_type_hints(RunConfig)[item.name])
    }
    assert set(groups) == {"optim", "scheduler", "trainer", "logger", "api"}
    for name, keys in groups.items():
        assert stated(keys) == expected(typing.get_type_hints(RunConfig)[name]), name
    types_of = expected(RunConfig) | {name: {keys} for name, keys in groups.items()}
    del types_of["task"], types_of["model"]  # arguments of their own
    assert stated(keywords.RunKeys) == types_of


@pytest.mark.parametrize(
    ("keys", "cls", "wider"),
    [(SettingKeys, Settings, LISTS), (OptionKeys, Options, ())],
    ids=["evaluate", "predict"],
)
def test_keys_of_other_functions(keys: Any, cls: type, wider: tuple[str, ...]) -> None:
    """All but the keys that also take lists."""

    def narrow(types_of: Mapping[str, set[Any]]) -> dict[str, set[Any]]:
        return {name: found for name, found in types_of.items() if name not in wider}

    assert stated(keys).keys() == expected(cls).keys()
    assert narrow(stated(keys)) == narrow(expected(cls))


def test_keys_of_launchers() -> None:
    types_of = expected(LauncherSettings)
    del types_of["name"]  # an argument of its own
    assert stated(LauncherKeys) == types_of


def test_keys_of_reports() -> None:
    types_of = typing.get_type_hints(write_report)
    for own in ("store", "out", "plan", "return"):  # arguments of `make_report`, and its result
        del types_of[own]
    assert typing.get_type_hints(ReportKeys) == types_of

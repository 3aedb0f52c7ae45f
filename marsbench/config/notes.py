"""Meanings of the keys of a run, read from the docstrings of their fields."""

import ast
import inspect
import itertools
import typing
from types import ModuleType

from marsbench.base.keys import split
from marsbench.config import schema
from marsbench.config.schema import RunConfig, config_keys


def key_notes() -> dict[str, str]:
    """Read the meanings of all keys, dotted."""
    notes = field_notes(schema)
    hints = typing.get_type_hints(RunConfig)
    return {
        key: notes[f"{hints[group].__name__}.{leaf}" if leaf else f"RunConfig.{group}"]
        for key in config_keys()
        for group, leaf in [split(key)]
    }


def field_notes(module: ModuleType) -> dict[str, str]:
    """Read the docstrings of the fields of a module's classes, by ``CLASS.FIELD``."""
    tree = ast.parse(inspect.getsource(module))
    notes: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for field_node, text in itertools.pairwise(node.body):
                if (
                    isinstance(field_node, ast.AnnAssign)
                    and isinstance(field_node.target, ast.Name)
                    and isinstance(text, ast.Expr)
                    and isinstance(text.value, ast.Constant)
                ):
                    notes[f"{node.name}.{field_node.target.id}"] = str(text.value.value)
    return notes

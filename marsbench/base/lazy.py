"""Lazy imports for tables: objects named as ``"module:name"``."""

from importlib import import_module
from typing import Any


def load(path: str) -> Any:
    """Import the object at ``"module:name"``."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)

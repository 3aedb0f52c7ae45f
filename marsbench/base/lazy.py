"""Objects named as ``"module:name"``, so that a table can list them without importing them."""

from importlib import import_module
from typing import Any


def load(path: str) -> Any:
    """Import the object at ``"module:name"``."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)

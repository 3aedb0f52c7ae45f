"""Dotted keys of nested values: ``optim.lr`` is the key ``lr`` of the group ``optim``."""

from collections.abc import Iterable, Mapping
from typing import Any

from marsbench.base.errors import ConfigError, unknown_name


def split(key: str) -> tuple[str, str]:
    """Split a key into group and leaf; the leaf is empty for a key without a group."""
    group, _, leaf = key.partition(".")
    return group, leaf


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nest dotted keys: ``{"optim.lr": 1}`` becomes ``{"optim": {"lr": 1}}``."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        group, leaf = split(key)
        if not leaf:
            if isinstance(value, Mapping) and isinstance(nested.get(key), dict):
                nested[key] |= value
            else:
                nested[key] = dict(value) if isinstance(value, Mapping) else value
            continue
        inner = nested.setdefault(group, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"'{group}' is given both a value and the key '{key}'.", "Leave one out."
            )
        inner[leaf] = value
    return nested


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Join the keys of nested mappings by dots, the reverse of `nest`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": leaf for inner, leaf in flatten(value).items()}
        else:
            flat[str(key)] = value
    return flat


def get(values: object, key: str) -> Any:
    """Read the attribute of a dotted key: ``get(config, "optim.lr")`` is ``config.optim.lr``."""
    for name in key.split("."):
        values = getattr(values, name)
    return values


def unknown_key(key: str, known: Iterable[str], hint: str = "") -> ConfigError:
    """Build the error for an unknown key, with close matches and equal leaves of other groups.

    Args:
        key: The given key.
        known: Valid dotted keys.
        hint: Further advice.
    """
    known = tuple(known)
    if alike := [name for name in known if name.rpartition(".")[2] == key]:
        remedy = f"Did you mean {' or '.join(alike)}? {hint}".strip()
        return ConfigError(f"Unknown key '{key}'.", remedy)
    return unknown_name("key", key, known, hint)

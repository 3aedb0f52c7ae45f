"""Keys of earlier versions, still found in records and scripts."""

from collections.abc import Mapping
from typing import Any

from marsbench.base.errors import ConfigError

VIEWS = "views"
"""Old key: ``views=d4`` is now ``protocol=cached augment=d4``, and ``views=N`` is ``draws=N``."""


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the old key ``views`` by the new keys.

    Args:
        values: Values by key of a run.

    Raises:
        ConfigError: If the value is invalid, or another key contradicts it.
    """
    if VIEWS not in values:
        return dict(values)
    views = str(values[VIEWS])
    if views != "d4" and not (views.isdecimal() and int(views) > 0):
        raise ConfigError(f"'views' is {views}; expected d4 or a whole number of at least 1.")
    new = {"protocol": "cached", "augment": "d4"} if views == "d4" else {"draws": views}
    others = {key: value for key, value in values.items() if key != VIEWS}
    for key, value in new.items():
        if str(others.get(key, value)) not in ("auto", "none", value):
            raise ConfigError(
                f"views={views} is now {' '.join(f'{k}={v}' for k, v in new.items())}, and "
                f"{key}={others[key]} contradicts it.",
                "Leave out one of the two.",
            )
    return others | new


def renamed_axes(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Replace an axis ``views`` in a suite's grid; upright images are ``augment=none``.

    Args:
        entry: A grid as in YAML: values or lists of values by key, ``set`` and ``exclude``.
    """
    if VIEWS not in entry:
        return dict(entry)
    is_d4 = "d4" in _texts(entry[VIEWS])
    new = "augment" if is_d4 else "draws"

    def axis(combination: Mapping[str, Any]) -> dict[str, Any]:
        texts = _texts(combination.get(VIEWS, []))
        values = ["none" if is_d4 and text == "1" else text for text in texts]
        # In place, since the order of the axes is that of the runs.
        items = combination.items()
        return dict((new, values) if key == VIEWS else (key, value) for key, value in items)

    grid = axis(entry)
    if is_d4:
        grid["set"] = {**(entry.get("set") or {}), "protocol": "cached"}
    if isinstance(exclude := entry.get("exclude"), list):
        grid["exclude"] = [axis(e) if isinstance(e, Mapping) else e for e in exclude]
    return grid


def _texts(value: Any) -> list[str]:
    return [str(v) for v in (value if isinstance(value, list | tuple) else [value])]

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


def merged(*levels: Mapping[str, Any]) -> dict[str, Any]:
    """Merge keys of runs, of which some are old; later levels override earlier ones.

    ``views`` overrides an earlier ``views``: ``views=1`` leaves nothing of ``views=d4``.

    Args:
        levels: Dotted keys, such as a suite's fixed keys, a grid's values and given words.

    Raises:
        ConfigError: If a level is invalid.
    """
    values: dict[str, Any] = {}
    for level in levels:
        new = renamed(level)
        if VIEWS in level:
            values.pop(VIEWS, None)
        elif VIEWS in values:
            pair = renamed({VIEWS: values[VIEWS]})
            if any(str(level.get(key, value)) != value for key, value in pair.items()):
                values = renamed(values)
        values = {key: value for key, value in values.items() if key not in new} | {**level}
    return values

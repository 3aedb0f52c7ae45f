"""Index of a results repository: its entries, kept in a file to start without reading all checks.

The file is derived from the repository and can be deleted. A damaged one is made again.
"""

import contextlib
import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from marsbench.base import paths
from marsbench.base.documents import parse_json
from marsbench.base.files import is_settled, write_text
from marsbench.base.reading import read_text
from marsbench.base.values import Problem, build, to_plain
from marsbench.base.version import __version__
from marsbench.config.identity import digest
from marsbench.leaderboard.board.entries import Entry
from marsbench.leaderboard.board.tasksets import Choice, metric_of
from marsbench.tasks.catalog import TASKS

VERSION = 1
"""Version of the layout; a new version discards the index."""

States = list[list[int]]
"""`file_state` of the files behind an entry."""


class _Item(NamedTuple):
    """Submission of the index: its entry, or the reason why it is left out."""

    states: States
    entry: Entry | str


class Index:
    """Entries of submissions whose files have not changed.

    Args:
        place: The repository: a folder, or its address on the hub.
    """

    def __init__(self, place: str) -> None:
        self._file = paths.home() / "leaderboard" / f"index-{digest(place)[:16]}.json"
        self._items = _read(self._file)
        self._is_new = False

    def get(self, name: str, states: States) -> Entry | str | None:
        """Entry of a submission, or the reason why it is left out; None if its files changed."""
        item = self._items.get(name)
        return item.entry if item is not None and item.states == states else None

    def put(self, name: str, states: States, entry: Entry | str) -> None:
        """Add the entry of a submission, or the reason why it is left out."""
        self._items[name] = _Item(states, entry)
        self._is_new = True

    def names(self) -> list[str]:
        """Names of the submissions with entries, sorted."""
        return sorted(name for name, item in self._items.items() if isinstance(item.entry, Entry))

    def keep(self, names: Collection[str]) -> None:
        """Write the file, without submissions that are gone; if that fails, checks are read again.

        Args:
            names: Submissions of the repository.
        """
        gone = self._items.keys() - set(names)
        for name in gone:
            del self._items[name]
        if not gone and not self._is_new:
            return
        items = {
            name: _plain(item)
            for name, item in self._items.items()
            # A file that was just written may change again without another time.
            if all(map(is_settled, item.states))
        }
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._file, json.dumps({"key": _key(), "items": items}))
        self._is_new = False


@cache
def _key() -> str:
    """Digest of the program and the metrics behind an index."""
    metrics = [[task, *(metric_of(task, choice) for choice in Choice)] for task in TASKS]
    return digest([VERSION, __version__, metrics])


def _plain(item: _Item) -> dict[str, Any]:
    if isinstance(item.entry, str):
        return {"states": item.states, "left": item.entry}
    scores: list[list[Any]] = [[*pair, dict(by)] for pair, by in item.entry.scores.items()]
    return {"states": item.states, "entry": {**to_plain(_bare(item.entry)), "scores": scores}}


def _bare(entry: Entry) -> Entry:
    return replace(entry, scores={})


def _read(file: Path) -> dict[str, _Item]:
    """Read an index; a damaged file counts as empty, invalid items as missing."""
    try:
        content = parse_json(read_text(file))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("key") != _key():
        return {}
    items = content.get("items")
    if not isinstance(items, dict):
        return {}
    read = {name: _item(value) for name, value in items.items()}
    return {name: item for name, item in read.items() if item is not None}


def _item(value: Any) -> _Item | None:
    """Item from its plain values; None if they are invalid."""
    if not isinstance(value, dict) or not _are_states(value.get("states")):
        return None
    match value:
        case {"states": list(states), "left": str(reason)}:
            return _Item(states, reason)
        case {"states": list(states), "entry": {"scores": list(scores), **fields}}:
            problems: list[Problem] = []
            with contextlib.suppress(TypeError, ValueError):
                values: dict[Any, Any] = {**fields, "scores": _scores(scores)}
                entry = build(Entry, values, problems, strict=True)
                return None if entry is None else _Item(states, entry)
    return None


def _are_states(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(state, list) and len(state) == 4 and all(type(part) is int for part in state)
        for state in value
    )


def _scores(rows: Sequence[Any]) -> dict[tuple[str, str], dict[int, float]]:
    return {
        (str(task), str(metric)): {int(seed): score for seed, score in dict(by_seed).items()}
        for task, metric, by_seed in rows
    }

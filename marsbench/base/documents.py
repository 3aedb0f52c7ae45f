"""YAML and JSON from elsewhere: plain values, within limits of size and nesting."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from marsbench.base import reading
from marsbench.base.errors import ConfigError

LARGEST = 1_000_000
"""Largest size of a YAML file, in bytes; also of its values with all aliases written out."""

DEEPEST = 50
"""Deepest nesting of lists and mappings."""

_LONGEST = 100
"""Longest number or date, in characters; Python takes minutes for a number of a megabyte."""

# The reader in C, if available, takes a tenth of the time.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_SCALARS = tuple(f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp"))


class Document(NamedTuple):
    """A YAML file.

    Attributes:
        values: Plain values: text, numbers, dates, lists and mappings; None for an empty file.
        root: Its syntax tree, with line numbers.
    """

    values: Any
    root: yaml.Node | None


def read_yaml(path: Path) -> Document:
    """Read a YAML file; tags that construct objects are refused.

    Raises:
        ConfigError: If the file is missing, is not YAML, or is larger or deeper than the limits.
    """
    return _parsed(path, _text(path))


def read_front_matter(path: Path) -> Any:
    """Read the YAML between two lines of ``---`` at the start of a text; None without it.

    Raises:
        ConfigError: As `read_yaml`.
    """
    match = re.match(r"\s*---[\r\n]+(.*?)[\r\n]+---\s", _text(path) + "\n", re.DOTALL)
    return None if match is None else _parsed(path, match[1]).values


def _text(path: Path) -> str:
    try:
        with reading.open_file(path) as file:
            content = file.read(LARGEST + 1)
        text = content.decode()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror or error}.", "Give the path of a YAML file."
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{path} cannot be read as YAML: {error}.", "Save it as UTF-8 text."
        ) from error
    if len(content) > LARGEST:
        raise _beyond(path, f"is larger than {LARGEST / 1e6:g} MB")
    return text


def _parsed(path: Path, text: str) -> Document:
    try:
        _check_depth(path, text)
        root = yaml.compose(text, Loader=_Loader)
        if root is None:
            return Document(None, None)
        _check_size(path, root)
        return Document(yaml.SafeLoader("").construct_document(root), root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(
            f"{path}: this is not valid YAML: {where}{error.problem or error.context}.",
            "Check indentation, and put text that holds ': ' or '#' in quotes.",
        ) from error
    # Values that do not fit an explicit tag or the calendar raise many types.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read as YAML: {str(error).partition(chr(10))[0]}.",
            "Correct its tags and dates, and remove control characters.",
        ) from error


def _beyond(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{path} is refused: it {what}.", "Give a smaller file.")


def _check_depth(path: Path, text: str) -> None:
    """Check the nesting before anything is built, since building recurses."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise _beyond(path, f"is nested more than {DEEPEST} levels deep")


def _check_size(path: Path, root: yaml.Node) -> None:
    """Check the size and nesting of the values with all aliases written out."""
    known: dict[int, tuple[int, int] | None] = {}

    def measure(node: yaml.Node) -> tuple[int, int]:
        """Characters and levels of a node; anchors come before their aliases."""
        if id(node) in known:
            if (size := known[id(node)]) is None:
                raise _beyond(path, "never ends: an alias stands within its own anchor")
            return size
        if isinstance(node, yaml.ScalarNode):
            if node.tag in _SCALARS and len(node.value) > _LONGEST:
                raise _beyond(path, f"holds a number of {len(node.value)} characters")
            return len(node.value) + 1, 0
        known[id(node)] = None
        inner = [part for entry in node.value for part in _parts(entry)]
        sizes = [measure(part) for part in inner]
        size = 1 + sum(s for s, _ in sizes), 1 + max((d for _, d in sizes), default=0)
        if size[0] > LARGEST or size[1] > DEEPEST:
            raise _beyond(path, "is larger or deeper than allowed with its aliases written out")
        known[id(node)] = size
        return size

    measure(root)


def _parts(entry: Any) -> tuple[yaml.Node, ...]:
    """Nodes of an entry of a list or a mapping."""
    return entry if isinstance(entry, tuple) else (entry,)


def parse_json(
    text: str | bytes,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
    *,
    strict: bool = False,
) -> Any:
    """Parse JSON.

    Args:
        text: JSON, of bytes in any of its encodings.
        object_pairs_hook: As in `json.loads`.
        strict: Whether repeated keys, and numbers that are NaN or infinite, are errors; other
            readers might read other values.

    Raises:
        ValueError: If the text is not JSON, is nested more than `DEEPEST` levels deep, or holds
            half of a character.
    """
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text))
    limits: dict[str, Any] = {"parse_constant": _finite, "parse_float": _finite} if strict else {}
    try:
        content = json.loads(
            text, object_pairs_hook=_unique_keys if strict else object_pairs_hook, **limits
        )
    except RecursionError as error:
        raise ValueError(f"nested more than {DEEPEST} levels deep") from error
    level, depth = [content], 0
    while level := [
        value
        for outer in level
        if isinstance(outer, dict | list)
        for value in (outer.values() if isinstance(outer, dict) else outer)
        if isinstance(value, dict | list)
    ]:
        depth += 1
        if depth >= DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} levels deep")
    if re.search(r"\\u[dD][89a-fA-F]", text):
        json.dumps(content, ensure_ascii=False).encode()
    return content


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]}, which is NaN or infinite")
    return number


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice[:80]!r} is given twice")
    return content

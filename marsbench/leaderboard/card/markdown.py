"""Text in Markdown: names from elsewhere stay text."""

import html
import re
from typing import Any

from marsbench.base.text import inline


class Markdown(str):
    """Markdown that needs no escape."""

    __slots__ = ()


_PLAIN = re.compile(r"[\w./:@+=,-]+", re.ASCII)
"""Text that a code span shows as it is, in tables too."""


def escaped(value: Any) -> str:
    """Escape a value for a line of Markdown; `Markdown` stays.

    Line breaks and control characters become visible. Nothing in the text becomes a tag, link,
    picture, formula, mention or the end of a table's cell.
    """
    if isinstance(value, Markdown):
        return value
    text = html.escape(inline(str(value)), quote=False)
    text = re.sub(r"([\\`*_{}\[\]|~$#!@])", r"\\\1", text)
    # Addresses would become links.
    return re.sub(r"(?i)(?<=[a-z]):(?=//)|(?<=www)\.", r"\\\g<0>", text)


def code(value: Any) -> Markdown:
    """Code span of a name; names with odd characters are escaped text."""
    text = str(value)
    return Markdown(f"`{text}`" if _PLAIN.fullmatch(text) else escaped(text))

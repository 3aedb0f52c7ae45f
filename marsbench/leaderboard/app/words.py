"""Text of the app; names from submissions are text, never markup."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from html import escape

from marsbench.base.text import closed_address, inline
from marsbench.leaderboard.board.entries import NOT_SUBMITTED, Entry
from marsbench.leaderboard.schema import Badge

LONGEST = 60
"""Longest name in a table, in characters."""

_ADDRESS = re.compile(r"https://[^\s<>\"'\\`]{1,500}")

DASH = "\N{EN DASH}"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

BADGES: dict[str, str] = {
    Badge.CONSISTENT: "consistent",
    Badge.NOT_RESCORED: "not re-scored",
    Badge.PUBLISHED: "as published",
    NOT_SUBMITTED: "not submitted",
}
"""Badges in a word or two, for tables."""


def badge_of(entry: Entry) -> str:
    """Badge of an entry for tables, with a mark if its submission is partial."""
    return BADGES.get(entry.badge, entry.badge) + ", partial" * entry.partial


@lru_cache(10_000)
def cut(text: str, longest: int = LONGEST) -> str:
    """Text of one line and limited length; control characters become escapes."""
    line = inline(text)
    return line if len(line) <= longest else f"{line[: longest - 1]}{ELLIPSIS}"


def safe(text: object, longest: int = 500) -> str:
    """Text for HTML: markup characters and control characters are escaped."""
    return escape(cut(str(text), longest))


def link(address: str, text: str = "") -> str:
    """Link in HTML; an address that is not https is shown as text."""
    shown = safe(text or address.removeprefix("https://").rstrip("/"), 80)
    if not _ADDRESS.fullmatch(address):
        return shown
    href = escape(closed_address(address))
    return f'<a href="{href}" target="_blank" rel="noopener nofollow">{shown}</a>'


def number(value: float | None, places: int = 3) -> str:
    """Number with fixed places; a dash if there is none."""
    return DASH if value is None or value != value else f"{value:.{places}f}"


def millions(count: int | None) -> str:
    """Number of parameters."""
    return "unknown" if count is None else f"{count / 1e6:,.1f} M"


def duration(seconds: float | None) -> str:
    """Seconds in a suitable unit."""
    if seconds is None:
        return "unknown"
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def count(number: int, noun: str, plural: str = "") -> str:
    """Number with a noun."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def full_name(entry: Entry) -> str:
    """Name of an entry in menus."""
    ways = [entry.mode, entry.protocol, entry.subset]
    return cut(f"{entry.label}, {' '.join(ways)}, {entry.author.name}", 120)


def table(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Table in HTML; all cells are text, and the first of a row is its heading."""
    head = "".join(f'<th scope="col">{safe(title)}</th>' for title in titles)
    body = "".join(
        f'<tr><th scope="row">{safe(first)}</th>'
        + "".join(f"<td>{safe(value)}</td>" for value in others)
        + "</tr>"
        for first, *others in rows
    )
    return (
        f'<div class="scroll"><table><caption>{safe(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )

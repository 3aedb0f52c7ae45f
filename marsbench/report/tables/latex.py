"""Tables as LaTeX that fits a column or a page without being scaled down."""

import math
from collections.abc import Sequence
from dataclasses import replace

from marsbench.base.text import inline
from marsbench.report.study.cells import DOWN, UP
from marsbench.report.tables.forms import CLOSE, DASH, OVERLAP, Entry, Score, Table

_COLUMN, _PAGE = 56, 116
"""Letters of ``\\footnotesize`` that fit in 3.4 and in 7 inches."""

_GAP, _SMALL = 2, 0.87
"""Letters between columns, and letters of a digit of ``\\scriptsize``."""

_ROWS = 50
"""Largest number of rows on a page."""

_WIDE, _BROKEN = 48, 40
"""Longest text without line breaks, and letters of a line of broken text."""

_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Scales a table down only on narrower pages."""

_HALF = r" $\pm$: half of the width of the interval."


def latex(table: Table) -> str:
    """Table environments; need the packages booktabs and graphicx.

    Intervals stand below their numbers. A table that is too wide is transposed, or has half
    widths instead of intervals, or else continues with further columns below.
    """
    plain = replace(table, rows=table.shown_rows)
    turned = [table.transposed()] if len(table.rows) > 1 and len(table.columns) > 2 else []
    tries = [(form, half) for half in (False, True) for form in (plain, *turned)]
    form, half = next(
        (each for each in tries if _width(*each) <= _PAGE), (min(tries, key=lambda t: _width(*t)))
    )
    width = _width(form, half)
    note = _HALF if half and any(score.interval for score in _scores(form)) else ""
    parts = _blocks(form, half)
    pages = [parts]
    if len(parts) == 1:
        starts = range(0, max(1, len(form.rows)), _ROWS)
        pages = [[replace(form, rows=form.rows[start : start + _ROWS])] for start in starts]
    return "\n".join(
        _environment(page, half, width <= _COLUMN, number, note)
        for number, page in enumerate(pages)
    )


def _environment(
    parts: Sequence[Table], half: bool, is_column: bool, number: int, note: str
) -> str:
    table = parts[0]
    name = "table" if is_column else "table*"
    caption = f"{escape_latex(table.title)}. {escape_latex(table.text)}{note}"
    head = [rf"\caption{{{caption}}}", rf"\label{{tab:{table.name}}}"]
    if number:
        head = [rf"\caption{{{escape_latex(table.title)}, continued}}"]
    lines = [rf"\begin{{{name}}}", r"\centering", *head]
    lines += [r"\footnotesize", r"\setlength{\tabcolsep}{4pt}"]
    for part in parts:
        align = "".join("r" if part.is_number(i) else "l" for i in range(len(part.columns)))
        titles = " & ".join(escape_latex(column.title) for column in part.columns)
        lines += [_FIT, rf"\begin{{tabular}}{{{align}}}", r"\toprule", rf"{titles} \\", r"\midrule"]
        lines += (" & ".join(_cell(entry, half) for entry in row) + r" \\" for row in part.rows)
        lines += [r"\bottomrule", r"\end{tabular}}", ""]
    return "\n".join([*lines[:-1], rf"\end{{{name}}}", ""])


def _blocks(table: Table, half: bool) -> list[Table]:
    """Split the columns of a table that is too wide; the first column stands in every part."""
    first, *widths = _widths(table, half)
    blocks: list[list[int]] = [[]]
    used = first
    for number, width in enumerate(widths, start=1):
        if blocks[-1] and used + width > _PAGE:
            blocks.append([])
            used = first
        blocks[-1].append(number)
        used += width
    return [
        replace(
            table,
            columns=[table.columns[i] for i in (0, *block)],
            rows=[[row[i] for i in (0, *block)] for row in table.rows],
        )
        for block in blocks
    ]


def _width(table: Table, half: bool) -> float:
    return sum(_widths(table, half)) - _GAP


def _widths(table: Table, half: bool) -> list[float]:
    """Letters of each column."""
    return [
        max([len(column.title), *(_letters(row[number], half) for row in table.rows)]) + _GAP
        for number, column in enumerate(table.columns)
    ] or [0]


def _letters(entry: Entry, half: bool) -> float:
    if isinstance(entry, Score):
        below = len(_below(entry, half)) if entry.interval else 0
        return max(len(entry.text + entry.marks), _SMALL * below)
    text = DASH if entry is None else str(entry)
    return _BROKEN if len(text) > _WIDE else len(text)


def _below(score: Score, half: bool) -> str:
    """Interval, or half of its width."""
    if not half:
        return score.interval
    return f"\N{PLUS-MINUS SIGN}{(score.high - score.low) / 2:.{score.digits}f}"


def _scores(table: Table) -> list[Score]:
    return [entry for row in table.rows for entry in row if isinstance(entry, Score)]


def _cell(entry: Entry, half: bool) -> str:
    if not isinstance(entry, Score):
        text = "--" if entry is None else escape_latex(str(entry))
        is_wide = entry is not None and len(str(entry)) > _WIDE
        return rf"\parbox[t]{{6cm}}{{\raggedright {text}\strut}}" if is_wide else text
    text = escape_latex(entry.text)
    number = rf"\textbf{{{text}}}" if entry.best else text
    number += escape_latex(entry.marks)
    if not entry.interval or math.isnan(entry.value):
        return number
    # Not escaped: a bracket after the start of a group is no option.
    below = _below(entry, half).replace("\N{PLUS-MINUS SIGN}", r"$\pm$")
    return rf"\shortstack[r]{{{number}\\{{\scriptsize {below}}}}}"


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    UP: r"$\uparrow$",
    DOWN: r"$\downarrow$",
    DASH: "--",
    CLOSE: r"$^\dagger$",
    OVERLAP: r"$^\ddagger$",
    "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    # After the end of a row, LaTeX takes these for options.
    "[": "{[}",
    "*": "{*}",
}


def escape_latex(text: str) -> str:
    """Escape text for LaTeX."""
    return "".join(_LATEX.get(c, c) for c in inline(text.replace("\n", " ")))

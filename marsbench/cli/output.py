"""Output of commands: tables on a terminal, JSON lines elsewhere, a message per error."""

import functools
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer

from marsbench.base.errors import MarsbenchError, is_disk_full
from marsbench.base.text import inline, visible

if TYPE_CHECKING:
    from rich.table import Table

P = ParamSpec("P")
T = TypeVar("T")


class Format(StrEnum):
    """Output format of a command."""

    AUTO = "auto"
    TABLE = "table"
    JSON = "json"

    @property
    def is_json(self) -> bool:
        """Whether to print JSON: on request, or off a terminal."""
        return self is Format.JSON or (self is Format.AUTO and not sys.stdout.isatty())


FormatOption = Annotated[
    Format,
    typer.Option("--format", help="table, json, or auto (a table on a terminal, else json)."),
]


def friendly(command: Callable[P, T]) -> Callable[P, T]:
    """End a command with a message and an exit code: 2 on bad input, 130 when interrupted."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except MarsbenchError as error:
            fail(error)
        except KeyboardInterrupt:
            note("Interrupted.")
            raise SystemExit(130) from None
        except BrokenPipeError:
            # The reader, such as `head`, has closed the pipe.
            sys.stderr.close()
            raise SystemExit(141) from None
        except OSError as error:
            is_full = is_disk_full(error)
            if error.filename is None and not is_full:
                raise
            place = "A file" if error.filename is None else str(error.filename)
            fail(
                MarsbenchError(
                    f"{place} cannot be {'written' if is_full else 'used'}: "
                    f"{error.strerror or error}.",
                    "Free space, and run the command again."
                    if is_full
                    else "Check the path and its permissions.",
                )
            )

    return wrapped


def fail(error: MarsbenchError) -> NoReturn:
    """Print an error and exit with its code."""
    note(f"Error: {error.problem}")
    if error.remedy:
        note(error.remedy)
    raise SystemExit(error.exit_code) from None


def note(text: str) -> None:
    """Print a line to standard error, apart from results."""
    sys.stderr.write(f"{visible(text)}\n")


def say(text: str) -> None:
    """Print a line of the result to standard output."""
    sys.stdout.write(f"{visible(text)}\n")
    sys.stdout.flush()  # a pipe would hold the lines of a long command back


def print_rows(
    rows: Sequence[Mapping[str, Any]],
    form: Format,
    title: str,
    right: Sequence[str] = (),
    first: Sequence[str] = (),
    *,
    has_options: bool = False,
) -> None:
    """Print rows as a table or as JSON lines.

    Columns that do not fit a terminal are left out, the least important first, and named on
    standard error.

    Args:
        rows: Rows; missing keys are empty cells.
        form: Output format.
        title: Title of the table.
        right: Right-aligned columns.
        first: Columns by importance, the most important first; the others follow in their order.
        has_options: Whether the command has ``--columns``.
    """
    if form.is_json:
        for row in rows:
            say(json.dumps(row))
        return
    from rich.console import Console
    from rich.text import Text

    width = terminal_width()
    table, left_out = table_of(rows, right, first, width)
    # The layout fits already; rich would break words to fit a single column that is too wide.
    console = Console(width=UNLIMITED)
    if title:
        console.print(Text(_filled(inline(title), width), "table.title"), soft_wrap=True)
    if rows:
        console.print(table, crop=False)
    if left_out:
        ways = "choose columns with --columns A,B" if has_options else "widen the terminal"
        text = left_out_text(left_out, width)
        note(_filled(f"{text} To see them, {ways}, or pipe the output.", width))


def left_out_text(columns: Sequence[str], width: int | None) -> str:
    """Name the columns left out of a table."""
    return f"Left out at {width} columns: {', '.join(columns)}."


UNLIMITED = 10**6
"""Width of tables for rich, which pads none of them."""


def terminal_width() -> int | None:
    """Width of the terminal, or of the variable ``COLUMNS``; None off a terminal."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return None


def _filled(text: str, width: int | None) -> str:
    """Break a text into lines between its words."""
    if width is None:
        return text
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def table_of(
    rows: Sequence[Mapping[str, Any]],
    right: Sequence[str] = (),
    first: Sequence[str] = (),
    width: int | None = None,
) -> "tuple[Table, tuple[str, ...]]":
    """Build the terminal table of `print_rows`; markup in names is text.

    Returns:
        The table, no wider than `width`, and the names of the columns left out.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from marsbench.cli.layout import GAP, fit

    names = dict.fromkeys(name for row in rows for name in row)
    cells = {
        inline(name): ["" if (v := row.get(name)) is None else inline(str(v)) for row in rows]
        for name in names
    }
    layout = fit(cells, width, first)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, GAP - 1, 0, 0), pad_edge=False)
    for name, size in layout.widths.items():
        align = "right" if name in right else "left"
        table.add_column(Text(name), justify=align, width=size, overflow="fold")  # type: ignore[arg-type]
    for texts in zip(*(cells[name] for name in layout.widths), strict=True):
        table.add_row(*map(Text, texts))
    return table, layout.left_out


def size_text(count: int) -> str:
    """Format a number of bytes."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"

"""Output of commands: tables on a terminal, JSON lines elsewhere, a message per error."""

import functools
import json
import sys
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
    rows: Sequence[Mapping[str, Any]], form: Format, title: str, right: Sequence[str] = ()
) -> None:
    """Print rows as a table or as JSON lines.

    Args:
        rows: Rows with equal keys.
        form: Output format.
        title: Title of the table.
        right: Right-aligned columns.
    """
    if form.is_json:
        for row in rows:
            say(json.dumps(row))
        return
    from rich.console import Console

    # Off a terminal rich truncates at 80 columns by default.
    Console(width=None if sys.stdout.isatty() else 160).print(table_of(rows, title, right))


def table_of(rows: Sequence[Mapping[str, Any]], title: str, right: Sequence[str] = ()) -> "Table":
    """Build the terminal table of `print_rows`; markup in names is text."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heading = Text(inline(title), style="table.title")
    table = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows[0] if rows else ():
        align = "right" if name in right else "left"
        table.add_column(Text(inline(name)), justify=align, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        cells = ("" if value is None else inline(str(value)) for value in row.values())
        table.add_row(*map(Text, cells))
    return table


def size_text(count: int) -> str:
    """Format a number of bytes."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"

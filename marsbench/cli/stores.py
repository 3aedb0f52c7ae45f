"""Folders of records as arguments."""

from pathlib import Path
from typing import Annotated

import typer


def store_folder(text: str | Path) -> Path:
    """Folder of a store as typed: ``FOLDER``, or ``store=FOLDER`` as in other commands."""
    return Path(str(text).removeprefix("store="))


StoreArgument = Annotated[
    Path,
    typer.Argument(
        help="Folder of records, also store=FOLDER.", metavar="STORE", parser=store_folder
    ),
]

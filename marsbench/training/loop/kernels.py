"""Operators without a deterministic kernel, for records."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_MESSAGE = r"(\S+) does not have a deterministic implementation"


@contextmanager
def unsteady_kernels() -> Iterator[set[str]]:
    """Collect the operators that torch warns of in deterministic mode, in place of the warnings.

    Yields:
        Names of the operators; equal runs differ by their rounding.
    """
    names: set[str] = set()
    with warnings.catch_warnings():
        warnings.filterwarnings("default", message=_MESSAGE)
        show = warnings.showwarning

        def collect(message: Warning | str, *rest: Any, **options: Any) -> None:
            if match := re.match(_MESSAGE, str(message)):
                names.add(match[1])
            else:
                show(message, *rest, **options)

        warnings.showwarning = collect
        yield names

"""Figures of a benchmark, written for `gpu_first.py`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A measured number.

    Attributes:
        name: Name, with the settings.
        value: The number, or a short text.
        unit: Its unit.
        goal: Least value to reach; None without a goal.
    """

    name: str
    value: float | str
    unit: str = ""
    goal: float | None = None

    @property
    def text(self) -> str:
        """The value for people."""
        return self.value if isinstance(self.value, str) else f"{self.value:.4g}"


def write(path: Path | None, figures: list[Figure]) -> None:
    """Write figures as JSON; without a path nothing is written."""
    if path is not None:
        path.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")


def read(path: Path) -> list[Figure]:
    """Read figures; an empty list if the benchmark has written none."""
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    return [Figure(**row) for row in rows]

"""What a check of a folder found."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """What a check found.

    Attributes:
        folder: The folder checked.
        num_files: Files read.
        num_samples: Samples read; a pair has two files.
        problems: What keeps runs from working or makes their numbers wrong.
        notes: What a user should know, such as sizes other than published.
    """

    folder: str
    num_files: int = 0
    num_samples: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain values."""
        return dataclasses.asdict(self)

"""Report of a check of a folder."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass
class VerifyReport:
    """Problems and notes from a check of a folder.

    Attributes:
        folder: The folder checked.
        num_files: Files read.
        num_samples: Samples read; a pair has two files.
        problems: Errors that stop runs or make their numbers wrong.
        notes: Facts for the user, such as sizes other than published.
    """

    folder: str
    num_files: int = 0
    num_samples: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Convert the report to plain values."""
        return dataclasses.asdict(self)

"""Data behind initial weights, for records and leaderboards."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from marsbench.base.values import Limit, NotBlank

OVERLAP_WARNING = (
    "Images of the task may be among the pre-training data, so scores may be too high."
)


class Overlap(StrEnum):
    """Knowledge of overlaps of pre-training data with test images of any task."""

    NONE = "none known"
    POSSIBLE = "possible"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """Data behind initial weights.

    Attributes:
        data: Data set; "unknown", or "none" for random weights.
        images: Number of images; None if unknown.
        licence: Licence of the weights; empty if unstated.
        overlaps: Names of tasks whose images may be among the data; empty if there are none as far
            as known, None if unknown.
    """

    data: Annotated[str, NotBlank] = "unknown"
    images: Annotated[int, Limit(low=0, high=1e12)] | None = None
    licence: str = ""
    overlaps: tuple[str, ...] | None = None

    @property
    def overlap(self) -> Overlap:
        """Overlap with test images of any task."""
        if self.overlaps is None:
            return Overlap.UNKNOWN
        return Overlap.POSSIBLE if self.overlaps else Overlap.NONE

    @property
    def overlap_words(self) -> str:
        """Possible overlaps with test images, by task."""
        return f"{self.overlap}: {', '.join(self.overlaps)}" if self.overlaps else self.overlap


UNKNOWN = Pretraining()
"""Of weights without a description, and of records of earlier versions."""

RANDOM = Pretraining(data="none", images=0, overlaps=())
"""Of random weights."""


def combined(members: Iterable[Pretraining]) -> Pretraining:
    """Pre-training of an ensemble: the data of all members.

    Data sets may share images, so the number of images of several data sets is unknown.
    """
    distinct = dict.fromkeys(members)
    trained = [member for member in distinct if member != RANDOM] or [*distinct]
    if len(trained) == 1:
        return trained[0]
    if UNKNOWN in trained:
        return UNKNOWN
    by_data = {member.data: member.images for member in trained}
    overlaps = [member.overlaps for member in trained]
    known = [names for names in overlaps if names is not None]
    return Pretraining(
        data=", ".join(by_data),
        images=next(iter(by_data.values())) if len(by_data) == 1 else None,
        licence=", ".join(dict.fromkeys(m.licence for m in trained if m.licence)),
        overlaps=tuple(sorted({name for names in known for name in names}))
        if len(known) == len(overlaps)
        else None,
    )

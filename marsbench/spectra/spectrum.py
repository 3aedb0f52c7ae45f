"""One mass-spectrometry measurement, as every part of the package hands it on."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.tasks.kinds import Technique

__all__ = ["Floats", "Instrument", "Spectrum", "Technique"]

Floats = NDArray[np.float64]


class Instrument(StrEnum):
    """Which instrument measured a sample; GC-MS files name none, and count as commercial."""

    COMMERCIAL = "commercial"
    SAM_TESTBED = "sam_testbed"


@dataclass(frozen=True)
class Spectrum:
    """The P points of one measurement, in the order of the file: time never decreases.

    A commercial instrument measures all ions of a scan at one time. The SAM testbed measures one
    ion after the other, so that every point has a time of its own.

    Attributes:
        time: Seconds (EGA) or the unit of the file (GC), (P,).
        axis: What the columns of an image are, (P,): temperature in degrees C (EGA), which need
            not rise in every step, or retention time in minutes (GC).
        mz: Mass-to-charge ratio, (P,); of some SAM testbed runs fractional, such as 11.1.
        abundance: Ion current in amperes (commercial) or counts per second (testbed), (P,), which
            differ by some thirteen orders of magnitude; may be negative.
        instrument: Which instrument measured.
        derivatized: Of GC-MS, whether a derivatisation agent was added; None elsewhere.
        where: The sample's place, for messages.
        meta: What else the data say of it.
    """

    time: Floats
    axis: Floats
    mz: Floats
    abundance: Floats
    instrument: Instrument = Instrument.COMMERCIAL
    derivatized: bool | None = None
    where: str = "spectrum"
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.time)

    @property
    def points(self) -> NDArray[np.float32]:
        """Axis, m/z and abundance over its largest magnitude, float32 (P, 3)."""
        largest = np.abs(self.abundance).max(initial=0.0) or 1.0
        columns = (self.axis, self.mz, self.abundance / largest)
        return np.stack(columns, axis=1).astype(np.float32)

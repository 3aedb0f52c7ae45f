"""Mass-spectrometry measurement."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.tasks.kinds import Technique

__all__ = ["Floats", "Instrument", "Spectrum", "Technique"]

Floats = NDArray[np.float64]


class Instrument(StrEnum):
    """Instrument of a measurement; GC-MS files name none and count as commercial."""

    COMMERCIAL = "commercial"
    SAM_TESTBED = "sam_testbed"


@dataclass(frozen=True)
class Spectrum:
    """Points of a measurement in the order of the file; time never decreases.

    A commercial instrument measures all ions of a scan at one time. The SAM testbed measures one
    ion after the other, so that every point has its own time.

    Attributes:
        time: Seconds (EGA) or the unit of the file (GC), (P,).
        axis: Horizontal axis of an image, (P,): temperature in degrees C (EGA), not always rising,
            or retention time in minutes (GC).
        mz: Mass-to-charge ratio, (P,); fractional in some SAM testbed runs, such as 11.1.
        abundance: Ion current in amperes (commercial) or counts per second (testbed), (P,), some
            thirteen orders of magnitude apart; may be negative.
        instrument: Instrument of the measurement.
        derivatized: Whether a derivatisation agent was added (GC-MS); None for EGA-MS.
        where: Name of the sample in messages.
        meta: Further metadata.
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

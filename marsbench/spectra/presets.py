"""Parameters of the rasteriser, and named sets of them.

Plain data; `marsbench.spectra.raster` implements them. The benchmarks are the challenges' own; the
others follow the winners' descriptions of their solutions (drivendata.org, competitions 93 and
97).
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from marsbench.base.errors import unknown_name
from marsbench.spectra.spectrum import Technique

HELIUM = 4
"""m/z of the carrier gas, which dwarfs the ions of the sample."""


class Cell(StrEnum):
    """Reduction of a cell's points to a value."""

    MAXIMUM = "maximum"
    MEAN = "mean"
    SUM = "sum"
    SCAN = "scan"
    """A single scan per column: random in training, nearest in evaluation."""


class Scale(StrEnum):
    """Divisor of the intensities."""

    SAMPLE = "sample"
    """Largest value of the image."""
    RUN = "run"
    """Largest value of the run, which may lie outside the image."""
    ROW = "row"
    """Largest value of the row, that is of its ion."""
    COLUMN = "column"
    """Sum of the column."""
    ROW_SUM = "row_sum"
    """Sum of the row to the power 0.75."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Random changes of a training image, and of the views averaged in evaluation.

    Attributes:
        gain: Standard deviation of the base-2 logarithm of each row's factor.
        backgrounds: Whether the estimated background or the row's minimum is subtracted at random,
            with a random mix of the row's 0.1, 5, 10 and 20 % quantiles.
        mix: Probability of mixing in another train sample: the mean or the maximum of both, with
            the labels of both.
        noise: Standard deviation of noise, in units of the sample's maximum.
        shift: Greatest shift of the image in columns, either way.
        narrow: Least share of the columns kept by a random width; 1 keeps all.
    """

    gain: float = 0.0
    backgrounds: bool = False
    mix: float = 0.0
    noise: float = 0.0
    shift: int = 0
    narrow: float = 1.0


@dataclass(frozen=True, kw_only=True)
class RasterSpec:
    """Parameters of the rasteriser.

    Attributes:
        name: Name of the preset.
        technique: Technique of the measurements.
        rows: Number of rows; row i is m/z i.
        tolerance: Points are left out if m/z is this far or farther from an integer; 0 keeps exact
            integers only.
        ignored: m/z left out.
        helium: Factor of the carrier gas's row.
        start: Left edge of the first column, in degrees C or minutes.
        width: Width of a column in the same unit; for relative axes, in shares of the run's length.
        columns: Number of columns.
        ends: Whether a column holds its right edge, as in pandas, rather than its left edge.
        fine: Parts of a column in which cells are prepared, for `Cell.MEAN`; training moves the
            columns' edges by whole parts at random, up to half a column either way.
        low: Points below are left out.
        high: Points above are left out.
        is_relative: Whether the axis is scaled to [0, 1] first.
        cell: Reduction of a cell's points.
        reach: Greatest distance of a scan from a column's centre, for `Cell.SCAN`, in axis units.
        minimum: Whether each row's minimum is subtracted first.
        background: Whether a background is estimated by adaptive smoothness penalised least
            squares, and subtracted unless `Change.backgrounds` decides.
        scales: Divisor of each intensity channel.
        powers: Exponent of each intensity channel.
        floor: Least intensity; intensities become logarithms, 0 at the floor and 1 at the maximum.
            0 keeps them linear.
        coordinates: Whether two channels with the column's and the row's position follow.
        derivatized: Whether the intensity stands in the second channel for derivatised samples and
            in the first for others, before a third channel with the column's position.
        change: Random changes.
    """

    name: str
    technique: Technique
    rows: int
    tolerance: float = 0.3
    ignored: tuple[int, ...] = (HELIUM,)
    helium: float = 1.0
    start: float
    width: float
    columns: int
    ends: bool = False
    fine: int = 1
    low: float = -1e9
    high: float = 1e9
    is_relative: bool = False
    cell: Cell
    reach: float = 0.0
    minimum: bool = True
    background: bool = False
    scales: tuple[Scale, ...] = (Scale.SAMPLE,)
    powers: tuple[float, ...] = (1.0,)
    floor: float = 0.0
    coordinates: bool = False
    derivatized: bool = False
    change: Change = Change()

    @property
    def channels(self) -> int:
        """Number of channels of the image."""
        if self.derivatized:
            return 3
        return max(len(self.scales), len(self.powers)) + 2 * self.coordinates

    @property
    def choices(self) -> dict[str, Any]:
        """Parameters as plain values, for a run's identity."""
        return asdict(self)


_EGA, _GC = Technique.EGA, Technique.GC

PRESETS: dict[str, RasterSpec] = {
    preset.name: preset
    for preset in (
        RasterSpec(
            name="ega_benchmark",
            technique=_EGA,
            rows=100,
            tolerance=0.0,
            start=-100.0,
            width=100.0,
            columns=16,
            ends=True,
            cell=Cell.MAXIMUM,
            scales=(Scale.RUN,),
        ),
        RasterSpec(
            name="ega_first_place",
            technique=_EGA,
            rows=100,
            ignored=(),
            helium=0.1,
            start=24.0,
            width=12.0,
            columns=80,
            low=28.0,
            high=1000.0,
            cell=Cell.SCAN,
            reach=16.0,
            minimum=False,
            background=True,
            floor=1e-3,
            coordinates=True,
            change=Change(gain=0.7, backgrounds=True, mix=0.25),
        ),
        # Second place: bins of 25 degrees, three normalisations as channels.
        RasterSpec(
            name="ega_second_place",
            technique=_EGA,
            rows=100,
            start=100.0,
            width=25.0,
            columns=40,
            fine=5,
            cell=Cell.MEAN,
            scales=(Scale.COLUMN, Scale.ROW_SUM, Scale.SAMPLE),
            powers=(0.5, 0.5, 0.5),
            change=Change(gain=0.25),
        ),
        RasterSpec(
            name="gcms_benchmark",
            technique=_GC,
            rows=351,
            tolerance=0.5,
            start=0.0,
            width=0.5,
            columns=50,
            ends=True,
            cell=Cell.MAXIMUM,
            scales=(Scale.RUN,),
        ),
        RasterSpec(
            name="gcms_first_place",
            technique=_GC,
            rows=500,
            tolerance=0.5,
            ignored=(),
            start=0.0,
            width=0.05,
            columns=999,
            cell=Cell.MAXIMUM,
            scales=(Scale.SAMPLE,) * 3,
            powers=(1 / 2.5, 1 / 2, 1 / 3),
            change=Change(gain=0.3, mix=0.25, shift=20),
        ),
        RasterSpec(
            name="gcms_second_place",
            technique=_GC,
            rows=192,
            tolerance=0.5,
            start=0.0,
            width=1 / 256,
            columns=256,
            is_relative=True,
            cell=Cell.SUM,
            floor=1e-4,
            derivatized=True,
            change=Change(gain=0.3, narrow=0.5),
        ),
    )
}
"""Presets by name."""

DEFAULTS = {Technique.EGA: "ega_first_place", Technique.GC: "gcms_second_place"}
"""Default preset by technique."""


def get_preset(name: str) -> RasterSpec:
    """Preset of a name.

    Raises:
        UnknownNameError: If no preset has this name.
    """
    if name not in PRESETS:
        raise unknown_name("raster", name, PRESETS)
    return PRESETS[name]

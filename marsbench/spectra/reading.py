"""Read the CSV of a measurement into a `Spectrum`.

The challenges' columns are ``time,temp,m/z,abundance`` (EGA-MS) and ``time,mass,intensity``
(GC-MS); other columns are ignored.
"""

import numpy as np

from marsbench.base.errors import DataError
from marsbench.spectra.spectrum import Floats, Instrument, Spectrum, Technique

COLUMNS: dict[Technique, tuple[str, ...]] = {
    Technique.EGA: ("time", "temp", "m/z", "abundance"),
    Technique.GC: ("time", "mass", "intensity"),
}
"""Columns of a measurement's CSV, in the order time, (temperature,) m/z, abundance."""

LONGEST_MINUTES = 200.0
"""Longest GC run in minutes; longer times are in seconds. A run takes some 25 to 60 minutes."""

MOST_DEGREES = 3000.0
"""Highest temperature in degrees C, far above any oven of an evolved-gas analyser."""


def read_spectrum(
    content: bytes,
    technique: Technique,
    where: str,
    *,
    instrument: Instrument = Instrument.COMMERCIAL,
    derivatized: bool | None = None,
) -> Spectrum:
    """Read a measurement.

    Args:
        content: Its CSV.
        technique: Technique, which decides the columns.
        where: Name of the sample in messages.
        instrument: Instrument of the measurement.
        derivatized: Whether a derivatisation agent was added (GC-MS only).

    Returns:
        The points in the order of the file. ``Spectrum.axis`` of a GC run is in minutes, for any
        unit of the file; the unit is kept in ``meta["time_unit"]``.

    Raises:
        DataError: If the file is empty or damaged, a column or number is missing, time decreases,
            an ion is measured twice at the same time, or only a single ion is measured. Names the
            file.
    """
    columns = _columns(content, COLUMNS[technique], where)
    time, abundance = columns[0], columns[-1]
    mz = columns[-2]
    _check(time, mz, where)
    meta: dict[str, str] = {}
    if technique is Technique.EGA:
        axis = columns[1]
        if axis.max() > MOST_DEGREES:
            raise DataError(
                f"{where}: temperature reaches {axis.max():g}; expected degrees C.",
                "Correct the column temp.",
            )
    else:
        in_seconds = bool(time[-1] > LONGEST_MINUTES)
        meta["time_unit"] = "s" if in_seconds else "min"
        axis = time / 60.0 if in_seconds else time
    return Spectrum(time, axis, mz, abundance, instrument, derivatized, where, meta)


def _columns(content: bytes, names: tuple[str, ...], where: str) -> list[Floats]:
    import pyarrow as pa
    from pyarrow import csv

    if not content.strip():
        raise DataError(f"{where} is empty.", "Unpack the data again.")
    first, _, rows = content.partition(b"\n")
    header = [name.strip('" \r') for name in first.decode("utf-8-sig", "replace").split(",")]
    if absent := [name for name in names if name not in header]:
        raise DataError(
            f"{where} has no column {', '.join(absent)} (only {', '.join(header)}).",
            f"A measurement has the columns {', '.join(names)}.",
        )
    if not rows.strip():
        raise DataError(f"{where} has no rows below its header.", "Unpack the data again.")
    try:
        table = csv.read_csv(
            pa.BufferReader(content),
            read_options=csv.ReadOptions(use_threads=False, column_names=header, skip_rows=1),
            convert_options=csv.ConvertOptions(
                include_columns=list(names),
                column_types={name: pa.float64() for name in names},
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{where} is damaged: {error}.", "Unpack the data again.") from error
    columns = []
    for name in names:
        column = table.column(name)
        # Empty fields are null in Arrow and NaN in numpy.
        values: Floats = column.to_numpy().astype(np.float64, copy=False)
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise DataError(
                f"{where}: column {name} is empty or not finite in {len(bad)} row(s), first in "
                f"line {int(bad[0]) + 2}.",
                "Remove those rows, or unpack the data again.",
            )
        columns.append(values)
    return columns


def _check(time: Floats, mz: Floats, where: str) -> None:
    falls = np.flatnonzero(np.diff(time) < 0)
    if len(falls):
        raise DataError(
            f"{where}: time decreases in {len(falls)} place(s), the first at line "
            f"{int(falls[0]) + 3}.",
            "Sort the rows by time.",
        )
    if mz.min() < 0:
        raise DataError(f"{where}: an m/z is negative ({mz.min():g}).", "Correct the file.")
    if mz.min() == mz.max():
        raise DataError(
            f"{where} has a single ion (m/z {mz[0]:g}); expected several.",
            "Remove the sample.",
        )
    # Within a scan the ions come in rising order, so most files pass this quick check.
    same_time = np.diff(time) == 0
    if (np.diff(mz)[same_time] > 0).all():
        return
    order = np.lexsort((mz, time))
    twice = (np.diff(time[order]) == 0) & (np.diff(mz[order]) == 0)
    if twice.any():
        first = int(order[int(np.flatnonzero(twice)[0]) + 1])
        raise DataError(
            f"{where}: {int(twice.sum())} ion(s) are measured twice at one time, the first at line "
            f"{first + 2} (time {time[first]:g}, m/z {mz[first]:g}).",
            "Remove the repeated rows.",
        )

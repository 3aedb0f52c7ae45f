"""Reading the CSV of a measurement, intact and damaged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from marsbench.base.errors import DataError
from marsbench.spectra.reading import read_spectrum
from marsbench.spectra.spectrum import Instrument, Spectrum, Technique
from tests.spectra.helpers import (
    EGA_HEADER,
    GC_HEADER,
    chromatogram,
    commercial,
    one_by_one,
    to_csv,
)


def ega(content: str | bytes) -> Spectrum:
    raw = content.encode() if isinstance(content, str) else content
    return read_spectrum(raw, Technique.EGA, "S1.csv")


def gc(content: str) -> Spectrum:
    return read_spectrum(content.encode(), Technique.GC, "S1.csv")


@pytest.mark.parametrize("made", [commercial(), one_by_one()], ids=["commercial", "testbed"])
def test_every_number_is_read_as_it_is(made: Spectrum) -> None:
    read = ega(to_csv(made))
    for name in ("time", "axis", "mz", "abundance"):
        assert (getattr(read, name) == getattr(made, name)).all()
        assert getattr(read, name).dtype == np.float64
    assert read.where == "S1.csv"


def test_a_chromatogram_has_its_time_as_axis() -> None:
    made = chromatogram()
    read = gc(to_csv(made).decode())
    assert (read.axis == made.time).all()
    assert (read.mz == made.mz).all()
    assert read.meta["time_unit"] == "min"


@pytest.mark.parametrize(("last", "unit", "end"), [(60.0, "min", 60.0), (3000.0, "s", 50.0)])
def test_time_in_seconds_becomes_minutes(last: float, unit: str, end: float) -> None:
    read = gc(f"{GC_HEADER}0,1,5\n0,2,5\n{last},1,5\n{last},2,5\n")
    assert read.meta["time_unit"] == unit
    assert read.axis[-1] == end
    assert read.time[-1] == last


def test_what_is_known_of_the_sample_is_kept() -> None:
    read = read_spectrum(
        f"{GC_HEADER}0,1,5\n0,2,5\n".encode(),
        Technique.GC,
        "S1.csv",
        instrument=Instrument.SAM_TESTBED,
        derivatized=True,
    )
    assert read.instrument is Instrument.SAM_TESTBED
    assert read.derivatized is True


@pytest.mark.parametrize(
    "header",
    [
        "time,temp,m/z,abundance",
        "﻿time,temp,m/z,abundance",
        '"time","temp","m/z","abundance"',
        "time, temp, m/z, abundance",
        "time,temp,m/z,abundance\r",
    ],
    ids=["plain", "byte order mark", "quoted", "spaced", "windows"],
)
def test_headers_as_programs_write_them(header: str) -> None:
    read = ega(f"{header}\n0,20,1,3e-9\n0,20,2,-4e-9")
    assert read.abundance.tolist() == [3e-9, -4e-9]


def test_columns_in_any_order_and_more_of_them() -> None:
    read = ega("note,abundance,m/z,temp,time\na,7,1,20,0\nb,8,2,20,0\n")
    assert read.abundance.tolist() == [7, 8]
    assert read.mz.tolist() == [1, 2]
    assert read.axis.tolist() == [20, 20]


BAD = {
    "empty": ("", "is empty"),
    "blank": (" \n\n", "is empty"),
    "header only": (EGA_HEADER, "no rows below its header"),
    "header without an end": (EGA_HEADER.strip(), "no rows below its header"),
    "no m/z": ("time,temp,abundance\n0,1,2\n", "no column m/z"),
    "two absent": ("time,abundance\n0,1\n", "no column temp, m/z"),
    "columns of the other": (f"{GC_HEADER}0,1,2\n", "no column temp, m/z, abundance"),
    "text": (f"{EGA_HEADER}0,20,1,3\n0,20,2,high\n", r"Row #3.*'high'"),
    "NaN": (
        f"{EGA_HEADER}0,20,1,3\n0,20,2,NaN\n",
        "column abundance is empty or not finite.*line 3",
    ),
    "an empty cell": (
        f"{EGA_HEADER}0,,1,3\n0,20,2,3\n",
        "column temp is empty or not finite.*line 2",
    ),
    "infinite": (f"{EGA_HEADER}0,20,1,inf\n0,20,2,3\n", "abundance is empty or not finite.*line 2"),
    "a row cut short": (f"{EGA_HEADER}0,20,1,3\n0,20,2\n", "Expected 4 columns, got 3"),
    "binary": (b"\xff\xfe\x00\x01" * 20, "no column time"),
    "binary rows": (EGA_HEADER.encode() + b"\xff\xfe,1,2,3\n", "is damaged"),
    "time decreases": (f"{EGA_HEADER}0,20,1,3\n5,20,1,3\n4,20,2,3\n", "decreases.*line 4"),
    "an ion twice": (f"{EGA_HEADER}0,20,1,3\n0,20,2,3\n0,20,1,3\n", r"twice.*line 4 .*m/z 1\)"),
    "an ion twice in a row": (f"{EGA_HEADER}0,20,1,3\n0,20,1,3\n0,20,2,3\n", "twice.*line 3"),
    "one ion": (f"{EGA_HEADER}0,20,18,3\n1,21,18,3\n", "a single ion"),
    "negative m/z": (f"{EGA_HEADER}0,20,-1,3\n0,20,2,3\n", "m/z is negative"),
    "not in degrees": (f"{EGA_HEADER}0,20,1,3\n1,90000,2,3\n", "expected degrees C"),
}


@pytest.mark.parametrize(("content", "told"), BAD.values(), ids=list(BAD))
def test_bad_files_are_named(content: str | bytes, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        ega(content)
    assert "S1.csv" in str(caught.value)


_COLUMN = hnp.arrays(np.float64, 12, elements=st.floats(-1e12, 1e12, allow_subnormal=True))


@given(abundance=_COLUMN, axis=hnp.arrays(np.float64, 12, elements=st.floats(-273, 3000)))
@settings(max_examples=60, deadline=None)
def test_any_number_survives_the_csv(
    abundance: NDArray[np.float64], axis: NDArray[np.float64]
) -> None:
    time = np.repeat(np.arange(4.0), 3)
    made = Spectrum(time, axis, np.tile(np.arange(3.0), 4), abundance)
    read = ega(to_csv(made))
    assert read.abundance.tobytes() == abundance.tobytes()
    assert (read.axis == axis).all()


def test_points_are_in_units_of_the_largest() -> None:
    points = ega(f"{EGA_HEADER}0,20,1,-8e-9\n0,20,2,4e-9\n").points
    assert points.dtype == np.float32
    assert points.tolist() == [[20, 1, -1], [20, 2, 0.5]]

"""Rasters of spectra, for every preset and for odd runs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from marsbench.base.errors import DataError
from marsbench.spectra import raster
from marsbench.spectra.presets import PRESETS, Cell, RasterSpec, Scale, get_preset
from marsbench.spectra.spectrum import Spectrum
from marsbench.tasks.kinds import Technique
from tests.spectra import helpers
from tests.spectra.helpers import chromatogram, commercial, one_by_one, scaled

EGA = [p for p in PRESETS.values() if p.technique is Technique.EGA]
GC = [p for p in PRESETS.values() if p.technique is Technique.GC]
RUNS = {
    "commercial": commercial(),
    "hot and cold": commercial(1, low=-63, high=1484),
    "ends early": commercial(2, low=30, high=327),
    "more ions": commercial(3, scans=20, ions=200),
    "few ions": commercial(4, ions=8),
    "testbed": one_by_one(),
}
CHROMATOGRAMS = {
    "25 minutes": chromatogram(0, minutes=25.0),
    "longer": chromatogram(1, minutes=40.0),
    "short": chromatogram(2, scans=9, minutes=3.0),
}

tiny = RasterSpec(
    name="tiny",
    technique=Technique.EGA,
    rows=40,
    start=0.0,
    width=10.0,
    columns=10,
    cell=Cell.MAXIMUM,
    minimum=False,
)


def image(spectrum: Spectrum, spec: RasterSpec) -> NDArray[np.float32]:
    return raster.draw(raster.prepare(spectrum, spec), spec, derivatized=spectrum.derivatized)


def points(*rows: tuple[float, float, float]) -> Spectrum:
    """Run of given (temperature, m/z, abundance), each at its own time unless m/z rises."""
    axis, mz, abundance = np.array(rows).T
    scan = np.concatenate([[0], np.cumsum(np.diff(axis) != 0)]).astype(float)
    return Spectrum(scan, axis, mz, abundance)


@pytest.mark.parametrize("name", RUNS)
def test_ega_benchmark_is_the_challenges(name: str) -> None:
    found = image(RUNS[name], get_preset("ega_benchmark"))
    assert found.shape == (1, 100, 16)
    assert found.dtype == np.float32
    assert np.array_equal(found[0], helpers.ega_benchmark(RUNS[name]))


@pytest.mark.parametrize("name", CHROMATOGRAMS)
def test_gcms_benchmark_is_the_challenges(name: str) -> None:
    found = image(CHROMATOGRAMS[name], get_preset("gcms_benchmark"))
    assert found.shape == (1, 351, 50)
    assert np.array_equal(found[0], helpers.gcms_benchmark(CHROMATOGRAMS[name]))


@given(
    axis=st.lists(st.integers(-200, 1600).map(lambda t: t / 2 if t % 3 else float(t)), min_size=2),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_points_on_the_edges_of_columns_fall_where_pandas_puts_them(
    axis: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ega = get_preset("ega_benchmark")
    mz = rng.integers(0, 8, len(axis)).astype(float)
    spectrum = Spectrum(
        np.arange(len(axis), dtype=float), np.array(axis), mz, rng.normal(0, 1, len(axis))
    )
    if set(mz.tolist()) <= {4.0}:
        return
    assert np.array_equal(image(spectrum, ega)[0], helpers.ega_benchmark(spectrum))


def test_a_peak_that_the_image_does_not_show_still_sets_the_scale_of_the_benchmark() -> None:
    late = Spectrum(
        np.array([1.0, 1.0, 2.0, 2.0, 30.0, 30.0]),
        np.array([1.0, 1.0, 2.0, 2.0, 30.0, 30.0]),
        np.array([10.0, 20.0, 10.0, 20.0, 10.0, 20.0]),
        np.array([0.0, 0.0, 5.0, 1.0, 20.0, 10.0]),
    )
    spec = get_preset("gcms_benchmark")
    assert image(late, spec).max() == 0.25
    assert image(late, replace(spec, scales=(Scale.SAMPLE,))).max() == 1.0


@pytest.mark.parametrize("spec", PRESETS.values(), ids=list(PRESETS))
def test_shapes_and_range(spec: RasterSpec) -> None:
    runs = RUNS if spec.technique is Technique.EGA else CHROMATOGRAMS
    for spectrum in runs.values():
        prepared = raster.prepare(spectrum, spec)
        assert prepared.dtype == np.float32
        for rng in (None, np.random.default_rng(0), np.random.default_rng(1)):
            drawn = raster.draw(prepared, spec, rng, derivatized=spectrum.derivatized)
            assert drawn.shape == (spec.channels, spec.rows, spec.columns)
            assert drawn.dtype == np.float32
            assert np.isfinite(drawn).all()
            assert drawn.min() >= 0
            assert drawn.max() <= 1
    assert drawn.max() == 1


def test_channels_of_the_presets() -> None:
    channels = {name: spec.channels for name, spec in PRESETS.items()}
    assert channels == {
        "ega_benchmark": 1,
        "ega_first_place": 3,
        "ega_second_place": 3,
        "gcms_benchmark": 1,
        "gcms_first_place": 3,
        "gcms_second_place": 3,
    }
    first = image(RUNS["commercial"], get_preset("ega_first_place"))
    assert (first[1] == np.linspace(0, 1, 80, dtype=np.float32)).all()
    assert (np.linspace(0, 1, 100, dtype=np.float32) == first[2].T).all()


def test_derivatised_samples_stand_in_the_second_channel() -> None:
    spec = get_preset("gcms_second_place")
    prepared = raster.prepare(CHROMATOGRAMS["longer"], spec)
    no, yes = (raster.draw(prepared, spec, derivatized=flag) for flag in (False, True))
    assert no[0].any()
    assert not no[1].any()
    assert (yes[1] == no[0]).all()
    assert not yes[0].any()
    assert (yes[2] == no[2]).all()
    assert (yes[2] == np.linspace(0, 1, 256, dtype=np.float32)).all()


def test_first_place_of_gc_has_three_powers() -> None:
    a, b, c = image(CHROMATOGRAMS["longer"], get_preset("gcms_first_place")).astype(np.float64)
    assert np.allclose(a, b ** (2 / 2.5), atol=1e-6)
    assert np.allclose(c, b ** (2 / 3), atol=1e-6)


@pytest.mark.parametrize("spec", PRESETS.values(), ids=list(PRESETS))
@pytest.mark.parametrize("factor", [2.0**-40, 2.0**30, 1e13])
def test_the_unit_of_abundance_does_not_matter(spec: RasterSpec, factor: float) -> None:
    """Powers of two change no bit, other factors only the rounding."""
    ega = spec.technique is Technique.EGA
    spectrum = RUNS["commercial"] if ega else CHROMATOGRAMS["longer"]
    here, there = (image(s, spec) for s in (spectrum, scaled(spectrum, factor)))
    if factor == 1e13:
        assert np.allclose(there, here, rtol=0, atol=1e-4)
    else:
        assert np.array_equal(here, there)


def test_whole_rows_are_chosen_by_the_tolerance() -> None:
    run = points((5, 17.6, 1), (5, 17.8, 2), (5, 18.0, 4), (5, 18.2, 6), (5, 18.4, 8), (15, 30, 10))

    def at(tolerance: float) -> float:
        cells = raster.prepare(run, replace(tiny, tolerance=tolerance))
        assert (np.flatnonzero(cells.any(axis=1)) == [18, 30]).all()
        return float(cells[18, 0] * 10)

    assert at(0.0) == pytest.approx(4)
    assert at(0.3) == pytest.approx((2 + 4 + 6) / 3)  # one time, so their mean
    assert at(0.5) == pytest.approx((1 + 2 + 4 + 6 + 8) / 5)


def test_ions_of_one_row_at_different_times_are_not_averaged() -> None:
    run = points((5, 17.9, 2), (6, 18.1, 6), (15, 30, 10))
    assert raster.prepare(run, tiny)[18, 0] == pytest.approx(0.6)


def test_ignored_ions_and_those_beyond_the_last_row() -> None:
    run = points((5, 2, 1), (5, 4, 1000), (5, 39.4, 2), (5, 39.8, 50), (5, 41, 50))
    cells = raster.prepare(run, replace(tiny, tolerance=0.5))
    assert (np.flatnonzero(cells.any(axis=1)) == [2, 39]).all()
    assert cells[39, 0] == 1


@pytest.mark.parametrize(("ends", "columns"), [(False, [0, 1, 2]), (True, [0, 1])])
def test_edges_of_columns(ends: bool, columns: list[int]) -> None:
    run = points((0, 1, 1), (0, 2, 1), (10, 1, 1), (20, 1, 1), (100, 1, 1))
    cells = raster.prepare(run, replace(tiny, ends=ends))
    assert np.flatnonzero(cells[1]).tolist() == (columns if not ends else [0, 1, 9])


def test_cells_hold_maximum_mean_and_sum() -> None:
    run = points((1, 7, 1), (2, 7, 2), (3, 7, 6), (15, 7, 10))
    found = {
        cell: raster.prepare(run, replace(tiny, cell=cell))[7, :2].tolist()
        for cell in (Cell.MAXIMUM, Cell.MEAN, Cell.SUM)
    }
    assert found[Cell.MAXIMUM] == pytest.approx([0.6, 1])
    assert found[Cell.MEAN] == pytest.approx([0.3, 1])
    assert found[Cell.SUM] == pytest.approx([0.9, 1])


def test_minima_are_taken_away_row_by_row() -> None:
    run = points((1, 7, -3), (1, 8, 100), (15, 7, 1), (15, 8, 102))
    cells = raster.prepare(run, replace(tiny, minimum=True))
    assert cells[7, :2].tolist() == [0, 1]
    assert cells[8, :2].tolist() == [0, 0.5]


@pytest.mark.parametrize("spec", EGA, ids=lambda spec: spec.name)
def test_runs_of_negative_abundance_or_none_at_all(spec: RasterSpec) -> None:
    run = commercial(5)
    for abundance in (-np.abs(run.abundance) - 1e-9, np.zeros(len(run)), np.full(len(run), -1.0)):
        drawn = image(replace(run, abundance=abundance), spec)
        assert np.isfinite(drawn).all()
        assert drawn.min() >= 0
        assert drawn.max() <= 1


@pytest.mark.parametrize("name", ["ega_benchmark", "ega_second_place"])
def test_the_order_of_temperatures_does_not_matter(name: str) -> None:
    """Falling and jumping temperatures give the same image."""
    spec, run, ions = get_preset(name), commercial(6), 60
    order = np.random.default_rng(0).permutation(60)
    again = replace(
        run,
        axis=run.axis.reshape(-1, ions)[order].ravel(),
        abundance=run.abundance.reshape(-1, ions)[order].ravel(),
    )
    assert image(again, spec) == pytest.approx(image(run, spec), abs=1e-6)


def test_scans_are_found_by_temperature_wherever_they_are() -> None:
    spec = replace(tiny, cell=Cell.SCAN, reach=6.0, ignored=(), floor=0.0)
    axis = np.array([95.0, 5.0, 55.0, 45.0])  # falling, rising, falling
    run = Spectrum(
        np.repeat(np.arange(4.0), 3),
        np.repeat(axis, 3),
        np.tile([1.0, 2.0, 3.0], 4),
        np.repeat([10.0, 1.0, 6.0, 5.0], 3),
    )
    row = image(run, spec)[0, 1]
    assert (np.flatnonzero(row) == [4, 5, 9]).all()
    assert row[[4, 5, 9]] == pytest.approx([4 / 9, 5 / 9, 1])  # the lowest, 1, is its floor


def test_columns_that_no_scan_is_near_are_empty() -> None:
    spec = get_preset("ega_first_place")
    found = image(commercial(2, low=30, high=327), spec)[0]
    last = int((327 + 40 + 16 - 24) / 12)
    assert found[:, :20].any()
    assert not found[:, last + 1 :].any()
    assert (raster.draw(raster.prepare(RUNS["ends early"], spec), spec, None)[0] <= 1).all()


def test_runs_of_one_ion_after_the_other_become_scans_of_four_degrees() -> None:
    spec = get_preset("ega_first_place")
    run = one_by_one()
    prepared = raster.prepare(run, spec)
    places = prepared[0]
    inside = run.axis[(run.axis > 28) & (run.axis < 1000)]
    assert len(places) == len(np.unique(np.floor(inside / raster.SWEEP)))
    assert (np.diff(places) > 0).all()
    curves = prepared[1:101]
    measured = np.unique(np.rint(run.mz[np.abs(run.mz - np.rint(run.mz)) < 0.3])).astype(int)
    shown = np.flatnonzero(curves.any(axis=1))
    assert set(shown) <= set(measured[measured < 100])
    # What an ion lacks is between its neighbours in temperature, never zero by default.
    one = Spectrum(
        np.arange(6.0),
        np.array([41.0, 42.0, 45.0, 49.0, 50.0, 53.0]),
        np.array([1.0, 2.0, 1.0, 1.0, 2.0, 2.0]),
        np.array([10.0, 2.0, 6.0, 8.0, 4.0, 4.0]),
    )
    scans = raster.prepare(one, replace(tiny, cell=Cell.SCAN, reach=6.0))
    assert scans[0].tolist() == [41.5, 45.0, 49.5, 53.0]
    assert scans[1 + 1] == pytest.approx([1, 0.6, 0.8, 0.8])
    assert scans[1 + 2] == pytest.approx([0.2, 0.2 + 0.2 * 3.5 / 8, 0.4, 0.4])


def test_scans_are_drawn_as_often_as_their_distance_says() -> None:
    """Weight 1 / (12 + distance) within 16 degrees, by a chi-square test in every column."""
    spec = get_preset("ega_first_place")
    rng = np.random.default_rng(7)
    places = np.sort(rng.uniform(20, 1010, 260)).astype(np.float32)
    places = rng.permutation(places)
    draws = 4000
    counts = np.zeros((spec.columns, len(places)))
    for _ in range(draws):
        chosen, shown = raster._choose(places, spec, rng)
        counts[np.arange(spec.columns), chosen] += 1
    assert (shown == 1).all()
    centres = 30 + 12 * np.arange(80)
    chances = []
    for centre, found in zip(centres, counts, strict=True):
        distance = np.abs(places.astype(float) - centre)
        weight = np.where(distance <= 16, 1 / (12 + distance), 0)
        assert found[weight == 0].sum() == 0
        expected = draws * weight / weight.sum()
        chances.append(chisquare(found[weight > 0], expected[weight > 0]).pvalue)
    assert min(chances) > 1e-4  # of 80 columns
    assert 0.3 < np.mean(chances) < 0.7
    nearest = raster._choose(places, spec, None)[0]
    assert (nearest == np.abs(places[None] - centres[:, None]).argmin(axis=1)).all()


@pytest.mark.parametrize("spec", PRESETS.values(), ids=list(PRESETS))
def test_the_same_seed_gives_the_same_image(spec: RasterSpec) -> None:
    spectrum = RUNS["commercial"] if spec.technique is Technique.EGA else CHROMATOGRAMS["longer"]
    prepared = raster.prepare(spectrum, spec)
    assert prepared.tobytes() == raster.prepare(spectrum, spec).tobytes()
    before = prepared.copy()
    one, two, other = (
        raster.draw(prepared, spec, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert one.tobytes() == two.tobytes()
    assert np.array_equal(prepared, before, equal_nan=True)  # drawn from, never changed
    assert raster.draw(prepared, spec).tobytes() == raster.draw(prepared, spec).tobytes()
    if any(value not in (0, 0.0, 1.0, False) for value in spec.choices["change"].values()):
        assert one.tobytes() != other.tobytes()


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 80),
    negative=st.booleans(),
    name=st.sampled_from(sorted(PRESETS)),
    own_times=st.booleans(),
)
@example(seed=10_000, count=1, negative=True, name="ega_first_place", own_times=False)
@settings(max_examples=80, deadline=None)
def test_any_points_give_an_image_between_0_and_1(
    seed: int, count: int, negative: bool, name: str, own_times: bool
) -> None:
    spec, rng = get_preset(name), np.random.default_rng(seed)
    time = np.sort(rng.uniform(0, 60, count))
    if not own_times:
        time = np.round(time / 10) * 10
    axis = time if spec.technique is Technique.GC else rng.uniform(30, 999, count)
    exponent = rng.uniform(-300, 300) if seed % 5 == 0 else rng.uniform(-12, 7)
    abundance = rng.exponential(1.0, count) ** 3 * 10.0**exponent
    if negative:
        abundance *= rng.choice([-1, 1], count)
    mz = rng.integers(0, 90, count) + (rng.choice([0, 0.1, 0.4], count) if seed % 2 else 0.0)
    mz[0] = 18.0
    spectrum = Spectrum(time, axis, mz, abundance)
    prepared = raster.prepare(spectrum, spec)
    for chance in (None, np.random.default_rng(seed)):
        drawn = raster.draw(prepared, spec, chance, derivatized=negative)
        assert drawn.shape == (spec.channels, spec.rows, spec.columns)
        assert np.isfinite(drawn).all()
        assert drawn.min() >= 0
        assert drawn.max() <= 1


def test_a_run_that_the_image_shows_nothing_of_is_named() -> None:
    beyond = replace(points((5, 300, 1), (6, 301, 1)), where="S9.csv")
    with pytest.raises(DataError, match=r"S9\.csv has no point"):
        raster.prepare(beyond, get_preset("ega_benchmark"))
    cold = replace(points((5, 18, 1), (6, 18, 1)), where="S9.csv")
    with pytest.raises(DataError, match="28 to 1000"):
        raster.prepare(cold, get_preset("ega_first_place"))

"""Engineered features: their values, and odd runs."""

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from marsbench.spectra.features import engineered, feature_names
from marsbench.spectra.spectrum import Instrument, Spectrum, Technique

NAMES = feature_names(Technique.EGA)


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """Missing ions and empty bins give NaN without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def describe(spectrum: Spectrum, technique: Technique = Technique.EGA) -> dict[str, float]:
    found = engineered(spectrum, technique)
    assert found.dtype == np.float32
    names = feature_names(technique)
    assert found.shape == (len(names),)
    assert not np.isinf(found).any()
    return dict(zip(names, found.tolist(), strict=True))


def bump(axis: NDArray[np.float64], at: float, width: float = 40.0) -> NDArray[np.float64]:
    return np.exp(-0.5 * ((axis - at) / width) ** 2)


def grid(
    peaks: dict[int, tuple[float, float]],
    ions: int = 100,
    scans: int = 200,
    scale: float = 1e-8,
) -> Spectrum:
    """Run on a grid: per ion, height and temperature of a peak above a background."""
    axis = np.linspace(30.0, 1000.0, scans)
    values = np.full((scans, ions), 0.01)
    for ion, (height, at) in peaks.items():
        values[:, ion] += height * bump(axis, at)
    return Spectrum(
        time=np.repeat(np.arange(scans) * 5.2, ions),
        axis=np.repeat(axis, ions),
        mz=np.tile(np.arange(ions, dtype=np.float64), scans),
        abundance=values.ravel() * scale,
    )


def shuffled(spectrum: Spectrum, seed: int = 0) -> Spectrum:
    order = np.random.default_rng(seed).permutation(len(spectrum))
    return Spectrum(
        spectrum.time[order], spectrum.axis[order], spectrum.mz[order], spectrum.abundance[order]
    )


def test_names_are_one_per_feature() -> None:
    for technique in Technique:
        names = feature_names(technique)
        assert len(names) == len(set(names))
    assert not any(name.startswith("mz4_") for name in NAMES)
    assert "mz99_peak" in NAMES
    assert "mz100_peak" not in NAMES


def test_one_peak_is_measured() -> None:
    found = describe(grid({18: (1.0, 300.0), 44: (0.1, 700.0), 4: (50.0, 500.0)}))
    assert found["mz18_peak"] == pytest.approx(0.0)
    assert found["mz44_peak"] == pytest.approx(-1.0, abs=0.01)
    assert found["mz18_peak_at"] == pytest.approx(300.0, abs=5)
    assert found["mz44_peak1_at"] == pytest.approx(700.0, abs=25)
    assert found["mz44_centroid"] == pytest.approx(700.0, abs=2)
    assert found["mz18_spread"] == pytest.approx(40.0, abs=2)
    # A Gaussian's full width at half maximum is 2.355 standard deviations.
    assert found["mz18_width"] == pytest.approx(94.0, abs=26)
    assert found["mz44_top1%_at"] == pytest.approx(700.0, abs=5)
    assert found["mz44_top20%_at_std"] > found["mz44_top1%_at_std"]
    assert found["sample_largest_ion"] == 18
    assert found["sample_helium"] == pytest.approx(np.log10(50.0), abs=0.01)
    assert found["ratio_44_18_0_1200"] == pytest.approx(-1.0, abs=0.05)
    assert np.isnan(found["mz18_peak2_at"])


def test_a_second_peak_and_ions_that_go_together() -> None:
    run = grid({64: (1.0, 600.0), 48: (0.5, 600.0), 32: (0.3, 300.0)})
    second = grid({64: (0.25, 900.0)}).abundance
    both = Spectrum(run.time, run.axis, run.mz, run.abundance + second)
    found = describe(both)
    assert found["mz64_peak2_at"] == pytest.approx(900.0, abs=25)
    assert found["mz64_peak2_height"] == pytest.approx(np.log10(0.25), abs=0.05)
    assert found["together_48_64"] > 0.9 > 0.1 > found["together_32_64"]


def test_units_do_not_matter() -> None:
    peaks = {18: (1.0, 300.0), 44: (0.1, 700.0)}
    counts, amperes = (engineered(grid(peaks, scale=s), Technique.EGA) for s in (1e6, 1e-9))
    np.testing.assert_allclose(counts, amperes, rtol=1e-3, atol=1e-4, equal_nan=True)


def test_order_of_points_does_not_matter() -> None:
    run = grid({18: (1.0, 300.0)})
    found, expected = describe(shuffled(run)), describe(run)
    # How often the axis falls is a matter of order.
    del found["sample_axis_falls"], expected["sample_axis_falls"]
    np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=1e-3)


def test_fractional_masses_and_helium() -> None:
    run = grid({11: (1.0, 300.0)})
    near = Spectrum(run.time, run.axis, np.where(run.mz == 11, 11.1, run.mz), run.abundance)
    assert np.array_equal(
        engineered(near, Technique.EGA), engineered(run, Technique.EGA), equal_nan=True
    )
    between = Spectrum(run.time, run.axis, np.where(run.mz == 11, 11.5, run.mz), run.abundance)
    assert np.isnan(describe(between)["mz11_peak"])


def test_testbed_with_uneven_channels() -> None:
    rng = np.random.default_rng(0)
    points = 20_000
    time = np.arange(points, dtype=np.float64) * 0.02
    axis = np.linspace(0.0, 1000.0, points, dtype=np.float64) + rng.normal(0, 5, points)
    mz = rng.integers(2, 500, points).astype(np.float64) + rng.choice([0.0, 0.1, 0.5], points)
    mz[mz == 30] = 31.0
    mz[100] = 30.0
    abundance = rng.poisson(5 * (1 + 100 * (mz == 18) * bump(axis, 400))).astype(np.float64)
    found = describe(Spectrum(time, axis, mz, abundance, Instrument.SAM_TESTBED))
    assert found["sample_testbed"] == 1
    assert np.isnan(found["sample_helium"]) == (not (np.abs(mz - 4) < 0.3).any())
    assert found["mz18_centroid"] == pytest.approx(400, abs=30)
    assert np.isnan(found["mz0_area"])


@pytest.mark.parametrize("ions", [8, 60])
def test_few_channels(ions: int) -> None:
    found = describe(grid({5: (1.0, 300.0)}, ions=ions))
    assert found["sample_channels"] == ions - 1
    assert np.isnan([v for k, v in found.items() if k.startswith(f"mz{ions}_")]).all()
    assert np.isnan(found["ratio_76_64_0_1200"])
    assert np.isnan(found["together_44_64"])


def test_bins_outside_the_run_are_missing_and_gaps_within_are_filled() -> None:
    run = grid({18: (1.0, 300.0)}, scans=12)
    found = describe(Spectrum(run.time, run.axis + 100, run.mz, run.abundance))
    curve = [v for k, v in found.items() if k.startswith("mz18_of_ion_")]
    measured = np.isfinite(curve)
    # Scans lie 88 degrees apart, from 130 to 1100; a bin is 50 degrees wide.
    assert not measured[:2].any()
    assert measured[2:23].all()
    assert not measured[23:].any()


@pytest.mark.parametrize("abundance", [0.0, 1.0, -1.0])
def test_runs_without_signal(abundance: float) -> None:
    run = grid({})
    flat = Spectrum(run.time, run.axis, run.mz, np.full(len(run), abundance))
    assert describe(flat)["mz18_peak"] == -5


def test_runs_without_any_ion() -> None:
    run = grid({})
    for kept in (run.mz == 4, np.zeros(len(run), dtype=bool)):
        some = Spectrum(run.time[kept], run.axis[kept], run.mz[kept], run.abundance[kept])
        assert np.isnan(engineered(some, Technique.EGA)).all()


def test_a_single_point() -> None:
    one = np.ones(1)
    found = describe(Spectrum(one * 0, one * 300, one * 18, one))
    assert found["sample_scans"] == 1


def test_gas_chromatography() -> None:
    scans, ions = 300, 250
    axis = np.linspace(0.0, 25.0, scans)
    values = np.full((scans, ions), 5.0)
    values[:, 73] += 1e4 * bump(axis, 12.0, width=0.1)
    run = Spectrum(
        time=np.repeat(axis, ions),
        axis=np.repeat(axis, ions),
        mz=np.tile(np.arange(ions, dtype=np.float64), scans),
        abundance=values.ravel(),
        derivatized=True,
    )
    found = describe(run, Technique.GC)
    assert found["sample_derivatized"] == 1
    assert found["mz73_peak_at"] == pytest.approx(12.0, abs=0.2)
    assert found["mz249_peak"] == -5

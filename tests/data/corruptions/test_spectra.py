import dataclasses
import itertools

import numpy as np
import pytest

from marsbench.data.corruptions.applying import corrupt_spectrum
from marsbench.data.corruptions.randomness import sample_seed
from marsbench.data.corruptions.spectra import BACKGROUND
from marsbench.data.corruptions.table import CORRUPTIONS, SEVERITIES, Subject, names_of
from marsbench.spectra.presets import HELIUM
from marsbench.spectra.spectrum import Floats, Instrument, Spectrum

NAMES = names_of(Subject.SPECTRA)
IONS = (4, 18, 28, 44, 64)


def run(*, swept: bool = False) -> Spectrum:
    """200 scans of five ions with a peak each; of the testbed, one ion after the other."""
    scans, ions = np.indices((200, 5))
    time: Floats = np.asarray(scans * 5 + (ions if swept else 0), np.float64)
    axis: Floats = 30 + time
    height = np.array([1e3, 10.0, 2.0, 5.0, 1.0])[ions]
    peak = height * np.exp(-(((scans - 40 * (ions + 0.5)) / 10) ** 2)) + 0.01 * height
    instrument = Instrument.SAM_TESTBED if swept else Instrument.COMMERCIAL
    mz = np.array(IONS, float)[ions] + (0.1 if swept else 0.0)
    return Spectrum(
        time.ravel(),
        axis.ravel(),
        mz.ravel(),
        peak.ravel(),
        instrument=instrument,
        where="run",
        meta={"a": "b"},
    )


def seed_of(name: str, sample: str = "S1", seed: int = 0) -> int:
    return sample_seed(seed, sample, name)


def grid(spectrum: Spectrum) -> dict[tuple[float, float], float]:
    """Abundance by time and m/z."""
    keys = zip(spectrum.time.tolist(), spectrum.mz.tolist(), strict=True)
    return dict(zip(keys, spectrum.abundance.tolist(), strict=True))


@pytest.mark.parametrize("swept", [False, True], ids=["scans", "swept"])
@pytest.mark.parametrize("name", NAMES)
def test_corrupted_measurements_are_whole(name: str, *, swept: bool) -> None:
    spectrum = run(swept=swept)
    before = dataclasses.replace(spectrum, abundance=spectrum.abundance.copy())
    for severity in SEVERITIES:
        corrupted = corrupt_spectrum(spectrum, name, severity, seed_of(name))
        columns = (corrupted.time, corrupted.axis, corrupted.mz, corrupted.abundance)
        assert {len(column) for column in columns} == {len(corrupted)}
        assert len(corrupted) > 0
        assert all(np.isfinite(column).all() for column in columns)
        assert (np.diff(corrupted.time) >= 0).all()
        assert (corrupted.instrument, corrupted.meta) == (spectrum.instrument, spectrum.meta)
    assert np.array_equal(spectrum.abundance, before.abundance)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_depends_on_its_seed_alone(name: str) -> None:
    first, again = (corrupt_spectrum(run(), name, 3, seed_of(name)) for _ in range(2))
    assert grid(first) == grid(again)
    others = [
        grid(corrupt_spectrum(run(), name, 3, seed_of(name, f"S{i}", seed)))
        for i, seed in ((1, 1), *((i, 0) for i in range(2, 9)))
    ]
    assert any(other != grid(first) for other in others)


@pytest.mark.parametrize("name", NAMES)
def test_damage_grows_with_severity(name: str) -> None:
    spectrum = run()
    largest = {ion: spectrum.abundance[spectrum.mz == ion].max() for ion in IONS}
    clean = grid(spectrum)
    damage = []
    for severity in SEVERITIES:
        total = 0.0
        for i in range(8):
            corrupted = grid(corrupt_spectrum(spectrum, name, severity, seed_of(name, f"S{i}")))
            for (time, mz), value in clean.items():
                total += abs(corrupted.get((time, mz), 0.0) - value) / largest[int(mz)]
        damage.append(total)
    assert all(b > 1.05 * a for a, b in itertools.pairwise(damage)), damage


def test_baseline_is_slow_and_at_most_its_level() -> None:
    spectrum = run()
    level = CORRUPTIONS["baseline_drift"].at(4)["level"]
    corrupted = corrupt_spectrum(spectrum, "baseline_drift", 4, seed_of("baseline_drift"))
    for ion in IONS:
        of_ion = spectrum.mz == ion
        largest = spectrum.abundance[of_ion].max()
        added = (corrupted.abundance - spectrum.abundance)[of_ion] / (level * largest)
        assert added.min() >= -1e-12
        assert added.max() <= 1 + 1e-12
        assert np.ptp(added) > 0.1
        assert np.abs(np.diff(added)).max() < 0.05


def test_mass_shift_moves_a_share_and_keeps_the_sum() -> None:
    spectrum = run()
    share = CORRUPTIONS["mass_shift"].at(3)["share"]
    directions = set()
    for i in range(12):
        shifted = corrupt_spectrum(spectrum, "mass_shift", 3, seed_of("mass_shift", f"S{i}"))
        clean, moved = grid(spectrum), grid(shifted)
        assert sum(moved.values()) == pytest.approx(sum(clean.values()))
        for (time, mz), value in clean.items():
            kept = value if mz == HELIUM else (1 - share) * value
            assert moved[time, mz] == pytest.approx(kept)
        step = 1 if (0.0, 19.0) in moved else -1
        assert moved[0.0, 18.0 + step] == pytest.approx(share * clean[0.0, 18.0])
        directions.add(step)
    assert directions == {1, -1}


def test_shifted_neighbours_add_up() -> None:
    columns = (np.zeros(2), np.zeros(2), np.array([17.0, 18.0]), np.array([8.0, 2.0]))
    share = CORRUPTIONS["mass_shift"].at(5)["share"]
    for i in range(6):
        moved = grid(corrupt_spectrum(Spectrum(*columns), "mass_shift", 5, i))
        up = (0.0, 19.0) in moved
        expected = (1 - share) * 2 + share * 8 if up else 2 * (1 - share)
        assert moved[0.0, 18.0] == pytest.approx(expected)


def test_gain_is_one_factor_per_ion() -> None:
    spectrum = run()
    logs = []
    for i in range(200):
        corrupted = corrupt_spectrum(spectrum, "row_gain", 3, i)
        ratio = corrupted.abundance / spectrum.abundance
        of_ions = [ratio[spectrum.mz == ion] for ion in IONS]
        assert all(np.ptp(r) < 1e-9 * r[0] for r in of_ions)
        logs += [np.log2(r[0]) for r in of_ions]
    assert np.std(logs) == pytest.approx(CORRUPTIONS["row_gain"].at(3)["stops"], rel=0.08)


def test_dropped_scans_leave_gaps_that_grow() -> None:
    spectrum = run()
    before = set(grid(spectrum))
    for severity in SEVERITIES:
        share = CORRUPTIONS["dropped_scans"].at(severity)["share"]
        kept = corrupt_spectrum(spectrum, "dropped_scans", severity, seed_of("dropped_scans"))
        assert set(grid(kept)) < before
        before = set(grid(kept))
        assert len(kept) / len(spectrum) == pytest.approx(1 - share, abs=0.02)
        # A scan is kept or dropped with all its ions.
        _, counts = np.unique(kept.time, return_counts=True)
        assert (counts == len(IONS)).all()


def test_a_single_scan_is_not_dropped() -> None:
    columns = (np.zeros(3), np.zeros(3), np.array([17.0, 18.0, 44.0]), np.ones(3))
    assert len(corrupt_spectrum(Spectrum(*columns), "dropped_scans", 5, 1)) == 3


def test_background_adds_air_and_water_alone() -> None:
    spectrum = run()
    level = CORRUPTIONS["instrument_background"].at(2)["level"]
    corrupted = corrupt_spectrum(spectrum, "instrument_background", 2, 3)
    added = corrupted.abundance - spectrum.abundance
    of_water = added[spectrum.mz == 18]
    # Of the largest abundance, helium aside: water's own peak.
    largest = spectrum.abundance[spectrum.mz != HELIUM].max()
    assert of_water.max() <= level * largest
    assert of_water.min() >= 0.5 * level * largest - 1e-9
    assert np.allclose(added[spectrum.mz == 44], BACKGROUND[44] * of_water)
    assert (added[np.isin(spectrum.mz, (4, 64))] == 0).all()

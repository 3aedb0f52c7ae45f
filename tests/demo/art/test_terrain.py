"""Building blocks of all scenes."""

import numpy as np
import pytest

from marsbench.demo.art import terrain


def test_flat_ground_is_lit_by_the_sine_of_the_elevation() -> None:
    np.testing.assert_allclose(terrain.hillshade(np.zeros((8, 8)), 123.0, 30.0), 0.5)


def test_slopes_facing_the_sun_are_brighter() -> None:
    falls_east = -0.3 * terrain.coordinates(9)[0]
    assert np.allclose(terrain.facing(falls_east, 90.0), 0.3)
    assert np.allclose(terrain.slope_deg(falls_east), np.rad2deg(np.arctan(0.3)))
    towards, away = (terrain.hillshade(falls_east, az, 30.0).mean() for az in (90.0, 270.0))
    assert towards > 0.5 > away


def test_fractal_is_standardised_and_smoother_with_beta() -> None:
    rough, smooth = (terrain.fractal(np.random.default_rng(0), 64, beta) for beta in (1.0, 4.0))
    for field in (rough, smooth):
        assert field.mean() == pytest.approx(0.0, abs=1e-9)
        assert field.std() == pytest.approx(1.0)
    assert np.std(np.diff(smooth)) < 0.3 * np.std(np.diff(rough))


def test_fractal_stretches_along_the_azimuth() -> None:
    field = terrain.fractal(np.random.default_rng(0), 96, 2.5, stretch=4.0, azimuth_deg=90.0)
    east, north = terrain.gradient(field)
    assert np.std(east) < 0.6 * np.std(north)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_cover_takes_the_asked_share(fraction: float) -> None:
    field = terrain.fractal(np.random.default_rng(0), 64, 2.5)
    assert np.mean(terrain.cover(field, fraction, 0.3) > 0.5) == pytest.approx(fraction, abs=0.01)


def test_fractal_wraps_around_only_if_asked() -> None:
    for wraps in (False, True):
        field = terrain.fractal(np.random.default_rng(0), 96, 3.0, wraps=wraps)
        seam = np.abs(field[:, 0] - field[:, -1]).mean()
        assert (seam < 2.0 * np.abs(np.diff(field)).mean()) == wraps


def test_scattered_pixels_differ_and_follow_the_chance() -> None:
    chance = np.zeros((48, 48))
    chance[10, 30:40] = 1.0
    places = terrain.scattered(np.random.default_rng(0), chance, 10)
    assert sorted(places[:, 0].tolist()) == list(range(30, 40))
    assert set(places[:, 1].tolist()) == {10.0}

"""Background of ion curves."""

import numpy as np
import pytest

from marsbench.spectra.background import SHORTEST, estimate
from marsbench.spectra.spectrum import Floats


def bump(at: float, width: float, points: int = 200) -> Floats:
    found: Floats = np.exp(-(((np.arange(points) - at) / width) ** 2))
    return found


def test_it_is_flat_under_a_peak() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1e-3, 200)
    curve = 0.1 + bump(100, 6) + noise
    found = estimate(curve[None])[0]
    assert np.abs(found - 0.1).max() < 0.02
    assert (curve - found).max() == pytest.approx(1.0, abs=0.03)


def test_it_follows_a_slow_drift_and_not_the_peak() -> None:
    rng = np.random.default_rng(0)
    drift = np.linspace(0.1, 0.4, 200)
    found = estimate((drift + bump(60, 5) + rng.normal(0, 1e-3, 200))[None])[0]
    assert np.abs(found - drift).max() < 0.03


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_it_goes_with_the_unit(scale: float) -> None:
    curve = 0.1 + bump(100, 6) + np.random.default_rng(0).normal(0, 1e-3, 200)
    assert estimate(scale * curve[None]) == pytest.approx(scale * estimate(curve[None]), rel=1e-3)


def test_every_curve_has_its_own_and_zero_stays_zero() -> None:
    noise = np.random.default_rng(0).normal(0, 1e-3, (3, 200))
    curves = np.stack([0.1 + bump(50, 6), np.zeros(200), 0.7 + bump(150, 6)])
    curves[[0, 2]] += noise[[0, 2]]
    found = estimate(curves)
    assert found.shape == curves.shape
    assert (found[1] == 0).all()
    assert (found[0] == estimate(curves[:1])[0]).all()
    assert found.mean(axis=1) == pytest.approx([0.1, 0.0, 0.7], abs=0.02)


@pytest.mark.parametrize("points", range(1, 9))
def test_curves_of_few_points(points: int) -> None:
    curves = np.random.default_rng(0).random((4, points))
    found = estimate(curves)
    assert found.shape == curves.shape
    assert np.isfinite(found).all()
    if points < SHORTEST:
        assert (found == curves.min(axis=1, keepdims=True)).all()


@pytest.mark.parametrize(
    "curve",
    [np.ones(50), np.linspace(0, 1, 50), -np.ones(50), np.eye(50)[20], np.full(50, 1e-300)],
    ids=["constant", "straight", "negative", "one point", "tiny"],
)
def test_curves_without_noise_are_no_trouble(curve: Floats) -> None:
    assert np.isfinite(estimate(curve[None])).all()

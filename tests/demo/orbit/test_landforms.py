"""The fifteen landforms: each has the shape of its name."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo import recipes
from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field, Light
from marsbench.demo.orbit import ground as orbit_ground
from marsbench.demo.orbit.ground import Site
from marsbench.demo.orbit.landforms import base, ground, scenes
from marsbench.demo.scene import Scene

RECIPE = recipes.RECIPES["domars16k"]
CLASSES = tuple(RECIPE.class_weights)
SIDE = 96


def views(label: str, count: int = 16) -> list[Site]:
    """Scenes of a class before they are photographed."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        light = base.low_sun(rng)
        found.append(scenes.SCENES[label](rng, SIDE, light))
    return found


def pieces(mask: NDArray[np.bool_], smallest: int = 12) -> list[NDArray[np.bool_]]:
    """Connected parts of a mask, without tiny ones."""
    numbered, count = ndimage.label(mask)
    parts = [numbered == k for k in range(1, count + 1)]
    return [part for part in parts if part.sum() >= smallest]


def spread(mask: NDArray[np.bool_]) -> float:
    """Diagonal of a mask's bounding box in sides of the scene."""
    rows, columns = np.nonzero(mask)
    return float(np.hypot(np.ptp(rows), np.ptp(columns))) / SIDE


def rms_slope(height: Field) -> float:
    """Root mean square of rise over run."""
    east, north = terrain.gradient(height)
    return float(np.sqrt(np.mean(east**2 + north**2)))


def grain(field: Field) -> complex:
    """Alignment of a field's gradient: modulus 1 if all parallel, 0 if isotropic.

    Half its argument is the gradient's direction in radians from north towards east.
    """
    east, north = terrain.gradient(terrain.blur(field, 1.0))
    doubled = (north + 1j * east) ** 2
    return complex(doubled.sum() / np.abs(doubled).sum())


@pytest.mark.parametrize("label", CLASSES)
def test_view_is_physical(label: str) -> None:
    for view in views(label, 8):
        assert np.isfinite(view.height).all()
        assert view.albedo.min() > 0.05
        assert view.albedo.max() < 0.6
        assert view.mark.min() >= 0.0
        assert view.mark.max() <= 1.0


# --- camera and helpers ----------------------------------------------------------------------


def test_shadow_reaches_as_far_as_the_sun_is_low() -> None:
    step = np.where(terrain.coordinates(64)[0] < 20, 10.0, 0.0)
    lit = orbit_ground.sunlit(step, Light(270.0, 45.0, 0.0))[32]
    assert (lit[:20] == 1).all()
    assert (lit[20:29] == 0).all()
    assert (lit[31:] == 1).all()
    assert (orbit_ground.sunlit(step, Light(90.0, 45.0, 0.0)) == 1).all()


def test_camera_noise_is_what_a_flat_view_shows() -> None:
    rng = np.random.default_rng(0)
    light = base.low_sun(rng)
    flat, albedo = np.zeros((SIDE, SIDE)), np.full((SIDE, SIDE), 0.2)
    image = orbit_ground.photograph_shadows(rng, flat, albedo, light)[..., 0]
    centred = image - image.mean()
    assert abs(np.corrcoef(centred[:, :-4].ravel(), centred[:, 4:].ravel())[0, 1]) < 0.1


def test_wave_phase_grows_by_one_per_wavelength() -> None:
    phase, strength = base.wave_train(
        np.random.default_rng(0), SIDE, 8.0, 90.0, spread_deg=3.0, bandwidth=0.1
    )
    assert strength.mean() == pytest.approx(1.0)
    step = np.diff(phase, axis=1) % 1.0
    assert np.median(step) == pytest.approx(1.0 / 8.0, rel=0.1)


def test_path_gives_true_distances_of_either_sign() -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        path = base.winding_path(rng, SIDE, 0.3, 60.0, 90.0 * seed, (50.0, 40.0))
        assert abs(path.aside[40, 50]) < 1.0
        east, north = terrain.gradient(terrain.blur(path.aside, 0.7))
        near = np.abs(path.aside) < 12
        assert np.median(np.hypot(east, north)[near]) == pytest.approx(1.0, abs=0.05)
        assert path.aside.min() < -8
        assert path.aside.max() > 8


# --- what the classes are named for ----------------------------------------------------------


def test_straight_crests_are_parallel_and_curved_ones_are_not() -> None:
    straight = [abs(grain(view.mark)) for view in views("Aeolian Straight")]
    curved = [abs(grain(view.mark)) for view in views("Aeolian Curved", 30)]
    assert np.quantile(straight, 0.1) > np.quantile(curved, 0.9) + 0.1


def test_channel_is_a_trough_across_the_view() -> None:
    for view in views("Channel"):
        floor = max(pieces(view.mark > 0.5), key=np.sum)
        assert spread(floor) > 0.6
        assert floor.mean() < 0.4
        outside = view.mark < 0.05
        assert view.height[view.mark > 0.8].mean() < view.height[outside].mean() - 1.0


def test_ridge_is_one_narrow_crest_that_rises_above_both_sides() -> None:
    for view in views("Ridge"):
        crest = max(pieces(view.mark > 0.5), key=np.sum)
        assert spread(crest) > 0.5
        assert crest.mean() < 0.3
        sides = sorted(pieces(view.mark < 0.05), key=np.sum)[-2:]
        assert all(view.height[crest].mean() > view.height[flank].mean() for flank in sides)


def test_cliff_parts_high_from_low_ground() -> None:
    for view in views("Cliff"):
        assert 0.02 < (view.mark > 0.5).mean() < 0.35
        first, second = sorted(pieces(view.mark < 0.05), key=np.sum)[-2:]
        apart = view.height[first].mean() - view.height[second].mean()
        assert abs(apart) > 2.0
        assert first.mean() + second.mean() > 0.4


def test_mounds_stand_apart_and_rise() -> None:
    for view in views("Mounds"):
        knobs = pieces(view.mark > 0.5, 6)
        assert len(knobs) >= 3
        assert max(knob.mean() for knob in knobs) < 0.1
        above = -terrain.hollows(view.height, 0.12 * SIDE)
        assert all(above[knob].max() > 0.4 for knob in knobs)


def test_crater_fills_the_view_and_craters_of_a_field_do_not() -> None:
    rises = []
    for view in views("Crater"):
        inside = max(pieces(view.mark > 0.5), key=np.sum)
        assert inside.mean() > 0.15
        rim = ndimage.binary_dilation(inside, iterations=2) & ~ndimage.binary_erosion(
            inside, iterations=3
        )
        core = ndimage.binary_erosion(inside, iterations=10)
        assert view.height[rim].mean() > view.height[core].mean() + 2.0
        rises.append(view.height[rim].max() - view.height[view.mark < 0.05].mean())
    assert min(rises) > 0.5
    for view in views("Crater Field"):
        bowls = pieces(view.mark > 0.5, 6)
        assert len(bowls) >= 10
        below = terrain.hollows(view.height, 0.1 * SIDE)
        assert np.mean([below[bowl].mean() > 0 for bowl in bowls]) > 0.8


def test_gullies_are_cut_into_a_slope_and_run_down_it() -> None:
    for view in views("Gullies"):
        cut = view.mark > 0.3
        assert len(pieces(cut)) >= 2
        below = terrain.hollows(view.height, 0.08 * SIDE)
        assert below[cut].mean() > 0.3
        assert downslope_error_deg(view) < 20.0


def test_landslide_deposit_is_rough_and_lies_below_a_scarp() -> None:
    for view in views("Mass Wasting"):
        debris, around = view.mark > 0.9, view.mark < 0.05
        assert 0.08 < debris.mean() < 0.7
        detail = np.abs(view.height - terrain.blur(view.height, 2.0))
        assert np.median(detail[debris]) > 1.2 * np.median(detail[around])
        assert view.height[debris].mean() < np.quantile(view.height[around], 0.9) - 1.0


def test_slope_streaks_run_down_the_slope_and_have_no_relief() -> None:
    for view in views("Slope Streaks"):
        streaked = view.mark > 0.5
        assert 0.005 < streaked.mean() < 0.4
        contrast = view.albedo[streaked].mean() / view.albedo[view.mark < 0.05].mean()
        assert abs(contrast - 1.0) > 0.06
        detail = view.height - terrain.blur(view.height, 3.0)
        assert abs(np.corrcoef(detail.ravel(), view.mark.ravel())[0, 1]) < 0.15
        assert downslope_error_deg(view) < 15.0


def downslope_error_deg(view: Site) -> float:
    """Angle between the slope of the whole view and the run of its landform."""
    east, north = (component.mean() for component in terrain.gradient(view.height))
    across = 0.5 * np.angle(grain(view.mark))
    off = np.rad2deg(np.arctan2(east, north) - across - 0.5 * np.pi)
    return float(abs((off + 90.0) % 180.0 - 90.0))


def test_relief_orders_rough_textured_and_smooth_ground() -> None:
    rough, textured, smooth = (
        [rms_slope(view.height) for view in views(f"{kind} Terrain")]
        for kind in ("Rough", "Textured", "Smooth")
    )
    assert min(rough) > max(textured)
    assert min(textured) > 5 * max(smooth)


def test_textured_ground_is_the_same_all_over_and_mixed_ground_is_not() -> None:
    def unevenness(view: Site) -> float:
        """Ratio of the roughest to the smoothest of sixteen tiles."""
        tiles = view.height.reshape(4, SIDE // 4, 4, SIDE // 4).swapaxes(1, 2)
        slopes = [rms_slope(tile) for row in tiles for tile in row]
        return max(slopes) / min(slopes)

    even = [unevenness(view) for view in views("Textured Terrain")]
    mixed = [unevenness(view) for view in views("Mixed Terrain")]
    assert np.quantile(even, 0.9) < np.quantile(mixed, 0.1)


def test_texture_repeats_at_the_scale_of_its_cells() -> None:
    for pattern in ground.PATTERNS:
        cell = 8.0
        relief = terrain.standardise(pattern(np.random.default_rng(0), SIDE, cell))
        power = np.abs(np.fft.fft2(relief)) ** 2
        frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None, :])
        coarse = power[frequency < 1.0 / (3.0 * cell)].sum() / power.sum()
        assert coarse < 0.2


def test_parts_of_mixed_ground_share_the_view() -> None:
    for seed in range(24):
        shares = ground.parts_of_view(np.random.default_rng(seed), SIDE)
        np.testing.assert_allclose(sum(shares), 1.0)
        assert all(share.mean() > 0.2 for share in shares)
        assert all(share.min() >= 0 for share in shares)


# --- not by grey value -----------------------------------------------------------------------


def test_grey_level_and_contrast_do_not_tell_the_class() -> None:
    recipe = replace(RECIPE, sizes={"train": 150, "test": 150})
    features, targets = {}, {}
    for split in ("train", "test"):
        names = recipes.labels(recipe, split, 1.0)
        source = [recipes.draw(recipe, split, i, name) for i, name in enumerate(names)]
        images = [drawn.image for drawn in source if isinstance(drawn, Scene)]
        features[split] = np.array([[image.mean(), image.std()] for image in images])
        targets[split] = np.array([CLASSES.index(name[0]) for name in names])
    scale = features["train"].std(0)
    gaps = (features["test"][:, None] - features["train"][None]) / scale
    nearest = np.argsort((gaps**2).sum(-1), axis=1)[:, :9]
    votes = [np.bincount(targets["train"][row]).argmax() for row in nearest]
    assert np.mean(np.array(votes) == targets["test"]) < 0.35

"""Curiosity's scenes: every natural class shows its namesake."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo.art import terrain
from marsbench.demo.rover import ground, outdoors
from marsbench.demo.rover.curiosity import scenes
from marsbench.demo.rover.ground import ColourPlan, Sun, View

Field = NDArray[np.float64]


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def flat(n: int, colour: tuple[float, float, float]) -> ColourPlan:
    """Even ground of a single colour."""
    return ColourPlan(np.zeros((n, n)), np.tile(np.array(colour), (n, n, 1)))


def roughness(image: Field) -> Field:
    """Local contrast of grey values, same shape."""
    detail = image - ndimage.gaussian_filter(image, 2.0)
    contrast: Field = np.sqrt(ndimage.uniform_filter(detail**2, 5))
    return contrast


def test_background_is_light_of_the_asked_size() -> None:
    for seed in range(10):
        light = outdoors.background(rng(seed), 48)
        assert light.shape == (48, 48, 3)
        assert light.min() >= 0.0
        assert light.std() > 0.005


def test_some_pictures_are_grey_and_hue_varies() -> None:
    warmth, grey = [], 0
    for seed in range(60):
        image = scenes.render(rng(seed), "Ground", 48).astype(np.float64)
        red, _green, blue = image.mean((0, 1))
        warmth.append(np.log(red / blue))
        grey += np.abs(image - image.mean(-1, keepdims=True)).mean() < 6.0
    assert 2 <= grey <= 30
    assert np.std(warmth) > 0.12


# --- building blocks -------------------------------------------------------------------------


def test_plans_wrap_around() -> None:
    for draw in (ground.soil, ground.outcrop, ground.rippled):
        height = draw(rng(1), 96).height
        inner = np.abs(np.diff(height, axis=0)).mean()
        assert np.abs(height[0] - height[-1]).mean() < 2.0 * inner
        assert np.abs(height[:, 0] - height[:, -1]).mean() < 3.0 * inner


def test_shadow_falls_away_from_the_sun() -> None:
    height = np.zeros((48, 48))
    height[:, 23:25] = 4.0
    light = ground.shade(height, Sun(90.0, 30.0))
    assert light[10, 19:22].max() < 0.1
    assert light[10, 28:34].min() > 0.4


def test_far_ground_is_blurred_and_even_ground_stays_even() -> None:
    view = View(0.0, 2.0)
    noise = rng(0).uniform(0.0, 1.0, (96, 96, 3))
    seen = ground.project(noise, view, 64)
    assert seen[6:16].std() < 0.5 * seen[48:].std()
    np.testing.assert_allclose(ground.project(np.full((96, 96, 3), 0.3), view, 64), 0.3)


def test_turning_the_plan_turns_what_is_seen() -> None:
    ramp = np.zeros((96, 96, 3))
    ramp[:, 44:52] = 1.0
    view = View(-40.0, 1.0)
    upright, turned = (ground.project(ramp, view, 64, turn)[..., 0] for turn in (0.0, 90.0))
    assert upright.mean(0).std() > 5.0 * upright.mean(1).std()
    assert turned.mean(1).std() > 5.0 * turned.mean(0).std()


def test_stones_stay_within_their_cover() -> None:
    height, cover = ground.clasts(rng(3), 96, 30, 1.5, 8.0)
    assert height[cover == 0.0].max() <= 0.0
    assert 0.02 < (cover > 0.5).mean() < 0.6
    assert 1.0 < height.max() < 8.0


def test_rock_casts_its_shadow_away_from_the_sun() -> None:
    away = []
    for seed in range(6):
        picture = np.full((96, 96, 3), 0.3)
        white = np.array([0.3, 0.3, 0.3])
        opacity = outdoors.set_rock(
            rng(seed), picture, Sun(90.0, 25.0), (48.0, 48.0), 18.0, 0.6, white
        )
        assert 0.4 < opacity.sum() / 18.0**2 < 4.0
        shade = np.where(opacity > 0, 0.0, 0.3 - picture[..., 0])
        assert shade.min() > -1e-9
        away.append(shade[:, :48].sum() / shade.sum())
    assert min(away) > 0.7


def test_tracks_change_the_ground_under_them_and_its_edges_only() -> None:
    for seed in range(6):
        view = View(-1.5, 1.5)
        picture = np.tile(0.2 + 0.02 * rng(9).standard_normal((96, 96, 1)), 3)
        before = picture.copy()
        cover = outdoors.press_tracks(rng(seed), picture, view, Sun(40.0, 25.0))
        changed = np.abs(picture - before).max(-1)
        outside = ~ndimage.binary_dilation(cover > 0.01, iterations=12)
        assert 0.03 < (cover > 0.5).mean() < 0.7
        assert changed[cover > 0.9].mean() > 0.02
        if outside.any():
            assert changed[outside].max() < 0.02


# --- natural classes -------------------------------------------------------------------------


def test_horizon_parts_smooth_sky_from_rough_land() -> None:
    right = 0
    for seed in range(20):
        grey = scenes.NATURAL["Horizon"](rng(seed), 96).mean(-1)
        rough = roughness(grey)
        # Hills may reach up to the border in a corner, so the middle of the rows is judged.
        right += bool(rough[:5].mean() < 0.6 * rough[-25:].mean())
    assert right >= 18


def test_distant_landscape_has_no_sky() -> None:
    for seed in range(20):
        grey = scenes.NATURAL["Distant Landscape"](rng(seed), 96).mean(-1)
        assert np.median(roughness(grey)[:8]) > 0.002


def test_drilling_makes_a_dark_pit_in_a_pale_ring() -> None:
    for seed in range(12):
        plan = scenes._drilled(rng(seed), flat(116, (0.12, 0.1, 0.08)))
        grey = plan.colour.mean(-1)
        pit = plan.height < -2.0
        count = ndimage.label(ndimage.binary_opening(pit))[1]
        assert 1 <= count <= 3
        assert 0.003 < pit.mean() < 0.1
        ring = ndimage.binary_dilation(pit, iterations=5) & ~ndimage.binary_dilation(
            pit, iterations=2
        )
        assert grey[ring].mean() > 1.4 * 0.1
        assert grey[ndimage.binary_erosion(pit)].mean() < 0.6 * grey[ring].mean()


def test_brushed_patch_is_darker_and_greyer_than_the_dust_around() -> None:
    for seed in range(12):
        dusty = flat(116, (0.3, 0.18, 0.1))
        plan = scenes._brushed(rng(seed), dusty)
        red, _green, blue = np.moveaxis(plan.colour, -1, 0)
        patch = plan.colour.mean(-1) < 0.75 * np.median(plan.colour[:8].mean(-1))
        assert 0.04 < patch.mean() < 0.4
        row, column = ndimage.center_of_mass(patch)
        assert 30 < row < 86
        assert 30 < column < 86
        assert (red / blue)[patch].mean() < 0.7 * np.median((red / blue)[:8])


def test_veins_are_thin_and_long() -> None:
    for seed in range(20):
        veins = scenes._veins(rng(seed), 116) > 0.5
        assert 0.004 < veins.mean() < 0.35
        assert ndimage.binary_erosion(veins, iterations=5).mean() < 0.01
        parts, count = ndimage.label(veins, np.ones((3, 3)))
        longest = max(np.ptp(np.argwhere(parts == k), axis=0).max() for k in range(1, count + 1))
        assert longest > 30


def test_beds_are_parallel() -> None:
    coherence: dict[str, list[float]] = {"Layered Rock": [], "Close-Up Rock": []}
    for name, found in coherence.items():
        for seed in range(16):
            plan = (scenes._bedded if name == "Layered Rock" else scenes._face)(rng(seed), 96)
            tone = ndimage.gaussian_filter(plan.height, 1.0)
            east, north = terrain.gradient(tone - ndimage.gaussian_filter(tone, 10.0))
            xx, yy, xy = (east**2).mean(), (north**2).mean(), (east * north).mean()
            found.append(np.hypot(xx - yy, 2.0 * xy) / (xx + yy))
    assert np.median(coherence["Layered Rock"]) > 0.4
    assert np.median(coherence["Close-Up Rock"]) < 0.3


def test_sun_is_one_compact_disc() -> None:
    for seed in range(20):
        light = scenes._sun(rng(seed), 96).mean(-1)
        bright = light > 0.5 * (np.median(light) + light.max())
        parts, count = ndimage.label(bright)
        assert count <= 2
        rows, columns = ndimage.find_objects(parts)[0]
        assert 0.0015 < bright.mean() < 0.16
        assert bright.sum() > 0.5 * bright[rows, columns].size


def test_night_sky_is_dark_with_points_of_light() -> None:
    for seed in range(12):
        light = scenes._night_sky(rng(seed), 96).mean(-1)
        assert np.median(light) < 0.2
        bright = light > 0.35
        count = ndimage.label(bright, np.ones((3, 3)))[1]
        assert count >= 5
        assert bright.mean() < 0.25


def test_lost_blocks_are_rectangles_on_the_block_grid() -> None:
    scene = rng(0).integers(60, 200, (96, 96, 3)).astype(np.uint8)
    for seed in range(10):
        lost = (scenes._lose_blocks(rng(seed), scene) != scene).any(-1)
        assert 0.02 < lost.mean() < 0.95
        share = lost.reshape(12, 8, 12, 8).mean((1, 3))
        assert np.all((share == 0.0) | (share > 0.9))


def test_float_rock_stands_out_from_its_ground() -> None:
    drawn: list[float] = []
    place = outdoors.set_rock

    def watched(*arguments: object) -> Field:
        opacity = place(*arguments)  # type: ignore[arg-type]
        drawn.append(float(opacity.mean()))
        return opacity

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outdoors, "set_rock", watched)
        for seed in range(12):
            drawn.clear()
            scenes.NATURAL["Float Rock"](rng(seed), 96)
            assert 0.015 < drawn[0] < 0.4
            assert all(other < drawn[0] for other in drawn[1:])

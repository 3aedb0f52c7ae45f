"""Landmark scenes: every class shows its landmark; grey values do not reveal the class."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo import recipes
from marsbench.demo.art import terrain
from marsbench.demo.art.terrain import Field
from marsbench.demo.orbit import craters, ground
from marsbench.demo.orbit.ground import Site
from marsbench.demo.orbit.landmarks import dunes, scenes, slope_streaks, spiders, swiss_cheese

RECIPE = recipes.RECIPES["landmark_cls"]
CLASSES = tuple(RECIPE.class_weights)
SIDE = RECIPE.image_size


def photographed(label: str, seed: int) -> tuple[Site, Field]:
    """Scene and its picture in grey values."""
    rng = np.random.default_rng(seed)
    scene, light = scenes.scene(rng, label, SIDE)
    return scene, ground.photograph(rng, scene, light)[..., 0].astype(np.float64)


def means(image: Field, mark: Field) -> tuple[float, float]:
    """Mean on and off the landmark."""
    return float(image[mark > 0.7].mean()), float(image[mark < 0.1].mean())


def ring(field: Field, east: float, south: float, radius: float) -> NDArray[np.float64]:
    """Values along a circle, 360 of them."""
    turn = np.deg2rad(np.arange(360.0))
    where = np.stack([south + radius * np.sin(turn), east + radius * np.cos(turn)])
    values: NDArray[np.float64] = ndimage.map_coordinates(field, where, order=1)
    return values


def arcs(inside: NDArray[np.bool_]) -> int:
    """Number of separate stretches around a circle."""
    return int(np.sum(inside & ~np.roll(inside, 1)))


@pytest.mark.parametrize("label", [name for name in CLASSES if name != "Other"])
def test_the_landmark_takes_a_fair_share_of_every_image(label: str) -> None:
    least = {"Slope Streak": 0.004, "Spider": 0.01}.get(label, 0.03)
    for seed in range(25):
        scene, _light = scenes.scene(np.random.default_rng(seed), label, SIDE)
        assert scene.mark.min() >= 0
        assert scene.mark.max() <= 1
        assert least < np.mean(scene.mark > 0.5) < 0.8


def test_other_has_no_landmark() -> None:
    for seed in range(10):
        assert not scenes.scene(np.random.default_rng(seed), "Other", SIDE)[0].mark.any()


# --- what each class shows -------------------------------------------------------------------


def test_dunes_are_brighter_or_darker_than_the_ground_between() -> None:
    for seed in range(30):
        scene, image = photographed("Bright Dune", seed)
        sand, floor = means(image, scene.mark)
        assert sand > floor + 10
        scene, image = photographed("Dark Dune", seed)
        sand, floor = means(image, scene.mark)
        assert sand < floor - 10


def test_mean_grey_does_not_tell_bright_dunes_from_dark_ones() -> None:
    bright, dark = (
        np.array([photographed(label, seed)[1].mean() for seed in range(40)])
        for label in ("Bright Dune", "Dark Dune")
    )
    assert 0.25 < np.mean(bright[:, None] > dark[None, :]) < 0.75


@pytest.mark.parametrize("wind_deg", [0.0, 90.0, 215.0])
def test_barchans_are_steeper_downwind_than_upwind(wind_deg: float) -> None:
    sandy = dunes.barchans(np.random.default_rng(3), 128, 22.0, wind_deg)
    falls = terrain.facing(sandy, wind_deg)
    assert np.quantile(falls, 0.99) > 1.4 * -np.quantile(falls, 0.01)


def test_crater_has_a_rim_above_floor_and_plain() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        shape = craters.random_shape(rng)
        height, rho = craters.relief(rng, SIDE, 44.0, 50.0, 22.0, shape)
        at = {r: height[np.abs(rho - r) < 0.05].mean() for r in (0.1, 0.6, 1.0, 1.8)}
        assert at[0.1] < at[0.6] < at[1.0]
        assert at[1.0] > at[1.8] + 0.5
        assert at[0.1] < -3.0


def test_crater_is_lit_on_the_wall_that_faces_the_sun() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scene, light = scenes.scene(rng, "Crater", SIDE)
        shading = terrain.hillshade(scene.height, light.azimuth_deg, light.elevation_deg)
        east, north = terrain.coordinates(SIDE)
        inside = scene.mark > 0.5
        x, y = terrain.direction(light.azimuth_deg)
        towards = (east - east[inside].mean()) * x + (north - north[inside].mean()) * y
        lit, dim = shading[inside & (towards < 0)].mean(), shading[inside & (towards > 0)].mean()
        assert lit > dim


def test_ejecta_break_up_into_rays_outside_the_halo() -> None:
    for seed in range(10):
        opacity = craters.rays(np.random.default_rng(seed), 128, 64.0, 64.0, 14.0, 45.0)
        close = ring(opacity, 64.0, 64.0, 6.0)
        far = ring(opacity, 64.0, 64.0, 21.0)
        assert np.mean(close > 0.4) > 0.8
        assert np.mean(far > 0.3) < 0.7
        assert arcs(far > 0.15) >= 4
        assert not ring(opacity, 64.0, 64.0, 60.0).any()


def test_ejecta_differ_from_the_ground_in_tone_and_surround_a_small_crater() -> None:
    for seed in range(20):
        scene, image = photographed("Impact Ejecta", seed)
        inside, outside = means(image, scene.mark)
        assert abs(inside - outside) > 15
        pit = scene.height - terrain.blur(scene.height, 6.0)
        assert pit[scene.mark > 0.5].min() < -0.3


def test_streaks_run_downhill() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        height = slope_streaks.slope(rng, SIDE, 30.0 * seed)
        opacity, starts, lengths = slope_streaks.streaks(rng, height, 30.0 * seed)
        assert opacity.max() > 0.8
        smooth = terrain.blur(height, 4.0)
        for start, length in zip(starts, lengths, strict=True):
            points, _halves = slope_streaks.descents(
                rng, height, start[None], np.array([length]), np.array([2.0])
            )
            along = ndimage.map_coordinates(smooth, points.T[::-1], order=1, mode="nearest")
            assert along[-1] < along[0]
            assert np.mean(np.diff(along) < 0.002) > 0.95


def test_streaks_change_the_tone_and_not_the_relief() -> None:
    for seed in range(20):
        scene, _image = photographed("Slope Streak", seed)
        inside, outside = means(scene.albedo, scene.mark)
        assert abs(np.log(inside / outside)) > 0.2
        edges = np.hypot(*terrain.gradient(scene.mark)).ravel()
        steep = np.hypot(*terrain.gradient(scene.height)).ravel()
        assert abs(np.corrcoef(edges, steep)[0, 1]) < 0.25


def test_spider_arms_fork_outwards_from_one_centre() -> None:
    inner: list[int] = []
    outer: list[int] = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        points, widths = spiders.araneiform(rng, 63.5, 63.5, 45.0, 1.4)
        troughs = ground.trails(128, points, np.maximum(widths, 0.85)) > -0.3
        assert troughs[63, 63]
        labelled, count = ndimage.label(troughs, np.ones((3, 3)))
        assert np.bincount(labelled.ravel())[1:].max() > 0.98 * troughs.sum(), count
        for found, radius in ((inner, 9.0), (outer, 25.0)):
            found.append(arcs(ring(troughs.astype(np.float64), 63.5, 63.5, radius) > 0.5))
    assert min(inner) >= 2
    assert np.mean(outer) > 1.5 * np.mean(inner)


def test_pits_are_rounded_flat_and_below_bright_ice() -> None:
    for seed in range(20):
        scene = swiss_cheese.swiss_cheese_scene(np.random.default_rng(seed), SIDE)
        floor, ice = scene.mark > 0.98, scene.mark < 0.02
        scarp = ~floor & ~ice
        steep = np.hypot(*terrain.gradient(scene.height))
        assert scene.height[floor].mean() < scene.height[ice].mean() - 0.5
        assert steep[scarp].mean() > 2.0 * max(np.median(steep[floor]), np.median(steep[ice]))
        assert scene.albedo[ice].mean() > scene.albedo[floor].mean()


def test_pits_have_no_raised_rim() -> None:
    excess = []
    for seed in range(20):
        scene = swiss_cheese.swiss_cheese_scene(np.random.default_rng(seed), SIDE)
        away = ndimage.distance_transform_edt(scene.mark < 0.02)
        edge, beyond = (away > 0) & (away < 3), (away > 5) & (away < 9)
        if beyond.sum() > 50:
            excess.append(scene.height[edge].mean() - scene.height[beyond].mean())
    assert len(excess) > 10
    assert np.mean(excess) < 0.1


# --- what grey values tell -------------------------------------------------------------------


def test_pixels_alone_do_not_tell_the_classes() -> None:
    each, sets = 12, []
    for split in (0, 1):
        images = [
            scenes.render(np.random.default_rng([split, seed]), label, SIDE)[::3, ::3].ravel()
            for label in CLASSES
            for seed in range(each)
        ]
        sets.append(np.stack(images) / 255.0)
    fit, judge = (x - sets[0].mean(0) for x in sets)
    target = np.repeat(np.eye(len(CLASSES)), each, axis=0) - 1.0 / len(CLASSES)
    gram = fit @ fit.T + 10.0 * np.eye(len(fit))
    scores = judge @ (fit.T @ np.linalg.solve(gram, target))
    wanted = np.repeat(np.arange(len(CLASSES)), each)
    assert np.mean(scores.argmax(1) == wanted) < 0.4

"""Curiosity's hardware: antialiased layers of the right layout under a common sun."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from marsbench.demo import recipes
from marsbench.demo.art import shapes
from marsbench.demo.art.shapes import Canvas
from marsbench.demo.rover.curiosity import hardware
from marsbench.demo.rover.curiosity.hardware import HARDWARE, part

Layer = NDArray[np.float64]
SIDE = 96
FIXED = 160
ON_DECK = (
    "Mastcam Calibration Target",
    "ChemCam Calibration Target",
    "APXS Calibration Target",
    "REMS-UV",
    "Inlet",
    "CheMin Inlet Open",
)


@pytest.fixture(scope="module")
def layers() -> dict[str, list[Layer]]:
    """Twelve layers of every class."""
    return {
        name: [part(np.random.default_rng([7, i]), name, SIDE) for i in range(12)]
        for name in HARDWARE
    }


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Canvas]:
    """Painted layers before light and dust, upright, centred and seen from straight above."""
    view = shapes.view

    def upright(rng: np.random.Generator, side: int, size: float, **_: Any) -> Canvas:
        rng.uniform(size=4)
        seen = view(np.random.default_rng(2), side, 0.8, turn=0.0, drift=0.0, squash=0.979)
        y, x = np.mgrid[0:side, 0:side] - 0.5 * (side - 1)
        unit = 0.4 * side
        rest = (seen.rgb, seen.height, seen.gloss, seen.alpha)
        return Canvas(x / unit, y / unit, unit, (0.0, 0.0), *rest)

    def paint(name: str) -> Canvas:
        caught: list[Canvas] = []

        def unlit(canvas: Canvas, rng: np.random.Generator, **_: float) -> Layer:
            caught.append(canvas)
            return np.ones((*canvas.u.shape, 4))

        with monkeypatch.context() as patch:
            patch.setattr(shapes, "view", upright)
            patch.setattr(shapes, "lit", unlit)
            part(np.random.default_rng(5), name, FIXED)
        return caught[0]

    return paint


def blobs(mask: NDArray[np.bool_], least: int) -> int:
    """Number of connected regions of a least size in pixels."""
    names, count = ndimage.label(mask)
    return int(sum(np.count_nonzero(names == i) >= least for i in range(1, count + 1)))


def runs(row: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(int)))
    return list(edges[1::2] - edges[::2])


def row_at(canvas: Canvas, v: float) -> int:
    """Row of a canvas of the fixed view."""
    return int(np.argmin(np.abs(canvas.v[:, 0] - v)))


# --- every class -----------------------------------------------------------------------------


def test_hardware_is_the_part_of_the_recipe_that_is_not_natural() -> None:
    names = tuple(recipes.RECIPES["surface_cls"].class_weights)
    assert len(HARDWARE) == len(set(HARDWARE)) == 22
    assert set(HARDWARE) < set(names)
    assert tuple(name for name in names if name in HARDWARE) == HARDWARE


@pytest.mark.parametrize("name", HARDWARE)
@pytest.mark.parametrize("side", [48, 65, 128])
def test_any_side(name: str, side: int) -> None:
    layer = part(np.random.default_rng(side), name, side)
    assert layer.dtype == np.float64
    assert layer.shape == (side, side, 4)
    assert np.isfinite(layer).all()
    assert layer.min() >= 0
    assert layer.max() <= 1


@pytest.mark.parametrize("name", HARDWARE)
def test_part_covers_enough_and_shows_relief(name: str, layers: dict[str, list[Layer]]) -> None:
    for layer in layers[name]:
        assert layer[..., 3].mean() > 0.15
        lit = layer[layer[..., 3] > 0.9][:, :3].mean(1)
        low, high = np.percentile(lit, [2, 98])
        assert high > 1.5 * low


@pytest.mark.parametrize("name", sorted(set(HARDWARE) - set(ON_DECK)))
def test_edges_are_antialiased(name: str, layers: dict[str, list[Layer]]) -> None:
    soft = [(layer[..., 3] > 0.1) & (layer[..., 3] < 0.9) for layer in layers[name]]
    assert np.mean([mask.mean() for mask in soft]) > 0.004


def test_what_stands_on_the_deck_has_deck_around_it(layers: dict[str, list[Layer]]) -> None:
    cover = {name: np.mean([x[..., 3].mean() for x in layers[name]]) for name in HARDWARE}
    assert min(cover[name] for name in ON_DECK) > 0.85
    assert cover["Observation Tray"] < 0.5


def test_brightness_does_not_tell_the_class(layers: dict[str, list[Layer]]) -> None:
    level = np.array(
        [[np.log(x[..., :3][x[..., 3] > 0.9].mean()) for x in layers[name]] for name in HARDWARE]
    )
    within, between = level.var(1, ddof=1).mean(), level.mean(1).var(ddof=1)
    assert between < 0.5 * within


# --- layouts ---------------------------------------------------------------------------------


def test_rems_has_six_photodiodes_and_chemcam_ten_samples(
    painted: Callable[[str], Canvas],
) -> None:
    rems = painted("REMS-UV")
    plate = (np.abs(rems.u) < 0.75) & (np.abs(rems.v) < 0.6)
    assert blobs(plate & (rems.rgb.mean(0) < 0.06), 15) == 6
    chemcam = painted("ChemCam Calibration Target")
    plate = (np.abs(chemcam.u) < 0.95) & (np.abs(chemcam.v) < 0.62)
    assert blobs(plate & (chemcam.height < 0.1), 60) == 10


def test_apxs_has_six_sources_around_the_detector(painted: Callable[[str], Canvas]) -> None:
    head = painted("Alpha Particle X-Ray Spectrometer (APXS)")
    gold = head.rgb[0] > 2.5 * head.rgb[2]
    assert blobs(gold & (np.hypot(head.u, head.v) < 0.5), 20) == 6


def test_mastcam_target_has_coloured_corners_and_grey_rings(
    painted: Callable[[str], Canvas],
) -> None:
    target = painted("Mastcam Calibration Target")
    rho = np.hypot(target.u, target.v)
    colourful = np.ptp(target.rgb, axis=0) / (target.rgb.max(0) + 1e-9) > 0.6
    plate = np.maximum(np.abs(target.u), np.abs(target.v)) < 0.88
    assert blobs(colourful & (rho > 0.75) & plate, 60) == 4
    level = target.rgb.mean(0)
    rings = [np.median(level[np.abs(rho - r) < 0.02]) for r in (0.48, 0.3, 0.16)]
    assert rings[0] > 2 * rings[1] > 4 * rings[2]


def test_mahli_target_has_chips_bars_and_a_penny(painted: Callable[[str], Canvas]) -> None:
    target = painted("MAHLI Calibration Target")
    bars = target.rgb.mean(0)[row_at(target, -0.08)] < 0.2
    panel = bars[(np.abs(target.u[0]) < 0.42)]
    widths = runs(panel)
    assert len(widths) >= 7
    assert widths[0] > 2 * widths[-1]
    penny = np.hypot(target.u + 0.1, target.v - 0.58) < 0.2
    assert np.median(target.rgb[0][penny] / target.rgb[2][penny]) > 3


def test_drill_is_a_bit_between_prongs_and_the_tube_is_alone(
    painted: Callable[[str], Canvas],
) -> None:
    drill = painted("Drill")
    widths = runs(drill.alpha[row_at(drill, 0.5)] > 0.5)
    assert len(widths) == 3
    tube = painted("Portion Tube")
    (width,) = runs(tube.alpha[row_at(tube, 0.5)] > 0.5)
    assert width < 0.2 * FIXED


def test_open_inlet_has_a_mesh_over_darkness_and_the_closed_one_none(
    painted: Callable[[str], Canvas],
) -> None:
    crossings = {}
    for name in ("CheMin Inlet Open", "Inlet"):
        canvas = painted(name)
        dark = canvas.rgb.mean(0) < 0.05
        crossings[name] = blobs(dark & (canvas.height < -0.1), 6)
    assert crossings["CheMin Inlet Open"] > 12
    assert crossings["Inlet"] == 0


def test_wheel_has_zigzag_treads(painted: Callable[[str], Canvas]) -> None:
    wheel = painted("Wheel")
    column = FIXED // 2
    tread = wheel.alpha[:, column] > 0.9
    smooth = ndimage.gaussian_filter1d(wheel.height[:, column], 6.0)
    ridges = runs((wheel.height[:, column] - smooth > 0.01) & tread)
    assert 8 <= len(ridges) <= 16


def test_brush_bristles_point_outwards(painted: Callable[[str], Canvas]) -> None:
    brush = painted("Dust Removal Tool (DRT)")
    level = brush.rgb.mean(0)
    # Along a wire the tone stays, across wires it does not.
    rho, angle = np.hypot(brush.u, brush.v), np.arctan2(brush.v, brush.u)
    fan = (rho > 0.6) & (rho < 0.85) & (brush.alpha > 0.9)
    down, right = np.gradient(level)
    along = np.abs(right * np.cos(angle) + down * np.sin(angle))[fan].mean()
    across = np.abs(down * np.cos(angle) - right * np.sin(angle))[fan].mean()
    assert across > 2.5 * along


# --- shapes and light ------------------------------------------------------------------------


def plane(side: int = 201) -> shapes.Place:
    y, x = np.mgrid[0:side, 0:side] / (0.25 * side) - 2.0
    return x, y


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (lambda p: shapes.disc(p, 1.0), np.pi),
        (lambda p: shapes.ring(p, 1.0, 0.5), np.pi),
        (lambda p: shapes.box(p, 1.2, 0.6), 2.88),
        (lambda p: shapes.rod(p, (-0.5, -0.5), (0.5, 0.5), 0.3), np.sqrt(2) * 0.6 + np.pi * 0.09),
        (lambda p: shapes.ngon(p, 1.0, 6), 6 * np.tan(np.pi / 6)),
        (lambda p: shapes.trapezium(p, 0.5, 1.0, 0.7), 2.1),
    ],
)
def test_signed_distance_has_unit_slope_and_the_right_area(
    shape: Callable[[shapes.Place], Layer], area: float
) -> None:
    p = plane()
    step = float(p[0][0, 1] - p[0][0, 0])
    distance = shape(p)
    assert np.count_nonzero(distance < 0) * step * step == pytest.approx(area, rel=0.02)
    slope = np.hypot(*np.gradient(distance, step))
    assert np.median(slope) == pytest.approx(1.0, abs=0.02)


def test_lathe_is_a_cylinder_where_its_radius_is_constant() -> None:
    p = plane()
    distance, height = shapes.lathe(p, (-1.0, 1.0), (0.5, 0.5))
    inside = distance < 0
    assert np.allclose((height**2 + p[0] ** 2)[inside], 0.25)
    assert np.abs(p[1][inside]).max() <= 1.0


def blank(side: int) -> Canvas:
    y, x = np.mgrid[0:side, 0:side] - 0.5 * (side - 1)
    zero = np.zeros((side, side))
    planes = (zero, zero.copy(), zero.copy())
    return Canvas(
        2 * x / side, 2 * y / side, 0.5 * side, (0.0, 0.0), np.zeros((3, side, side)), *planes
    )


def test_painting_near_a_point_equals_painting_everywhere() -> None:
    whole, window = blank(64), blank(64)
    whole.paint(shapes.disc(whole.at(0.3, -0.4), 0.2), shapes.RED, 0.1, bevel=0.1)
    spot = window.near(0.3, -0.4, 0.2)
    assert spot.u.size < 0.25 * window.u.size
    spot.paint(shapes.disc(spot.at(0.3, -0.4), 0.2), shapes.RED, 0.1, bevel=0.1)
    for name in ("rgb", "height", "gloss", "alpha"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(window, name))
    assert window.near(5.0, 5.0, 0.1).u.size == 0


def test_covered_area_is_that_of_the_disc_to_a_fraction_of_a_pixel() -> None:
    canvas = blank(64)
    canvas.paint(shapes.disc(canvas.at(0.013, 0.007), 0.5), shapes.BLACK)
    assert canvas.alpha.sum() == pytest.approx(np.pi * 16.0**2, rel=0.005)


@pytest.mark.parametrize("seed", range(8))
def test_sun_comes_from_above_and_things_cast_shadows_below(seed: int) -> None:
    def light(height: float, bevel: float) -> tuple[Canvas, Layer]:
        canvas = blank(96)
        canvas.paint(shapes.box(canvas.at(), 3.0, 3.0), (0.5, 0.5, 0.5), 0.0, gloss=0.0)
        thing = canvas.near(0.0, 0.0, 0.3)
        disc = shapes.disc(thing.at(), 0.3)
        thing.paint(disc, (0.5, 0.5, 0.5), height, bevel=bevel, gloss=0.0)
        layer = shapes.lit(canvas, np.random.default_rng(seed), dust=0.0)
        return canvas, layer[..., :3].mean(2)

    canvas, ball = light(0.0, 0.3)
    rho = np.hypot(canvas.u, canvas.v)
    assert (
        ball[(rho < 0.25) & (canvas.v < -0.1)].mean() > ball[(rho < 0.25) & (canvas.v > 0.1)].mean()
    )
    canvas, pillar = light(0.3, 0.0)
    beside = (rho > 0.35) & (rho < 0.41)
    shade = beside & (pillar < 0.8 * np.median(pillar[rho > 0.7]))
    assert 10 < np.count_nonzero(shade) < 0.75 * np.count_nonzero(beside)
    assert canvas.v[shade].mean() > 0


def test_dust_turns_grey_red() -> None:
    redness = []
    for dust in (0.0, 2.0):
        canvas = blank(64)
        canvas.paint(shapes.box(canvas.at(), 3.0, 3.0), (0.5, 0.5, 0.5), 0.0)
        layer = shapes.lit(canvas, np.random.default_rng(0), dust=dust)
        redness.append(layer[..., 0].mean() / layer[..., 2].mean())
    assert redness[1] > 1.2 * redness[0]


def test_only_what_hides_a_margin_leaves_the_centre_alone() -> None:
    hidden = 0
    for seed in range(30):
        layer = np.zeros((SIDE, SIDE, 4))
        hardware._hide(layer, np.random.default_rng(seed))
        assert layer[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4, 3].mean() < 0.05
        hidden += layer[..., 3].mean() > 0.02
    assert hidden > 20

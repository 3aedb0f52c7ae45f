"""Dust scenes: dust hides the ground; brightness does not reveal the class."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from marsbench.demo.art import terrain
from marsbench.demo.orbit import atmospheric_dust

CLASSES = (atmospheric_dust.DUSTY, "Non dusty")
RENDERS = (atmospheric_dust.render_edr, atmospheric_dust.render_rdr)

Render = Callable[[np.random.Generator, str, int], NDArray[np.uint8]]


def images(render: Render, label: str, count: int) -> NDArray[np.float64]:
    """Grey values, (count, 96, 96)."""
    drawn = [render(np.random.default_rng(seed), label, 96)[:, :, 0] for seed in range(count)]
    return np.stack(drawn).astype(np.float64)


def test_dust_hides_the_ground_but_clear_air_does_not() -> None:
    likeness: dict[float, list[float]] = {0.8: [], 5.0: []}
    for depth, found in likeness.items():
        for seed in range(30):
            rng = np.random.default_rng(seed)
            height = atmospheric_dust.LANDFORMS[seed % len(atmospheric_dust.LANDFORMS)](rng, 96)
            light = terrain.afternoon(rng)
            shade = terrain.hillshade(height, light.azimuth_deg, light.elevation_deg)
            radiance = atmospheric_dust._through_air(rng, height, np.ones((96, 96)), light, depth)
            raw = atmospheric_dust._raw(rng, radiance).astype(np.float64)
            found.append(abs(float(np.corrcoef(raw.ravel(), shade.ravel())[0, 1])))
    assert np.median(likeness[0.8]) > 0.7
    assert np.percentile(likeness[5.0], 90) < 0.2


@pytest.mark.parametrize("render", RENDERS)
def test_brightness_and_spread_do_not_tell(render: Render) -> None:
    dusty, clear = (images(render, label, 120) for label in CLASSES)
    for measure in (np.mean, np.std):
        one, other = measure(dusty, axis=(1, 2)), measure(clear, axis=(1, 2))
        # Share of pairs in which the dusty image has more: 0.5 tells nothing.
        assert 0.3 < np.mean(one[:, None] > other[None, :]) < 0.7


@pytest.mark.parametrize("render", RENDERS)
def test_clear_images_have_more_detail_along_a_column(render: Render) -> None:
    details = []
    for label in CLASSES:
        columns = images(render, label, 60)
        # Columns have offsets of their own, so only neighbours within one are compared; landforms
        # hold together over several rows, noise does not.
        steps = np.diff(columns, axis=1)
        related = (steps[:, 1:] * steps[:, :-1]).mean((1, 2)) / (steps**2).mean((1, 2))
        details.append(related)
    assert np.median(details[0]) < -0.3
    assert np.median(details[1]) > np.median(details[0]) + 0.3


def test_only_raw_images_have_columns_and_lost_lines() -> None:
    lost, columns = [], []
    for render in RENDERS:
        drawn = images(render, atmospheric_dust.DUSTY, 80)
        rows = np.diff(drawn.mean(2), axis=1)
        lost.append(np.mean(np.abs(rows).max(1) > 60))
        across = drawn.mean(1) - np.stack([terrain.blur(x, 2.0) for x in drawn]).mean(1)
        columns.append(np.median(across.std(1) / drawn.std((1, 2))))
    assert 0.1 < lost[0] < 0.4
    assert lost[1] == 0
    assert columns[0] > 3 * columns[1]

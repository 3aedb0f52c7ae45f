"""Random changes of training images, and mixing of samples."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from marsbench.data.rendering import Rendering
from marsbench.data.samples import Decoded
from marsbench.spectra import raster
from marsbench.spectra.presets import Cell, Change, RasterSpec, Scale, get_preset
from marsbench.tasks.kinds import Technique
from tests.spectra.helpers import commercial

ROWS, COLUMNS = 30, 40
Image = NDArray[np.floating]


def spec_of(change: Change, **others: object) -> RasterSpec:
    plain = RasterSpec(
        name="plain",
        technique=Technique.EGA,
        rows=ROWS,
        start=0.0,
        width=1.0,
        columns=COLUMNS,
        cell=Cell.SUM,
        scales=(Scale.SAMPLE,),
        change=change,
    )
    return replace(plain, **others)  # type: ignore[arg-type]


@pytest.fixture
def cells() -> Image:
    found = np.random.default_rng(0).random((ROWS, COLUMNS)).astype(np.float32)
    found[3] = 0
    return np.asarray(found / found.max())


def drawn(cells: Image, spec: RasterSpec, seed: int = 0, other: Image | None = None) -> Image:
    return np.asarray(raster.draw(cells, spec, np.random.default_rng(seed), other)[0])


def test_without_changes_chance_does_nothing(cells: Image) -> None:
    assert (drawn(cells, spec_of(Change())) == raster.draw(cells, spec_of(Change()))[0]).all()


def test_gain_multiplies_rows(cells: Image) -> None:
    spec, found = spec_of(Change(gain=0.7), scales=(Scale.RUN,)), []
    for seed in range(60):
        # Where nothing comes near 1, nothing is cut off.
        image = drawn(cells / 1000, spec, seed)
        assert not image[3].any()
        rows = np.delete(image, 3, axis=0) / np.delete(cells / 1000, 3, axis=0)
        assert rows == pytest.approx(np.repeat(rows[:, :1], COLUMNS, axis=1), rel=1e-4)
        found.append(np.log2(rows[:, 0]))
    assert np.std(found) == pytest.approx(0.7, rel=0.06)
    assert np.mean(found) == pytest.approx(0.0, abs=0.05)


def test_gain_beyond_the_run_is_cut_off(cells: Image) -> None:
    assert drawn(cells, spec_of(Change(gain=2.0), scales=(Scale.RUN,))).max() == 1


def test_shift_moves_columns_and_fills_with_nothing(cells: Image) -> None:
    spec, seen = spec_of(Change(shift=3)), set()
    padded = np.pad(cells, ((0, 0), (3, 3)))
    for seed in range(60):
        image = drawn(cells, spec, seed)
        fits = [
            by
            for by in range(-3, 4)
            if np.allclose(image * (part := padded[:, 3 - by : 3 - by + COLUMNS]).max(), part)
        ]
        assert len(fits) == 1
        seen.update(fits)
    assert seen == set(range(-3, 4))


def test_narrow_keeps_sums_and_empties_the_rest(cells: Image) -> None:
    spec, widths = spec_of(Change(narrow=0.5), scales=(Scale.RUN,)), set()
    for seed in range(60):
        image = drawn(cells / 100, spec, seed)
        width = int(np.flatnonzero(image.any(axis=0)).max()) + 1
        assert (image[:2, :width] > 0).all()
        assert image.sum(axis=1) == pytest.approx(cells.sum(axis=1) / 100, rel=1e-4)
        widths.add(width)
    assert min(widths) >= COLUMNS // 2
    assert max(widths) <= COLUMNS
    assert len(widths) > 10


def test_noise_has_its_size_and_is_never_negative() -> None:
    flat = np.full((ROWS, COLUMNS), 0.5, np.float32)
    flat[0, 0] = 1.0
    image = drawn(flat, spec_of(Change(noise=0.01), scales=(Scale.RUN,)))
    assert np.std(image[1:]) == pytest.approx(0.01, rel=0.1)
    empty = np.zeros((ROWS, COLUMNS), np.float32)
    empty[0, 0] = 1.0
    assert drawn(empty, spec_of(Change(noise=0.1))).min() == 0


def test_mixtures_are_the_mean_or_the_maximum_of_both(cells: Image) -> None:
    # Of very different units: each counts in its own.
    other = np.random.default_rng(1).random((ROWS, COLUMNS)).astype(np.float32) * 1e-6
    a, b = cells / cells.max(), other / other.max()
    wanted = {"maximum": np.maximum(a, b), "mean": (a + b) / (a + b).max()}
    seen = []
    for seed in range(40):
        image = drawn(cells, spec_of(Change(mix=1.0)), seed, other)
        seen += [how for how, which in wanted.items() if np.allclose(image, which, atol=1e-6)]
    assert len(seen) == 40
    assert 10 < seen.count("mean") < 30
    # Without chance nothing is mixed.
    spec = spec_of(Change(mix=1.0))
    assert (raster.draw(cells, spec, None, other) == raster.draw(cells, spec)).all()


def test_backgrounds_are_taken_away_half_of_the_time() -> None:
    """The background removes everything below a peak; quantiles remove only a floor."""
    spec = replace(get_preset("ega_first_place"), floor=0.0, reach=1e9, change=Change())
    prepared = raster.prepare(commercial(0, high=990.0), spec)
    always = raster.draw(prepared, replace(spec, change=Change()), np.random.default_rng(0))
    assert np.isfinite(always).all()
    rows = spec.rows
    lifted = prepared.copy()
    lifted[1 : 1 + rows] = 0.0
    lifted[1, ::2] = 1.0  # a curve that is all background where it is not zero
    lifted[1 + rows :] = lifted[1 : 1 + rows]
    chance = replace(spec, change=Change(backgrounds=True))
    shown = [
        bool(raster.draw(lifted, chance, np.random.default_rng(s))[0].any()) for s in range(80)
    ]
    assert 25 < sum(shown) < 55
    never = [raster.draw(lifted, spec, np.random.default_rng(s))[0].any() for s in range(20)]
    assert not any(never)  # where chance does not decide, it always goes
    assert not raster.draw(lifted, chance)[0].any()


@pytest.mark.parametrize("name", ["ega_second_place"])
def test_edges_move_by_parts_of_a_column(name: str) -> None:
    spec = replace(get_preset(name), change=Change(), scales=(Scale.RUN,), powers=(1.0,))
    assert spec.fine % 2 == 1
    prepared = raster.prepare(commercial(0, scans=400, high=1200.0), spec)
    beside = spec.fine // 2
    assert prepared.shape == (spec.rows, spec.columns * spec.fine + 2 * beside)
    still = raster.draw(prepared, spec)[0]
    seen = {raster.draw(prepared, spec, np.random.default_rng(s))[0].tobytes() for s in range(60)}
    assert len(seen) == 2 * beside + 1
    assert still.tobytes() in seen
    parts = prepared[:, beside:-beside].reshape(spec.rows, spec.columns, spec.fine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns that no point is in
        means = np.nan_to_num(np.nanmean(parts, axis=2))
    assert np.allclose(still, means, atol=1e-6)


def test_scales() -> None:
    image = np.array([[1, 2], [0, 4], [0, 0]], np.float32) / 8
    found = {scale: raster._scaled(image, scale) for scale in Scale}
    assert found[Scale.RUN] == pytest.approx(image)
    assert found[Scale.SAMPLE] == pytest.approx(image * 2)
    assert found[Scale.ROW] == pytest.approx(np.array([[0.5, 1], [0, 1], [0, 0]]))
    assert found[Scale.COLUMN] == pytest.approx(np.array([[1, 1 / 3], [0, 2 / 3], [0, 0]]))
    rows = image / np.array([[3 / 8], [4 / 8], [1]]) ** 0.75
    assert found[Scale.ROW_SUM] == pytest.approx(rows / rows.max())


def rendering(mix: float, **others: object) -> Rendering:
    return Rendering(spec_of(Change(mix=mix)), **others)  # type: ignore[arg-type]


def test_labels_of_mixtures_are_those_of_both() -> None:
    rng = np.random.default_rng(0)
    stock = [Decoded(rng.random((ROWS, COLUMNS, 1)).astype(np.float32)) for _ in range(4)]
    targets = np.eye(4, dtype=np.uint8)
    seen = set()
    for seed in range(60):
        image, label = rendering(1.0).draw(stock.__getitem__, targets, 0, seed)
        assert label.dtype == np.float32
        assert label[0] == 1
        seen.add(tuple(label.tolist()))
        alone = (image[0] == raster.draw(stock[0].pixels[:, :, 0], spec_of(Change()))[0]).all()
        assert alone == (label.sum() == 1)
    assert len(seen) == 4  # with itself, or with each of the others
    mixed = [
        rendering(0.25).draw(stock.__getitem__, targets, 0, seed)[1].sum() for seed in range(400)
    ]
    # A quarter of the time, and then three times of four with another one.
    assert np.mean(np.array(mixed) == 2) == pytest.approx(0.1875, abs=0.05)


def test_evaluation_neither_mixes_nor_changes() -> None:
    stock = [Decoded(np.full((ROWS, COLUMNS, 1), 0.5, np.float32)) for _ in range(2)]
    targets = np.eye(2, dtype=np.uint8)
    for way, seed in ((rendering(1.0), None), (rendering(1.0, change=False), 3)):
        image, label = way.draw(stock.__getitem__, targets, 1, seed)
        assert label.tolist() == [0, 1]
        assert (image == 1).all()


def test_views_differ_and_come_again() -> None:
    spec = get_preset("ega_first_place")
    decoded = Decoded(raster.prepare(commercial(0, high=990.0), spec)[:, :, None])
    views = [Rendering(spec).view(decoded, [7, view]) for view in (0, 0, 1)]
    assert views[0].tobytes() == views[1].tobytes()
    assert views[0].tobytes() != views[2].tobytes()

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from marsbench.base.errors import DataError
from marsbench.config.schema import Bands
from marsbench.data import raster
from marsbench.predict import inputs
from marsbench.predict.inputs import Picture, open_picture
from marsbench.predict.walk import Item, find_images
from marsbench.tasks.kinds import Decode, Kind
from tests.fakes import make_spec

GREY = make_spec()
COLOUR = make_spec(channels=3)
ALL = slice(None)


def save(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, **options)
    else:
        Image.fromarray(pixels).save(path)
    return path


def opened(path: Path, task: Any = GREY, bands: Bands = Bands.RGB) -> Picture:
    return open_picture(Item(path, path.name), task, bands)


def noise(*shape: int, dtype: Any = np.uint8, high: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_eight_bits_stay_as_they_are(suffix: str, tmp_path: Path) -> None:
    grey, colour = noise(5, 7), noise(5, 7, 3)
    path = save(tmp_path / f"grey.{suffix}", grey)
    picture = opened(path)
    assert picture.size == (5, 7)
    assert picture.scaling == "8 bits"
    np.testing.assert_array_equal(picture.part(ALL, ALL)[:, :, 0], grey)
    assert picture.part(slice(1, 3), slice(2, 6)).shape == (2, 4, 1)
    # Grey becomes colour and equal bands become grey; other colours do not.
    np.testing.assert_array_equal(opened(path, COLOUR).part(ALL, ALL), np.dstack([grey] * 3))
    same = save(tmp_path / f"same.{suffix}", np.dstack([grey] * 3))
    np.testing.assert_array_equal(opened(same).part(ALL, ALL)[:, :, 0], grey)
    path = save(tmp_path / f"colour.{suffix}", colour)
    np.testing.assert_array_equal(opened(path, COLOUR).part(ALL, ALL), colour)
    with pytest.raises(DataError, match=r"3 bands of different values"):
        opened(path)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_deeper_images_are_scaled_by_percentiles(suffix: str, tmp_path: Path) -> None:
    pixels = noise(40, 50, dtype=np.uint16, high=4000) + np.uint16(1000)
    pixels[0, 0] = 65535
    picture = opened(save(tmp_path / f"deep.{suffix}", pixels))
    low, high = np.percentile(pixels, (0.5, 99.5))
    part = picture.part(ALL, ALL)
    assert part.dtype == np.uint8
    np.testing.assert_allclose(
        part[:, :, 0], 255 * np.clip((pixels - low) / (high - low), 0, 1), atol=0.51
    )
    assert picture.scaling == f"percentiles 0.5 to 99.5: {low:g} to {high:g}"
    assert picture.preview(10).shape == (8, 10, 3)


def test_what_holds_nothing_counts_in_no_percentile(tmp_path: Path) -> None:
    pixels = noise(40, 50, dtype=np.float32, high=100)
    pixels[:5], pixels[5:10] = np.nan, -3.4028234663852886e38
    tag = (42113, 2, 23, "-3.4028234663852886e+38", True)
    picture = opened(save(tmp_path / "gaps.tif", pixels, extratags=[tag]))
    low, high = picture.raster.limits
    assert 0 <= low < high <= 100
    assert not picture.valid(slice(0, 10), ALL).any()
    assert picture.valid(slice(10, 40), ALL).all()
    part = picture.part(ALL, ALL)
    assert not part[:10].any()
    assert np.isfinite(part).all()
    nothing = save(tmp_path / "nothing.tif", np.full((9, 9), np.nan, np.float32))
    with pytest.raises(DataError, match="holds no data"):
        opened(nothing)


def test_transparent_pixels_hold_nothing(tmp_path: Path) -> None:
    pixels = noise(6, 6, 4) | np.uint8(1)
    pixels[:2, :, 3] = 0
    for path in (
        save(tmp_path / "alpha.png", pixels),
        save(tmp_path / "alpha.tif", pixels, extrasamples=["unassalpha"], photometric="rgb"),
    ):
        picture = opened(path, COLOUR)
        assert picture.valid(ALL, ALL)[:, 0].tolist() == [False] * 2 + [True] * 4
        np.testing.assert_array_equal(picture.part(slice(2, 6), ALL), pixels[2:, :, :3])
    near_infrared = save(tmp_path / "nir.tif", pixels, extrasamples=["unspecified"])
    with pytest.raises(DataError, match=r"4 bands; the model .* of 3"):
        opened(near_infrared, COLOUR)


def test_many_bands(tmp_path: Path) -> None:
    spec = make_spec(
        Kind.SEGMENTATION,
        ("background", "slide"),
        channels=7,
        rgb_bands=(2, 1, 0),
        decode=Decode.IMAGE_MASK,
    )
    pixels = np.random.default_rng(0).random((8, 9, 7), dtype=np.float32)
    path = save(tmp_path / "bands.tif", pixels, photometric="minisblack")
    np.testing.assert_array_equal(opened(path, spec).part(ALL, ALL), pixels[:, :, [2, 1, 0]])
    np.testing.assert_array_equal(opened(path, spec, Bands.ALL).part(ALL, ALL), pixels)
    planar = save(tmp_path / "planar.tif", pixels.transpose(2, 0, 1), planarconfig="separate")
    np.testing.assert_array_equal(opened(planar, spec, Bands.ALL).part(ALL, ALL), pixels)
    colours = save(tmp_path / "rgb.png", noise(8, 9, 3))
    assert opened(colours, spec).part(ALL, ALL).shape == (8, 9, 3)
    with pytest.raises(DataError, match=r"3 bands; the model .* of 7"):
        opened(colours, spec, Bands.ALL)
    # Of images of many bands, a model of colours needs three.
    grey = save(tmp_path / "grey.png", noise(8, 9))
    with pytest.raises(DataError, match=r"1 band; the model takes three colours") as caught:
        opened(grey, spec)
    assert caught.value.remedy == (
        "Save it with red, green and blue alone, or with all 7 bands of the task."
    )
    with pytest.raises(DataError, match=r"1 band; .* of 7\.") as caught:
        opened(grey, spec, Bands.ALL)
    assert caught.value.remedy == "Save it with these 7 bands."
    bright = save(tmp_path / "bright.tif", pixels * 40, photometric="minisblack")
    with pytest.raises(DataError, match=r"expected 0 to 1"):
        opened(bright, spec)


def test_damage_is_named(tmp_path: Path) -> None:
    empty, text, one = tmp_path / "empty.png", tmp_path / "text.png", tmp_path / "one.png"
    empty.touch()
    text.write_text("no image")
    save(one, noise(1, 1))
    whole = save(tmp_path / "whole.png", noise(64, 64)).read_bytes()
    cut, tiff = tmp_path / "cut.png", tmp_path / "cut.tif"
    cut.write_bytes(whole[: len(whole) // 2])
    save(tiff, noise(64, 64))
    tiff.write_bytes(tiff.read_bytes()[:2000])
    pages = save(tmp_path / "pages.tif", noise(4, 9, 9, 3), photometric="rgb")
    for path, why in (
        (empty, "empty"),
        (text, "no known image format"),
        (cut, "is damaged: image file is truncated"),
        (tiff, "cannot be read"),
        (one, "1 x 1 pixels, too small"),
        (pages, "several pages"),
    ):
        with pytest.raises(DataError, match=why) as caught:
            opened(path)
        assert str(path) in caught.value.problem


def test_a_large_image_seen_as_a_whole_is_reduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = noise(71, 90)
    path = save(tmp_path / "a.tif", pixels)
    np.testing.assert_array_equal(opened(path).reduced(4)[:, :, 0], pixels)
    monkeypatch.setattr(inputs, "_IN_MEMORY", 2000)
    monkeypatch.setattr(raster, "_IN_MEMORY", 0)
    means = pixels[:68, :88].reshape(17, 4, 22, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(opened(path).reduced(4)[:, :, 0], means, atol=0.51)
    deep = save(tmp_path / "b.tif", pixels.astype(np.float32))
    assert opened(deep).reduced(4).dtype == np.uint8


def test_pairs_become_composites(tmp_path: Path) -> None:
    spec = make_spec(Kind.BINARY, ("Change", "No change"), decode=Decode.PAIR_LABEL)
    before, after = noise(8, 8), noise(8, 8) // 2
    save(tmp_path / "x_before.png", before)
    save(tmp_path / "x_after.png", after)
    save(tmp_path / "y_before.png", before)
    save(tmp_path / "z_after.png", before)
    items = find_images([tmp_path], spec).items
    assert [i.name for i in items] == ["x_before.png", "y_before.png", "z_after.png"]
    picture = open_picture(items[0], spec, Bands.RGB)
    np.testing.assert_array_equal(
        picture.part(ALL, ALL), np.dstack([np.zeros_like(before), after, before])
    )
    with pytest.raises(DataError, match="second image of"):
        open_picture(items[1], spec, Bands.RGB)
    with pytest.raises(DataError, match="first image of the pair"):
        open_picture(items[2], spec, Bands.RGB)
    save(tmp_path / "y_after.png", noise(8, 9))
    with pytest.raises(DataError, match="must have the same size"):
        open_picture(items[1], spec, Bands.RGB)


POINT = (34735, 3, 8, (1, 1, 0, 1, 1025, 0, 1, 2), True)
AREA = (34735, 3, 8, (1, 1, 0, 1, 1025, 0, 1, 1), True)
SCALE = (33550, 12, 3, (2.0, 3.0, 0.0), True)
TIE = (33922, 12, 6, (0.0, 0.0, 0.0, 100.0, 500.0, 0.0), True)
MATRIX = (34264, 12, 16, (0.0, 2.0, 0.0, 7.0, 3.0, 0.0, 0.0, 8.0, *[0.0] * 7, 1.0), True)


@pytest.mark.parametrize(
    ("tags", "bounds"),
    [
        ([SCALE, TIE, AREA], [102, 488, 106, 497]),
        # Coordinates are those of the centres of pixels.
        ([SCALE, TIE, POINT], [101, 489.5, 105, 498.5]),
        ([MATRIX], [9, 11, 15, 17]),
        # Points of control alone.
        ([(33922, 12, 12, tuple(map(float, range(12))), True)], None),
    ],
)
def test_boxes_have_a_place_on_the_map(
    tags: list[Any], bounds: list[float] | None, tmp_path: Path
) -> None:
    geo = opened(save(tmp_path / "map.tif", noise(9, 9), extratags=tags)).geo
    assert geo is not None
    assert geo.bounds((1, 1, 3, 4)) == bounds
    twice = geo.decimated(2).bounds((0.5, 0.5, 1.5, 2))
    assert twice == bounds


def test_an_image_without_a_place(tmp_path: Path) -> None:
    assert opened(save(tmp_path / "plain.tif", noise(9, 9))).geo is None

"""Bands of other tasks as those of a run."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from marsbench.base import paths
from marsbench.base.errors import ConfigError
from marsbench.config.schema import Bands, RunConfig
from marsbench.data.rows import Raw
from marsbench.data.samples import decode_pixels
from marsbench.evaluate.bands import Change, change_bands, match_bands
from marsbench.evaluate.classes import match_classes
from marsbench.tasks.catalog import TASKS, get_task
from marsbench.tasks.spec import TaskSpec
from tests.fakes import make_spec


def test_luminance_is_pillows() -> None:
    colors = np.random.default_rng(0).integers(256, size=(2, 5, 7, 3), dtype=np.uint8)
    images = torch.from_numpy(colors).permute(0, 3, 1, 2).float() / 255
    grey = change_bands(images, Change.LUMINANCE)
    assert grey.shape == (2, 1, 5, 7)
    for image, color in zip(grey[:, 0], colors, strict=True):
        wanted = np.array(Image.fromarray(color).convert("L"))
        # Pillow rounds to whole numbers.
        np.testing.assert_allclose(image.numpy() * 255, wanted, atol=0.51)


def test_grey_is_replicated_and_equal_bands_stay() -> None:
    images = torch.rand(2, 1, 3, 3)
    colors = change_bands(images, Change.REPLICATION)
    assert colors.shape == (2, 3, 3, 3)
    assert all(torch.equal(colors[:, k], images[:, 0]) for k in range(3))
    # White stays white, and grey of replicated grey is itself.
    torch.testing.assert_close(change_bands(colors, Change.LUMINANCE), images)
    assert change_bands(images, Change.NONE) is images


@pytest.mark.parametrize(
    ("trained", "given", "change"),
    [
        (1, 3, Change.LUMINANCE),
        (3, 1, Change.REPLICATION),
        (3, 3, Change.NONE),
        (1, 1, Change.NONE),
        (1, 7, Change.LUMINANCE),
        (3, 7, Change.NONE),
        (7, 1, Change.REPLICATION),
    ],
)
def test_bands_of_colours(trained: int, given: int, change: Change) -> None:
    def spec(channels: int) -> TaskSpec:
        rgb = (2, 1, 0) if channels > 3 else None
        return make_spec(channels=channels, rgb_bands=rgb)

    reading = match_bands(RunConfig(), spec(trained), spec(given))
    assert (reading.bands, reading.change) == (Bands.RGB, change)


def test_all_bands_need_the_same_bands() -> None:
    mmls = TASKS["mmls"]
    config = RunConfig(bands=Bands.ALL)
    assert match_bands(config, mmls, mmls).bands is Bands.ALL
    for other in (TASKS["conequest_seg"], dataclasses.replace(mmls, bands=())):
        with pytest.raises(ConfigError, match="expects its 7 bands, blue, green"):
            match_bands(config, mmls, other)
    with pytest.raises(ConfigError, match="have 4 bands; the run of toy expects 3"):
        match_bands(RunConfig(), make_spec(channels=3), make_spec(channels=4))


def test_the_grey_band_of_mmls_in_place_of_colours() -> None:
    grey, mmls = get_task(str(paths.configs() / "tasks" / "mmls_grey.yaml")), TASKS["mmls"]
    pixels = np.random.default_rng(0).random((8, 8, 7)).astype(np.float32)
    raw = Raw(image=pixels, where="random")
    np.testing.assert_array_equal(decode_pixels(mmls, raw).pixels, pixels[:, :, [2, 1, 0]])
    np.testing.assert_array_equal(decode_pixels(grey, raw).pixels, pixels[:, :, [6, 6, 6]])
    assert match_bands(RunConfig(), mmls, grey).change is Change.NONE
    assert match_classes(mmls, mmls.class_names, grey, grey.class_names).is_identical

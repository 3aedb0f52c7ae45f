from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from marsbench.config.resizing import Interpolation, Resizing
from marsbench.config.schema import Augment
from marsbench.data.transforms import augment_batch, resize, to_float


@pytest.fixture
def images() -> torch.Tensor:
    """Six different images, (6, 2, 5, 5)."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 2, 5, 5), np.uint8))


def by_hand(image: torch.Tensor, seed: int, augment: Augment) -> torch.Tensor:
    if augment is Augment.NONE:
        return image
    if seed & 1:
        image = image.flip(-1)
    return image.rot90((seed >> 1) & 3, (-2, -1)) if augment is Augment.D4 else image


@pytest.mark.parametrize("augment", [Augment.NONE, Augment.HFLIP, Augment.D4])
def test_a_batch_is_changed_image_by_image(images: torch.Tensor, augment: Augment) -> None:
    seeds = [0, 5, 2**62 + 3, 8, 6, 7]
    changed = augment_batch(images, seeds, augment)
    expected = torch.stack([by_hand(x, s, augment) for x, s in zip(images, seeds, strict=True)])
    assert torch.equal(changed, expected)


def test_what_happens_to_a_sample_is_its_own_affair(images: torch.Tensor) -> None:
    seeds = [3, 1, 4, 1, 5, 9]
    together = augment_batch(images, seeds, Augment.D4)
    alone = [augment_batch(images[i : i + 1], [seeds[i]], Augment.D4) for i in range(6)]
    assert torch.equal(together, torch.cat(alone))
    state = torch.get_rng_state()
    augment_batch(images, seeds, Augment.D4)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("seed", range(8))
def test_equal_changes_keep_the_layout(images: torch.Tensor, seed: int) -> None:
    layout = torch.channels_last
    given = images.contiguous(memory_format=layout)
    changed = augment_batch(given, [seed] * len(given), Augment.D4)
    assert torch.equal(changed, torch.stack([by_hand(x, seed, Augment.D4) for x in given]))
    assert changed.is_contiguous(memory_format=layout)


def test_all_eight_flips_and_turns_are_equally_likely(images: torch.Tensor) -> None:
    one = images[:1].expand(800, -1, -1, -1)
    seeds = np.random.default_rng(1).integers(2**63, size=800).tolist()
    counts = Counter(x.numpy().tobytes() for x in augment_batch(one, seeds, Augment.D4))
    assert len(counts) == 8
    assert min(counts.values()) > 60


def test_hflip_keeps_the_sky_up() -> None:
    image = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).expand(30, -1, -1, -1)
    flipped = augment_batch(image, list(range(30)), Augment.HFLIP)
    seen = {tuple(x[0, :, 0].tolist()) for x in flipped}
    assert seen == {(0, 4, 8, 12), (3, 7, 11, 15)}


def test_resizing_one_by_one_or_together_is_the_same(images: torch.Tensor) -> None:
    together = resize(images, 9)
    assert together.dtype == torch.uint8
    assert torch.equal(together, torch.stack([resize(image, 9) for image in images]))


def test_to_float(images: torch.Tensor) -> None:
    scaled = to_float(images)
    assert scaled.dtype == torch.float32
    assert torch.equal((scaled * 255).round().to(torch.uint8), images)
    assert to_float(images, torch.float64).dtype == torch.float64


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(227, 227), (64, 150), (20, 33)])
def test_the_crop_of_the_pretraining_is_that_of_pillow(
    interpolation: str, size: tuple[int, int]
) -> None:
    """Both libraries evaluate their weights so: Pillow's resize, then the central square."""
    side, shorter = 48, 55
    noise = np.random.default_rng(1).integers(0, 256, (size[0] // 4 + 1, size[1] // 4 + 1, 3))
    pixels = np.kron(noise, np.ones((4, 4, 1)))[: size[0], : size[1]].astype(np.uint8)
    image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    cropped = resize(image, side, Resizing(Interpolation(interpolation), shorter))
    scale = shorter / min(size)
    width, height = (int(scale * n) for n in reversed(size))
    how = Image.Resampling[interpolation.upper()]
    left, top = round((width - side) / 2), round((height - side) / 2)
    expected = Image.fromarray(pixels).resize((width, height), how)
    expected = expected.crop((left, top, left + side, top + side))
    difference = cropped.numpy().transpose(1, 2, 0).astype(int) - np.asarray(expected).astype(int)
    assert np.abs(difference).max() <= 2
    floats = resize(to_float(image), side, Resizing(Interpolation(interpolation), shorter))
    band = Image.fromarray(pixels[:, :, 0].astype(np.float32) / 255).resize((width, height), how)
    exact = np.asarray(band.crop((left, top, left + side, top + side))).clip(0, 1)
    np.testing.assert_allclose(floats[0].numpy(), exact, atol=1e-5)

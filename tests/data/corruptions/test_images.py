import io
import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

from marsbench.base.errors import NotAvailableError, UnknownNameError
from marsbench.data.corruptions.applying import corrupt_images, corrupt_pairs
from marsbench.data.corruptions.atmosphere import SKY_GREY, SKY_RGB, UNEVEN
from marsbench.data.corruptions.optics import DIRECTIONS, disc, line
from marsbench.data.corruptions.randomness import sample_seed
from marsbench.data.corruptions.table import CORRUPTIONS, SEVERITIES, Subject, names_of
from marsbench.data.corruptions.wavelet import _transformed
from marsbench.demo.art import terrain

NAMES = names_of(Subject.IMAGES)


def ground(index: int, height: int = 96, width: int = 96) -> NDArray[np.uint8]:
    rng = np.random.default_rng(index)
    side = max(height, width)
    shade = terrain.hillshade(4.0 * terrain.fractal(rng, side, 2.8), 300, 40)
    return terrain.sensor(shade, rng)[:height, :width]


@pytest.fixture(scope="module")
def grey() -> Tensor:
    """Four images of ground, (4, 1, 96, 96)."""
    return torch.from_numpy(np.stack([ground(i) for i in range(4)])).float()[:, None] / 255


@pytest.fixture(scope="module")
def color(grey: Tensor) -> Tensor:
    """The images in brown, (4, 3, 96, 96)."""
    return grey * torch.tensor([1.0, 0.8, 0.6]).view(-1, 1, 1)


def seeds_of(name: str, count: int = 4, seed: int = 0) -> list[int]:
    return [sample_seed(seed, f"image-{i}", name) for i in range(count)]


def values(name: str, severity: int) -> dict[str, float]:
    return CORRUPTIONS[name].at(severity)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_type_and_range_are_kept(name: str, dtype: torch.dtype, color: Tensor) -> None:
    for images in (color.to(dtype), torch.rand(2, 1, 33, 50, dtype=dtype), color[:0].to(dtype)):
        before = images.clone()
        for severity in (1, 5):
            corrupted = corrupt_images(images, name, severity, seeds_of(name, len(images)))
            assert corrupted.shape == images.shape
            assert corrupted.dtype == dtype
            assert torch.equal(images, before)
            assert ((corrupted >= 0) & (corrupted <= 1)).all()
            assert len(images) == 0 or not torch.equal(corrupted, images)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_depends_on_itself_and_its_seed_alone(name: str, color: Tensor) -> None:
    seeds = seeds_of(name)
    together = corrupt_images(color, name, 3, seeds)
    alone = torch.cat([corrupt_images(color[i : i + 1], name, 3, [seeds[i]]) for i in range(4)])
    backwards = corrupt_images(color.flip(0), name, 3, seeds[::-1]).flip(0)
    # Sums over a batch may be rounded otherwise, by the last bits.
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(together, backwards, rtol=0, atol=1e-5)
    assert torch.equal(together, corrupt_images(color, name, 3, seeds))


RANDOM = ("dust", "noise", "striping", "missing_lines", "smear", "gain", "dead_pixels")


@pytest.mark.parametrize("name", NAMES)
def test_random_corruptions_differ_by_sample_and_seed(name: str, grey: Tensor) -> None:
    same = grey[:1].expand(4, -1, -1, -1)
    first = corrupt_images(same, name, 3, seeds_of(name))
    second = corrupt_images(same, name, 3, seeds_of(name, seed=1))
    is_random = name in RANDOM
    assert (len({image.numpy().tobytes() for image in first}) > 1) == is_random
    assert (not torch.equal(first, second)) == is_random


@pytest.mark.parametrize("name", NAMES)
def test_damage_grows_with_severity(name: str, color: Tensor) -> None:
    for images in (color, color[:, :1]):
        damage = [
            float((corrupt_images(images, name, s, seeds_of(name)) - images).square().mean())
            for s in SEVERITIES
        ]
        assert all(b > 1.05 * a for a, b in itertools.pairwise(damage)), damage


def test_dust_weakens_the_ground_and_adds_its_own_light() -> None:
    black, white = torch.zeros(3, 3, 40, 40), torch.ones(3, 3, 40, 40)
    seeds = seeds_of("dust", 3)
    for severity in SEVERITIES:
        depth = values("dust", severity)["optical_depth"]
        veil = corrupt_images(black, "dust", severity, seeds)
        through = corrupt_images(white, "dust", severity, seeds) - veil
        optical = -through.log() / depth
        assert optical.min() >= 1 - UNEVEN - 1e-4
        assert optical.max() <= 1 + UNEVEN + 1e-4
        sky = torch.tensor(SKY_RGB).view(-1, 1, 1)
        torch.testing.assert_close(veil, sky * (1 - through))
    own = torch.full((1, 1, 40, 40), SKY_GREY)
    torch.testing.assert_close(corrupt_images(own, "dust", 4, seeds[:1]), own)


def test_low_sun_steepens_shading_and_dims_plains() -> None:
    plain = torch.full((1, 1, 56, 56), 0.5)
    angle = math.radians(values("low_sun", 3)["incidence"])
    light = math.sqrt(math.cos(angle) * math.sqrt(2))
    torch.testing.assert_close(
        corrupt_images(plain, "low_sun", 3, [0]), torch.full_like(plain, 0.5 * light)
    )
    # Rows of slopes towards the sun and away from it: their mean is the plain's.
    slopes = 0.04 * (-1.0) ** torch.arange(56).view(-1, 1).expand(56, 56)
    shaded = corrupt_images(plain + slopes, "low_sun", 3, [0])
    expected = light * (0.5 + slopes * math.tan(angle))
    torch.testing.assert_close(shaded[0, 0], expected)


def test_noise_has_the_variance_of_electrons() -> None:
    for severity in (1, 3):
        electrons, read = values("noise", severity).values()
        level = torch.full((2, 1, 200, 200), 0.5)
        noisy = corrupt_images(level, "noise", severity, [1, 2])
        variance = (0.5 * electrons + read**2) / electrons**2
        assert float(noisy.mean()) == pytest.approx(0.5, abs=0.005)
        assert float(noisy.var()) == pytest.approx(variance, rel=0.05)


def test_stripes_are_the_same_in_every_line() -> None:
    images = torch.rand(2, 1, 30, 60) * 0.2 + 0.4
    striped = corrupt_images(images, "striping", 2, [5, 6]).double()
    for before, after in zip(images[:, 0].double(), striped[:, 0], strict=True):
        for column in range(60):
            fit = np.polyfit(before[:, column].numpy(), after[:, column].numpy(), 1)
            fitted = np.polyval(fit, before[:, column].numpy())
            assert np.allclose(fitted, after[:, column].numpy(), atol=1e-6)


def test_lost_lines_and_blocks_are_black_and_their_number_exact() -> None:
    white = torch.ones(3, 1, 224, 224)
    before = torch.ones_like(white)
    for severity in SEVERITIES:
        lines, blocks = values("missing_lines", severity).values()
        lost = corrupt_images(white, "missing_lines", severity, [1, 2, 3])
        assert set(lost.flatten().tolist()) == {0.0, 1.0}
        assert (lost <= before).all()  # what is lost at a severity is lost at the next
        before = lost
        for image in lost[:, 0]:
            rows = int((image.sum(dim=1) == 0).sum())
            assert rows >= 4 * round(56 * lines)
            kept = image[image.sum(dim=1) > 0]
            cells = {(r // 28, c // 28) for r, c in (image == 0).nonzero().tolist()}
            assert len(cells) >= round(64 * blocks)
            # A line that is not lost as a whole is lost in whole blocks.
            assert set(kept.view(len(kept), 8, 28).mean(dim=2).flatten().tolist()) <= {0.0, 1.0}


def test_jpeg_is_that_of_pillow(color: Tensor) -> None:
    for images in (color[:1], color[:1, :1]):
        pixels = (images[0] * 255).round().byte().permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze()).save(file, "JPEG", quality=15)
        expected = np.asarray(Image.open(file), np.float32) / 255
        corrupted = corrupt_images(images, "jpeg", 3, [0])[0].permute(1, 2, 0).numpy().squeeze()
        assert np.allclose(corrupted, expected, atol=1e-6)


def test_wavelet_has_the_errors_of_jpeg_2000() -> None:
    pixels = ground(3, 224, 224)
    brown = (pixels[:, :, None] * np.array([1.0, 0.8, 0.6])).astype(np.uint8)
    ratio = values("wavelet", 1)["ratio"]
    # OpenJPEG spends more bits than needed on colour.
    for picture, decibels in ((pixels, 1.0), (brown, 4.0)):
        file = io.BytesIO()
        options = {"irreversible": True, "quality_mode": "rates", "quality_layers": [ratio]}
        Image.fromarray(picture).save(file, "JPEG2000", **options)
        codec = np.asarray(Image.open(file)).astype(float) / 255
        image = torch.from_numpy(picture.reshape(224, 224, -1).copy()).permute(2, 0, 1)[None] / 255
        ours = corrupt_images(image, "wavelet", 1, [0])[0].permute(1, 2, 0).numpy().squeeze()
        errors = [float(np.square(x - picture / 255).mean()) for x in (ours, codec)]
        assert 10 * abs(math.log10(errors[0] / errors[1])) < decibels


@pytest.mark.parametrize("size", [(64, 64), (33, 50), (8, 9), (5, 7)])
def test_wavelets_compose_what_they_decompose(size: tuple[int, int]) -> None:
    planes = torch.rand(2, 3, *size)
    composed = _transformed(_transformed(planes), inverse=True)
    torch.testing.assert_close(composed, planes, atol=1e-5, rtol=0)
    # A constant has low frequencies alone.
    coefficients = _transformed(torch.ones(1, 1, 64, 64))
    assert int((coefficients.abs() > 1e-4).sum()) == 16


def test_defocus_is_a_convolution_with_a_disc(grey: Tensor) -> None:
    for severity in (1, 3, 5):
        radius = values("defocus", severity)["radius"]
        kernel = disc(radius)
        assert float(kernel.sum()) == pytest.approx(1)
        # A disc's second moment is a quarter of its radius squared; pixels blur it a little.
        place = torch.arange(len(kernel)) - len(kernel) // 2
        moment = float((kernel * place[:, None] ** 2).sum())
        assert moment == pytest.approx(radius**2 / 4, abs=0.13)
        blurred = corrupt_images(grey[:1], "defocus", severity, [0])[0, 0].numpy()
        expected = ndimage.convolve(grey[0, 0].numpy(), kernel.numpy(), mode="nearest")
        assert np.allclose(blurred, expected, atol=1e-5)


def test_smear_is_a_line_in_each_direction() -> None:
    point = torch.zeros(40, 1, 41, 41)
    point[:, :, 20, 20] = 1.0
    smeared = corrupt_images(point, "smear", 2, seeds_of("smear", 40))
    seen = {image.numpy().tobytes() for image in smeared}
    assert len(seen) == DIRECTIONS
    for image in smeared[:, 0]:
        where = image.nonzero().double()
        torch.testing.assert_close(image[image > 0], torch.full((9,), 1 / 9))
        torch.testing.assert_close(where.mean(dim=0), torch.full((2,), 20.0).double())
        assert len(where) == 9
    assert line(DIRECTIONS // 2, 2) == [(-2, 0), (-1, 0), (0, 0), (1, 0), (2, 0)]


def test_resolution_is_the_mean_of_cells_interpolated(grey: Tensor) -> None:
    factor = int(values("resolution", 3)["factor"])
    image = grey[0, 0].numpy()
    coarse = image.reshape(96 // factor, factor, 96 // factor, factor).mean(axis=(1, 3))
    # Centres of fine pixels among centres of coarse ones; the edges go on.
    place = np.clip((np.arange(96) + 0.5) / factor - 0.5, 0, len(coarse) - 1)
    expected = ndimage.map_coordinates(coarse, np.meshgrid(place, place, indexing="ij"), order=1)
    corrupted = corrupt_images(grey[:1], "resolution", 3, [0])[0, 0].numpy()
    assert np.allclose(corrupted, expected, atol=1e-5)


def test_gain_is_one_factor_up_or_down() -> None:
    images = torch.rand(60, 1, 8, 8) * 0.2 + 0.1
    factor = 2 ** values("gain", 4)["stops"]
    ratios = corrupt_images(images, "gain", 4, seeds_of("gain", 60)) / images
    of_image = ratios.flatten(1)
    torch.testing.assert_close(of_image.amin(1), of_image.amax(1))
    brighter = of_image[:, 0] > 1
    torch.testing.assert_close(of_image[brighter, 0], torch.full((int(brighter.sum()),), factor))
    assert 15 < int(brighter.sum()) < 45


def test_bit_depth_leaves_so_many_levels(grey: Tensor) -> None:
    for severity in SEVERITIES:
        bits = int(values("bit_depth", severity)["bits"])
        levels = np.linspace(0, 1, 2**bits)
        corrupted = corrupt_images(grey, "bit_depth", severity, [0] * 4).numpy()
        nearest = levels[np.abs(grey.numpy()[..., None] - levels).argmin(axis=-1)]
        assert len(np.unique(corrupted)) <= 2**bits
        assert np.allclose(corrupted, nearest, atol=0.5 / 2**bits / 100)


def test_dead_pixels_are_black_or_white_in_all_bands() -> None:
    images = torch.full((2, 3, 200, 200), 0.5)
    corrupted = corrupt_images(images, "dead_pixels", 4, [1, 2])
    share = values("dead_pixels", 4)["share"]
    for value in (0.0, 1.0):
        dead = corrupted == value
        assert torch.equal(dead[:, 0], dead[:, 2])
        assert float(dead.float().mean()) == pytest.approx(share / 2, rel=0.1)
    assert float((corrupted == 0.5).float().mean()) == pytest.approx(1 - share, abs=0.01)


def test_pairs_are_two_observations(grey: Tensor) -> None:
    pairs = torch.cat([torch.zeros_like(grey), grey, grey], dim=1)
    for name in NAMES:
        corrupted = corrupt_pairs(pairs, name, 3, seeds_of(name))
        assert (corrupted[:, 0] == 0).all()
        assert torch.equal(corrupted[:, 1], corrupted[:, 2]) == (name not in RANDOM), name


def test_other_bands_and_names_are_refused(grey: Tensor) -> None:
    with pytest.raises(NotAvailableError, match="one or three bands; these have 7"):
        corrupt_images(grey.expand(-1, 7, -1, -1), "dust", 1, [0] * 4)
    with pytest.raises(UnknownNameError, match="corruption of images 'mass_shift'"):
        corrupt_images(grey, "mass_shift", 1, [0] * 4)
    with pytest.raises(ValueError, match="3 seeds of 4 images"):
        corrupt_images(grey, "dust", 1, [0] * 3)

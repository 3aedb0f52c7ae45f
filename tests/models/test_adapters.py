import math

import numpy as np
import pytest
import torch

from marsbench.config.schema import Channels, Normalisation
from marsbench.models.adapters import build_adapter, minmax, mixing, sigma2
from marsbench.models.inputs import Inputs
from marsbench.models.spec import Library, ModelSpec

MEAN, STD = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def model(channels: int = 6, **more: object) -> ModelSpec:
    return ModelSpec(
        name="m",
        library=Library.TIMM,
        id="m",
        mean=MEAN[:channels],
        std=STD[:channels],
        **more,  # type: ignore[arg-type]
    )


def images(bands: int, side: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(bands).random((2, bands, side, side), np.float32))


def test_rgb_is_repeated_in_turn() -> None:
    image = images(3)
    adapted = build_adapter(model(), Inputs(bands=3))(image)
    for channel in range(6):
        expected = (image[:, channel % 3] - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(adapted[:, channel], expected)


def test_grey_takes_part_in_every_channel() -> None:
    image = images(1)
    adapted = build_adapter(model())(image)
    assert adapted.shape == (2, 6, 5, 5)
    torch.testing.assert_close(adapted[:, 4], (image[:, 0] - MEAN[4]) / STD[4])


def test_zero_pads_after_the_normalisation() -> None:
    image = images(3)
    adapted = build_adapter(model(), Inputs(bands=3, channels=Channels.ZERO))(image)
    torch.testing.assert_close(adapted[:, 2], (image[:, 2] - MEAN[2]) / STD[2])
    assert (adapted[:, 3:] == 0).all()
    assert adapted.shape == (2, 6, 5, 5)


@pytest.mark.parametrize(("bands", "channels"), [(3, 6), (12, 3), (7, 3), (1, 6), (4, 4)])
def test_a_learned_layer_starts_as_replication_or_means(bands: int, channels: int) -> None:
    image = images(bands)
    adapter = build_adapter(model(channels), Inputs(bands=bands, channels=Channels.LEARNED))
    assert [name for name, p in adapter.named_parameters() if p.requires_grad] == ["mix.weight"]
    adapted = adapter(image)
    for channel in range(channels):
        if bands <= channels:
            mixed = image[:, channel % bands]
        else:
            mixed = torch.stack([image[:, b] for b in range(channel, bands, channels)]).mean(0)
        expected = (mixed - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(adapted[:, channel], expected)


def test_weights_of_a_mixing_layer_sum_to_one() -> None:
    torch.testing.assert_close(mixing(7, 3).weight.sum(dim=(1, 2, 3)), torch.ones(3))


def test_bands_are_selected_by_position() -> None:
    image = images(7)
    adapted = build_adapter(model(3), Inputs(select=(2, 1, 0)))(image)
    torch.testing.assert_close(adapted[:, 0], (image[:, 2] - MEAN[0]) / STD[0])


def test_statistics_of_the_data_replace_those_of_the_pretraining() -> None:
    image = images(3)
    inputs = Inputs(bands=3, normalisation=Normalisation.DATA)
    inputs = inputs.with_statistics((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    adapted = build_adapter(model(), inputs)(image)
    for channel in range(6):
        mean, std = (0.4, 0.5, 0.6)[channel % 3], (0.1, 0.2, 0.3)[channel % 3]
        torch.testing.assert_close(adapted[:, channel], (image[:, channel % 3] - mean) / std)


def test_minmax_is_followed_by_the_statistics_of_the_pretraining() -> None:
    image = images(3)
    by_key = build_adapter(model(3), Inputs(normalisation=Normalisation.MINMAX))(image)
    by_entry = build_adapter(model(3, normalisation=Normalisation.MINMAX))(image)
    plain = image.numpy()
    low, high = (f(plain, axis=(2, 3), keepdims=True) for f in (np.min, np.max))
    expected = ((plain - low) / (high - low) - np.array(MEAN[:3]).reshape(1, 3, 1, 1)) / np.array(
        STD[:3]
    ).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(by_key.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(by_key, by_entry)


def test_sigma2_clips_two_deviations_of_each_band() -> None:
    image = images(3, side=40) ** 6  # skewed, so that values are clipped
    adapted = build_adapter(model(3), Inputs(normalisation=Normalisation.SIGMA2))(image)
    for i in range(2):
        for band in range(3):
            values = image[i, band].double().numpy()
            low = values.mean() - 2 * values.std(ddof=1)
            high = values.mean() + 2 * values.std(ddof=1)
            expected = np.clip((values - low) / (high - low), 0, 1)
            np.testing.assert_allclose(adapted[i, band].numpy(), expected, atol=1e-5)
    assert (adapted == 1).any()


@pytest.mark.parametrize("scale", [minmax, sigma2])
def test_constant_bands_become_zero(scale: object) -> None:
    assert callable(scale)
    scaled = scale(torch.full((1, 2, 4, 4), 0.3))
    assert (scaled == 0).all()
    assert math.isfinite(scaled.sum())


def test_values_of_records_are_those_that_differ() -> None:
    assert Inputs().plain == {}
    assert Inputs().identity is None
    inputs = Inputs(bands=3, channels=Channels.ZERO, normalisation=Normalisation.DATA)
    known = inputs.with_statistics((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
    assert known.identity == {"bands": 3, "channels": "zero", "normalisation": "data"}
    assert Inputs.from_plain(known.plain, "record") == known

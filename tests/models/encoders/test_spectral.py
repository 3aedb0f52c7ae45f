import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from marsbench.models.encoders.spectral import SPECTRAL, Conv1dNet, PatchViT

ROWS = 30
RESAMPLED = ["conv1d_net", "gru_net"]
"""What takes inputs of another length than it was built for."""

every_backbone = pytest.mark.parametrize("name", SPECTRAL)


def backbone(name: str, channels: int = 3, columns: int = 40) -> nn.Module:
    torch.manual_seed(0)
    return SPECTRAL[name](channels, ROWS, columns)


def images(count: int = 2, channels: int = 3, columns: int = 40) -> Tensor:
    """Draw random images that, like spectra, are dark but for a few bright places."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, channels, ROWS, columns, generator=generator) ** 8


@pytest.mark.parametrize("columns", [1, 7, 40, 64, 240])
@pytest.mark.parametrize("channels", [1, 3])
@every_backbone
def test_features_have_the_promised_shape(name: str, channels: int, columns: int) -> None:
    model = backbone(name, channels, columns)
    features = model(images(2, channels, columns))
    assert features.shape == (2, model.num_features)
    assert features.dtype == torch.float32
    assert features.isfinite().all()


@pytest.mark.parametrize("columns", [3, 39, 41, 100])
@pytest.mark.parametrize("name", RESAMPLED)
def test_another_length_than_built_for(name: str, columns: int) -> None:
    model = backbone(name).eval()
    assert model(images(columns=columns)).shape == (2, model.num_features)


@every_backbone
def test_an_empty_spectrum_has_finite_features(name: str) -> None:
    assert backbone(name)(torch.zeros(2, 3, ROWS, 40)).isfinite().all()


@every_backbone
def test_gradients_reach_every_parameter(name: str) -> None:
    model = backbone(name).eval()  # without dropout, which may cut a branch off
    model(images(4)).square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@every_backbone
def test_evaluation_is_deterministic_and_treats_samples_one_by_one(name: str) -> None:
    model = backbone(name)
    batch = images(4)
    assert not torch.equal(model(batch), model(batch))  # dropout and random slopes
    model.eval()
    together = model(batch)
    assert torch.equal(together, model(batch))
    torch.testing.assert_close(together[1:2], model(batch[1:2]), rtol=1e-4, atol=1e-5)


@every_backbone
def test_both_axes_matter(name: str) -> None:
    model = backbone(name).eval()
    image = torch.zeros(1, 3, ROWS, 40)
    image[:, :, 18, 4:8] = 1
    other_ion, other_temperature = image.roll(1, dims=2), image.roll(9, dims=3)
    features = model(image)
    assert (model(other_ion) - features).abs().max() > 1e-3
    assert (model(other_temperature) - features).abs().max() > 1e-3


@every_backbone
def test_state_dict_round_trip(name: str) -> None:
    model = backbone(name).eval()
    copy = SPECTRAL[name](3, ROWS, 40).eval()
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy(images()), model(images()))


@every_backbone
def test_learns_a_few_samples_by_heart(name: str) -> None:
    torch.manual_seed(0)
    image, target = images(16), torch.randint(0, 2, (16, 5)).float()
    model = backbone(name)
    assert isinstance(model.num_features, int)
    classifier = nn.Sequential(model, nn.Linear(model.num_features, 5))
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=2e-3)
    for _ in range(60):
        loss = functional.binary_cross_entropy_with_logits(classifier(image), target)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    classifier.eval()
    assert functional.binary_cross_entropy_with_logits(classifier(image), target) < 0.2


def test_dilations_that_no_input_fills_are_left_out() -> None:
    assert [len(Conv1dNet(1, 5, columns).first) for columns in (1, 2, 40, 51, 240)] == [
        1,
        1,
        5,
        6,
        7,
    ]


def test_patches_cover_a_grid_that_they_do_not_divide() -> None:
    model = PatchViT(1, 23, 37, patch=(10, 8)).eval()
    image = torch.zeros(1, 1, 23, 37)
    corner = image.clone()
    corner[..., -1, -1] = 1
    assert model.transformer.patch_embed.num_patches == 3 * 5
    assert (model(corner) - model(image)).abs().max() > 1e-4

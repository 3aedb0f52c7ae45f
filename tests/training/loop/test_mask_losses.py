import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from torch import Tensor
from torch.nn import functional

from marsbench.config.schema import LossName
from marsbench.tasks.kinds import Kind
from marsbench.training.loop.objectives.masks import (
    DICE_WEIGHTS,
    SMOOTHING,
    MaskObjective,
    cross_entropy,
    generalized_dice,
)

LOSSES = (
    "cross_entropy",
    "generalized_dice",
    "generalized_dice_simple",
    "generalized_dice_linear",
    "combined",
)


def objective_of(
    loss: str, num_classes: int, weights: NDArray[np.float64] | None = None
) -> MaskObjective:
    return MaskObjective(Kind.SEGMENTATION, LossName(loss), num_classes, num_classes, weights)


def batch(seed: int = 0, k: int = 4, ignored: float = 0.2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, k, 6, 5, generator=generator, dtype=torch.float64)
    masks = torch.randint(0, k, (3, 6, 5), generator=generator)
    masks[torch.rand(3, 6, 5, generator=generator) < ignored] = 255
    return logits, masks


def reference_dice(logits: Tensor, mask: Tensor, kind: str) -> float:
    """Sudre et al. 2017, equation 3, pixel by pixel, with MONAI's weight of absent classes."""
    keep = (mask != 255).flatten()
    if not keep.any():
        return 0.0
    chances = torch.softmax(logits, 0).flatten(1)[:, keep].numpy()
    truth = np.eye(len(chances))[mask.flatten()[keep]].T
    volume = truth.sum(1) / keep.sum().item()
    with np.errstate(divide="ignore"):
        factors = {"square": 1 / volume**2, "simple": 1 / volume, "linear": volume**0}[kind]
    factors[np.isinf(factors)] = factors[np.isfinite(factors)].max()
    mean = chances.mean(1)
    overlap = (chances * truth).mean(1)
    ratio = (2 * (factors * overlap).sum() + SMOOTHING) / (
        (factors * (volume + mean)).sum() + SMOOTHING
    )
    return float(1 - ratio)


@pytest.mark.parametrize("kind", DICE_WEIGHTS)
def test_dice_equals_the_formula(kind: str) -> None:
    for seed in range(5):
        logits, masks = batch(seed)
        masks[1][masks[1] == 2] = 0  # an absent class
        found = generalized_dice(logits, masks, kind)
        wanted = [reference_dice(a, b, kind) for a, b in zip(logits, masks, strict=True)]
        assert found.tolist() == pytest.approx(wanted, abs=1e-12)


def test_cross_entropy_equals_sklearn_and_torch() -> None:
    logits, masks = batch()
    found = cross_entropy(logits, masks)
    for i in range(3):
        keep = masks[i] != 255
        chances = torch.softmax(logits[i], 0)[:, keep].T
        wanted = log_loss(masks[i][keep], chances, labels=range(4))
        assert found[i].item() == pytest.approx(wanted, abs=1e-12)
        alone = functional.cross_entropy(logits[i : i + 1], masks[i : i + 1], ignore_index=255)
        assert found[i].item() == pytest.approx(alone.item(), abs=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_samples_do_not_touch_each_other(loss: str) -> None:
    objective = objective_of(loss, 4)
    logits, masks = batch()
    together = objective(logits, masks)
    assert together.shape == (3,)
    for i in range(3):
        alone = objective(logits[i : i + 1], masks[i : i + 1])
        assert alone.item() == pytest.approx(together[i].item(), abs=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_ignored_pixels_count_nowhere(loss: str, seed: int) -> None:
    objective = objective_of(loss, 4)
    logits, masks = batch(seed, ignored=0.4)
    changed = torch.where((masks == 255)[:, None], 50 * torch.randn_like(logits), logits)
    changed.requires_grad_(True)
    found = objective(changed, masks)
    assert found.tolist() == pytest.approx(objective(logits, masks).tolist(), abs=1e-12)
    found.sum().backward()
    assert changed.grad is not None
    assert not changed.grad.permute(0, 2, 3, 1)[masks == 255].any()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gradients_are_finite_at_the_edges(loss: str, dtype: torch.dtype) -> None:
    """Perfect, perfectly wrong, one class alone, one pixel, nothing counted."""
    objective = objective_of(loss, 3)
    truth = torch.randint(0, 3, (1, 32, 32), generator=torch.Generator().manual_seed(0))
    single = torch.zeros(1, 32, 32, dtype=torch.int64)
    lone = torch.full((1, 32, 32), 255)
    lone[0, 3, 4] = 1
    speck = single.clone()
    speck[0, 0, 0] = 2
    masks = torch.cat([truth, truth, single, lone, speck, torch.full((1, 32, 32), 255)])
    one_hot = functional.one_hot(masks.clamp(max=2), 3).movedim(-1, 1)
    signs = torch.tensor([1, -1, -1, 1, 0, 1]).view(-1, 1, 1, 1)
    logits = (one_hot * signs * 2000).to(dtype).requires_grad_(True)
    losses = objective(logits, masks)
    assert losses.dtype == torch.float32
    assert torch.isfinite(losses).all()
    losses.mean().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert losses[0].item() == pytest.approx(0, abs=1e-5)
    assert losses[1].item() > 0.5
    assert losses[5].item() == 0
    assert not logits.grad[5].any()


@pytest.mark.parametrize("kind", DICE_WEIGHTS)
def test_dice_gradients_are_those_of_differences(kind: str) -> None:
    logits, masks = batch(k=3)
    masks[0][masks[0] == 2] = 255
    assert torch.autograd.gradcheck(
        lambda x: generalized_dice(x, masks, kind), logits[:, :3].requires_grad_(True)
    )


def test_what_is_falsely_predicted_of_an_absent_class_costs() -> None:
    masks = torch.zeros(1, 8, 8, dtype=torch.int64)
    right = torch.zeros(1, 3, 8, 8)
    right[:, 0] = 5
    wrong = right.clone()
    wrong[:, 2, :4] = 10
    for kind in DICE_WEIGHTS:
        assert generalized_dice(wrong, masks, kind) > generalized_dice(right, masks, kind) + 0.3


@pytest.mark.parametrize("kind", DICE_WEIGHTS)
def test_dice_does_not_depend_on_the_size_of_the_image(kind: str) -> None:
    """Half right of half an image: smoothing must not outweigh the weights of large images."""
    values = []
    for side in (8, 64, 1024):
        masks = torch.zeros(1, side, side, dtype=torch.int64)
        masks[:, : side // 2] = 1
        logits = torch.zeros(1, 2, side, side)
        logits[:, 0, :, : side // 2], logits[:, 1, :, side // 2 :] = 50, 50
        values.append(generalized_dice(logits, masks, kind).item())
    assert values == pytest.approx([0.5] * 3, abs=1e-4)


def test_small_classes_weigh_more() -> None:
    """A missed speck costs most with square weights, least with none."""
    masks = torch.zeros(1, 16, 16, dtype=torch.int64)
    masks[0, :2, :2] = 1
    logits = torch.zeros(1, 2, 16, 16)
    logits[:, 0] = 20
    square, simple, linear = (generalized_dice(logits, masks, k).item() for k in DICE_WEIGHTS)
    assert square > simple > linear
    assert square > 0.95
    assert linear < 0.05


def test_class_weights_count_in_training_and_not_in_the_plain_loss() -> None:
    logits, masks = batch(ignored=0)
    weights = np.array([2.0, 0.5, 1.0, 0.5])
    for loss in ("cross_entropy", "combined"):
        weighed, plain = objective_of(loss, 4, weights), objective_of(loss, 4)
        assert torch.equal(weighed.plain(logits, masks), plain(logits, masks))
        assert not weighed.state_dict()
        pixels = functional.cross_entropy(logits, masks, reduction="none")
        factors = torch.tensor(weights)[masks] - 1
        wanted = plain(logits, masks) + (pixels * factors).mean((1, 2))
        assert weighed(logits, masks).tolist() == pytest.approx(wanted.tolist())
    dice = objective_of("generalized_dice", 4, weights)
    assert torch.equal(dice(logits, masks), generalized_dice(logits, masks))


def test_names() -> None:
    logits, masks = batch()
    found = {name: objective_of(name, 4)(logits, masks) for name in LOSSES}
    assert torch.equal(found["generalized_dice"], generalized_dice(logits, masks, "square"))
    assert torch.equal(found["generalized_dice_simple"], generalized_dice(logits, masks, "simple"))
    assert torch.equal(found["generalized_dice_linear"], generalized_dice(logits, masks, "linear"))
    assert torch.equal(found["combined"], found["cross_entropy"] + found["generalized_dice"])


def test_probabilities_and_digits() -> None:
    logits, masks = batch()
    objective = objective_of("combined", 4)
    chances = objective.probabilities(logits.bfloat16())
    assert chances.dtype == torch.float32
    assert chances.sum(1).flatten().tolist() == pytest.approx([1.0] * 90)
    assert objective(logits, masks).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = objective(logits.float(), masks)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(objective(logits, masks).tolist(), rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_descending_learns_the_mask(loss: str) -> None:
    objective = objective_of(loss, 4)
    logits, masks = batch()
    logits = logits.requires_grad_(True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        objective(logits, masks).mean().backward()
        optimizer.step()
    keep = masks != 255
    assert (logits.argmax(1) == masks)[keep].float().mean() > 0.97

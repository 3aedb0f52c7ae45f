"""Models whose answers are known."""

from typing import Any

import torch
from torch import Tensor, nn

from marsbench.config.schema import LossName
from marsbench.models.detectors.base import Detections
from marsbench.predict.predictor import Predictor
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import TaskSpec
from marsbench.training.loop.objectives.build import objective_of
from tests.fakes import make_spec

MASKS = make_spec(
    Kind.SEGMENTATION, ("background", "crater", "dune"), name="masks", decode=Decode.IMAGE_MASK
)
BOXES = make_spec(Kind.DETECTION, ("crater", "rock"), name="boxes", decode=Decode.IMAGE_BOXES)


class Pointwise(nn.Module):
    """A convolution of one pixel: class 0 where it is dark, 1 where grey, 2 where bright."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 1)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([-12.0, 0.0, 12.0]).view(3, 1, 1, 1))
            # Classes change between 8-bit values, 84 and 85 or 170 and 171, so no value is a tie.
            self.layer.bias = nn.Parameter(torch.tensor([3.98, 0.0, -8.02]))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, 3, H, W)."""
        logits: Tensor = self.layer(image)
        return logits


class Bright(nn.Module):
    """Finds one object: the rectangle around all that is bright in an image."""

    def forward(self, image: Tensor) -> list[Detections]:
        """A box around the bright pixels of each image."""
        return [self._one(one[0] > 0.5) for one in image]

    def _one(self, bright: Tensor) -> Detections:
        if not bright.any():
            return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long())
        rows, columns = bright.any(dim=1).nonzero(), bright.any(dim=0).nonzero()
        box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        # A box of low confidence beside it.
        boxes = torch.stack([box, torch.tensor([0, 0, 5, 5])]).float()
        return Detections(boxes, torch.tensor([0.9, 0.1]), torch.tensor([1, 0]))


class Mean(nn.Module):
    """Says class k the surer the nearer the mean of an image is to k / 2."""

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, 3)."""
        mean = image.mean(dim=(1, 2, 3))
        return -20 * (mean[:, None] - torch.tensor([0.0, 0.5, 1.0])).abs() + 3


def predictor(kind: Kind, side: int = 32, **more: Any) -> Predictor:
    """A predictor of a kind with a model of this file."""
    specs: dict[Kind, tuple[TaskSpec, nn.Module]] = {
        Kind.SEGMENTATION: (MASKS, Pointwise()),
        Kind.DETECTION: (BOXES, Bright()),
    }
    spec, model = specs.get(kind, (make_spec(kind), Mean()))
    loss = LossName.BINARY_CROSS_ENTROPY if kind is Kind.MULTILABEL else LossName.CROSS_ENTROPY
    fields: dict[str, Any] = {
        "model": model,
        "task": spec,
        "classes": spec.class_names,
        "side": side,
        "origin": "stub",
        "objective": objective_of(kind, loss, len(spec.classes), len(spec.classes)),
    }
    return Predictor(**fields | more)

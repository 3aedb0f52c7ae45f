"""Image pipelines of torchvision's v2 transforms.

They take uint8 tensors (C, H, W) and give float32 in [0, 1]; normalising is the model's part.
"""

from typing import Any

import torch
from torchvision.transforms import v2

from marsbench.config import Augment


class RandomQuarterTurn(v2.Transform):  # type: ignore[misc]
    """Turn by 0, 90, 180 or 270 degrees, each as likely; exact, nothing is interpolated."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, int]:
        """Draw the number of quarter turns."""
        return {"turns": int(torch.randint(4, ()))}

    def transform(self, inpt: torch.Tensor, params: dict[str, int]) -> torch.Tensor:
        """Turn one image."""
        return torch.rot90(inpt, params["turns"], dims=(-2, -1))


def eval_transform(side: int | None) -> v2.Compose:
    """Resize to (side, side), unless side is None, and scale to [0, 1]."""
    return v2.Compose([*_resize(side), _to_float()])


def train_transform(side: int | None, augment: Augment) -> v2.Compose:
    """Resize, change at random, and scale to [0, 1].

    Args:
        side: Side of the model's input in pixels; None keeps the size.
        augment: What to change, resolved.
    """
    changes: dict[Augment, list[v2.Transform]] = {
        Augment.NONE: [],
        Augment.HFLIP: [v2.RandomHorizontalFlip()],
        Augment.D4: [v2.RandomHorizontalFlip(), RandomQuarterTurn()],
    }
    return v2.Compose([*_resize(side), *changes[augment], _to_float()])


def _resize(side: int | None) -> list[v2.Transform]:
    return [] if side is None else [v2.Resize((side, side), antialias=True)]


def _to_float() -> v2.Transform:
    return v2.ToDtype(torch.float32, scale=True)

"""Description of a user's encoder. Importable without torch."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any

from marsbench.base.values import Limit
from marsbench.config.schema import Normalisation
from marsbench.models.pretraining import UNKNOWN, Pretraining
from marsbench.models.spec import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class Encoder:
    """Encoder of a user, as its function returns it.

    Attributes:
        module: Module of torch, from float (B, C, S, S), normalised, to features (B, num_features).
            In evaluation mode equal images give equal features.
        num_features: Length of a feature vector.
        dense: Function from the same images to feature maps, for tasks of masks and boxes: tokens
            (B, n * n, F) of n x n patches, row by row, without class token, or maps (B, F, h, w);
            or a list of either, of several blocks or as a pyramid, finest first. None takes the
            intermediate maps of a module of timm; other modules then give vectors alone.
        size: Side S of its input in pixels.
        mean: Mean of each of the C input channels, of values in [0, 1].
        std: Standard deviation of each.
        bands: Names of the channels, such as those of a custom task's bands; empty for red, green
            and blue.
        normalisation: Scaling of each image by its own values before `mean` and `std`: pretraining
            for none, minmax or sigma2.
        any_size: Whether it takes squares of any size.
        pretraining: Data behind its weights, for the leaderboard.
        files: Files that it reads, such as its weights, below the folder of its own file. Their
            content is part of run ids, as is that of the function's file.
    """

    module: Any  # torch.nn.Module; a hint would import torch
    _: KW_ONLY
    num_features: Annotated[int, Limit(low=1)]
    dense: Any = None  # a callable
    size: Annotated[int, Limit(low=1)] = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[Annotated[float, Limit(above=0)], ...] = IMAGENET_STD
    bands: tuple[str, ...] = ()
    normalisation: Normalisation = Normalisation.PRETRAINING
    any_size: bool = False
    pretraining: Pretraining = UNKNOWN
    files: tuple[str, ...] = ()

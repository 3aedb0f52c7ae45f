"""Backbones for mass spectra: images whose two axes have different meanings.

A row is an m/z and a column a step of temperature (or time). A peak may lie anywhere along its
row, but its row identifies the ion, and neighbouring rows are other ions. These networks therefore
share weights along the temperature axis and learn separate weights for every m/z, while an image
network shares weights along both axes.

Every backbone takes float (B, C, M, T) in [0, 1], M rows of m/z and T columns of temperature,
and returns features (B, num_features).
"""

from collections.abc import Callable
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from marsbench.base.errors import ConfigError
from marsbench.models.encoders.classifier import Backbone
from marsbench.models.spec import ModelSpec

DILATIONS = (1, 2, 5, 10, 20, 50, 100)
"""Dilations of the first convolutions in columns, from the flank of a peak to a whole ramp."""

_GROUPS = 4
"""Groups of channels that are normalised together after Conv1dNet's second convolution."""


class Conv1dNet(nn.Module):
    """Convolutions over temperature, the same for every m/z, then a linear layer across m/z.

    Follows the published description of the second place of the Mars Spectrometry challenge: two
    convolutions of kernel 3 and stride 2, the first with many dilations in parallel, then group
    normalisation, random ReLU and dropout (DrivenData, "Meet the winners of the Mars
    Spectrometry Challenge", second place). Layer sizes and the resampling are our choice.

    Args:
        channels: Number of input channels, C.
        rows: Number of m/z, M.
        columns: Number of columns, T. Sets the dilations and the number of positions along the
            temperature axis; inputs of other lengths are resampled.
        width: Channels per dilation of the first convolution.
        row_channels: Channels of the second convolution.
        num_features: Length of a feature vector.
        dropout: Rate after each hidden layer.
        feature_dropout: Rate on the features.
    """

    def __init__(
        self,
        channels: int,
        rows: int,
        columns: int,
        *,
        width: int = 4,
        row_channels: int = 16,
        num_features: int = 128,
        dropout: float = 0.1,
        feature_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        # With larger dilations both outer taps would always fall on padding.
        dilations = [step for step in DILATIONS if step < columns] or [1]
        joined = width * len(dilations)
        self.first = nn.ModuleList(_along_columns(channels, width, step) for step in dilations)
        self.first_norm = _activation(joined, len(dilations), dropout)
        self.second = _along_columns(joined, row_channels, 1)
        self.second_norm = _activation(row_channels, _GROUPS, dropout)
        # The temperature of a gas release separates minerals, so positions are not averaged.
        self.positions = -(-columns // 4)
        self.across = nn.Linear(row_channels * rows * self.positions, num_features)
        self.across_norm = _activation(num_features, 1, dropout)
        self.feature_dropout = nn.Dropout(feature_dropout)

    def forward(self, image: Tensor) -> Tensor:
        """Encode a batch (B, C, M, T); returns (B, num_features)."""
        scales = torch.cat([convolve(image) for convolve in self.first], dim=1)
        peaks = self.second_norm(self.second(self.first_norm(scales)))
        if peaks.shape[3] != self.positions:
            # Only if needed: on a GPU the gradient of this pooling is not deterministic.
            peaks = functional.adaptive_avg_pool2d(peaks, (peaks.shape[2], self.positions))
        mixed = self.across_norm(self.across(peaks.flatten(1)))
        features: Tensor = self.feature_dropout(mixed)
        return features


class GruNet(nn.Module):
    """A bidirectional GRU over the columns in order of temperature.

    Features are the mean and the maximum of its states over the columns.

    Args:
        channels: Number of input channels, C.
        rows: Number of m/z, M.
        columns: Unused; any number of columns works.
        width: Size of the projection of a column's C x M values.
        hidden: Size of the state of each direction.
        dropout: Rate after the projection.
        feature_dropout: Rate on the features.
    """

    def __init__(
        self,
        channels: int,
        rows: int,
        columns: int,
        *,
        width: int = 128,
        hidden: int = 64,
        dropout: float = 0.2,
        feature_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_features = 4 * hidden
        # An extra value for the position of the column, which mean and maximum would lose.
        self.project = nn.Sequential(
            nn.Linear(channels * rows + 1, width),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(dropout),
        )
        self.gru = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.feature_dropout = nn.Dropout(feature_dropout)

    def forward(self, image: Tensor) -> Tensor:
        """Encode a batch (B, C, M, T) of any T; returns (B, num_features)."""
        columns = image.permute(0, 3, 1, 2).flatten(2)
        place = torch.linspace(-1, 1, columns.shape[1], dtype=image.dtype, device=image.device)
        place = place.view(1, -1, 1).expand(len(columns), -1, -1)
        states, _ = self.gru(self.project(torch.cat([columns, place], dim=2)))
        features: Tensor = self.feature_dropout(torch.cat([states.mean(1), states.amax(1)], dim=1))
        return features


class PatchViT(nn.Module):
    """A small vision transformer with patches fitted to the raster and learned positions.

    Args:
        channels: Number of input channels, C.
        rows: Number of m/z, M.
        columns: Number of columns, T. Inputs must have this size.
        patch: Size of a patch in m/z and in columns; by default all m/z by two columns. The last
            rows and columns are padded with zeros.
        dim: Length of a token, and of a feature vector.
        depth: Number of blocks.
        heads: Number of attention heads.
        dropout: Dropout rate after each layer and on the features, and stochastic depth rate of
            the last block (rising linearly from 0 at the first block).
    """

    def __init__(
        self,
        channels: int,
        rows: int,
        columns: int,
        *,
        patch: tuple[int, int] | None = None,
        dim: int = 128,
        depth: int = 3,
        heads: int = 4,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.num_features = dim
        # Patches of a few m/z would share weights over ions, which hundreds of samples cannot
        # correct.
        patch = (rows, 2) if patch is None else patch
        self.padding = (0, -columns % patch[1], 0, -rows % patch[0])
        # The mean of the tokens; a class token takes more samples to learn.
        self.transformer = VisionTransformer(
            img_size=(rows + self.padding[3], columns + self.padding[1]),
            patch_size=patch,
            in_chans=channels,
            num_classes=0,
            global_pool="avg",
            class_token=False,
            embed_dim=dim,
            depth=depth,
            num_heads=heads,
            drop_rate=dropout,
            proj_drop_rate=dropout,
            drop_path_rate=dropout,
        )

    def forward(self, image: Tensor) -> Tensor:
        """Encode a batch (B, C, M, T); returns (B, num_features)."""
        features: Tensor = self.transformer(functional.pad(image, self.padding))
        return features


SPECTRAL: dict[str, Callable[[int, int, int], nn.Module]] = {
    "conv1d_net": Conv1dNet,
    "gru_net": GruNet,
    "patch_vit": PatchViT,
}
"""Backbones by name; each takes channels, rows and columns."""


def build(spec: ModelSpec, shape: tuple[int, int] | None) -> Backbone:
    """Build a backbone for rasters of a shape (rows, columns), with random weights.

    Raises:
        ConfigError: If the samples are not spectra.
    """
    if shape is None:
        raise ConfigError(f"Model {spec.name} takes spectra, not images.", "Choose another model.")
    # Grey rasters are replicated to three channels, as for every classifier.
    model: Any = SPECTRAL[spec.id](3, *shape)
    return Backbone(model, int(model.num_features), set())


def _along_columns(channels: int, out_channels: int, dilation: int) -> nn.Conv2d:
    """Build a convolution along rows, with stride 2; a 2D module needs no reshaping."""
    return nn.Conv2d(
        channels,
        out_channels,
        kernel_size=(1, 3),
        stride=(1, 2),
        padding=(0, dilation),
        dilation=(1, dilation),
    )


def _activation(channels: int, groups: int, dropout: float) -> nn.Sequential:
    # Normalised over all rows together: a single row scaled to unit variance would turn the
    # noise of an absent ion into peaks.
    return nn.Sequential(
        nn.GroupNorm(groups, channels), nn.RReLU(1 / 8, 1 / 3), nn.Dropout(dropout)
    )

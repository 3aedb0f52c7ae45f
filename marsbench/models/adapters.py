"""Adapters between images and networks: bands to channels, and normalisation."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from marsbench.config.schema import Channels, Normalisation
from marsbench.models.inputs import DEFAULT, Inputs
from marsbench.models.spec import ModelSpec

Bands = tuple[int | None, ...]
"""Colour of each band: 0 red, 1 green, 2 blue, None another."""


def minmax(image: Tensor) -> Tensor:
    """Scale each band of each image (B, C, H, W) to [0, 1]; constant bands become 0."""
    low, high = image.amin((2, 3), keepdim=True), image.amax((2, 3), keepdim=True)
    return _scaled(image, low, high)


def sigma2(image: Tensor) -> Tensor:
    """Scale mean - 2 std to mean + 2 std of each band of each image to [0, 1], clipped.

    Input and output are (B, C, H, W); the standard deviation is that of the sample (n - 1), as in
    CROMA (Fuller et al. 2023, https://arxiv.org/abs/2311.00566). Constant bands become 0.
    """
    mean, std = image.mean((2, 3), keepdim=True), image.std((2, 3), keepdim=True)
    return _scaled(image, mean - 2 * std, mean + 2 * std).clamp(0, 1)


def _scaled(image: Tensor, low: Tensor, high: Tensor) -> Tensor:
    width = high - low
    return torch.where(width > 0, (image - low) / torch.where(width > 0, width, 1), 0)


SCALINGS: dict[Normalisation, Callable[[Tensor], Tensor]] = {
    Normalisation.MINMAX: minmax,
    Normalisation.SIGMA2: sigma2,
}
"""Scalings of each image by its own values."""


class InputAdapter(nn.Module):
    """Adapt images (B, n, H, W) in [0, 1] to a network: (B, m, H, W), normalised.

    Bands are selected, scaled, expanded to the m channels, and normalised by `mean` and `std`.

    Args:
        mean: Mean of each channel, or of red, green and blue with `color_of_band`.
        std: Standard deviation of each.
        color_of_band: Colour of each channel; a channel without a colour is normalised by the means
            over the three colours. None if `mean` and `std` are those of the channels.
        inputs: Bands of the images, and their statistics.
        scale: Scaling of each image by its own values; None for no scaling.
    """

    mean: Tensor
    std: Tensor
    band_mean: Tensor
    band_std: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        color_of_band: Bands | None = None,
        inputs: Inputs = DEFAULT,
        scale: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            colors = range(len(values)) if color_of_band is None else color_of_band
            self._keep(name, [sum(values) / 3 if c is None else values[c] for c in colors])
        self._keep("band_mean", inputs.mean or [0.0])
        self._keep("band_std", inputs.std or [1.0])
        self.inputs, self.scale = inputs, scale
        self.mix: nn.Conv2d | None = None
        if inputs.bands is not None and inputs.channels is Channels.LEARNED:
            self.mix = mixing(inputs.bands, self.mean.shape[1])

    def _keep(self, name: str, values: Sequence[float]) -> None:
        self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Adapt a batch (B, n, H, W), or a grey one (B, 1, H, W); returns (B, m, H, W)."""
        inputs = self.inputs
        if inputs.select is not None:
            image = image[:, list(inputs.select)]
        if self.scale is not None:
            image = self.scale(image)
        if inputs.mean is not None:
            image = (image - self.band_mean) / self.band_std
        if inputs.bands is None:
            return (image - self.mean) / self.std  # a grey image takes part in every channel
        num_bands, num_channels = inputs.bands, self.mean.shape[1]
        if inputs.channels is Channels.ZERO:
            image = (image - self.mean[:, :num_bands]) / self.std[:, :num_bands]
            # After the normalisation, so that a missing channel is at its mean.
            return functional.pad(image, (0, 0, 0, 0, 0, num_channels - num_bands))
        if self.mix is not None:
            image = self.mix(image)
        else:
            image = image[:, [i % num_bands for i in range(num_channels)]]
        return (image - self.mean) / self.std


def build_adapter(
    spec: ModelSpec, inputs: Inputs = DEFAULT, color_of_band: Bands | None = None
) -> InputAdapter:
    """Build the adapter of a zoo entry.

    Args:
        spec: The entry.
        inputs: Bands and normalisation of the images.
        color_of_band: Colour of each band, if the first filters were distributed to the bands.
    """
    chosen = inputs.normalisation
    mean, std = spec.mean, spec.std
    if chosen is Normalisation.PRETRAINING:
        chosen = spec.normalisation
    elif chosen is not Normalisation.MINMAX:
        # Statistics of the data, or of the image, take the place of the pre-training's.
        mean, std = (0.0,) * len(mean), (1.0,) * len(std)
    return InputAdapter(mean, std, color_of_band, inputs, SCALINGS.get(chosen))


def mixing(num_bands: int, num_channels: int) -> nn.Conv2d:
    """Build a trained first layer from n bands to m channels, a convolution of 1 x 1 pixels.

    It starts as the replication of the bands in turn, or, for more bands than channels, as the mean
    of every m-th band.
    """
    layer = nn.Conv2d(num_bands, num_channels, 1, bias=False)
    band, channel = torch.arange(num_bands), torch.arange(num_channels)[:, None]
    is_of = (
        channel % num_bands == band if num_bands <= num_channels else band % num_channels == channel
    )
    weight = is_of / is_of.sum(dim=1, keepdim=True)
    with torch.no_grad():
        layer.weight.copy_(weight[:, :, None, None])
    return layer

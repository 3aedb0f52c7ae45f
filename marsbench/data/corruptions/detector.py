"""Corruptions by the detector: noise, stripes, gain, quantisation, dead pixels."""

import torch
from torch import Tensor

from marsbench.data.corruptions.randomness import Draws

_CHANNEL = 0.25
"""Smallest share of an image's width that a channel of the detector covers."""


def noise(images: Tensor, draws: Draws, *, electrons: float, read_noise: float) -> Tensor:
    """Add shot and read noise, both as normal noise, which counts above some ten electrons follow.

    Args:
        images: (B, C, H, W) in [0, 1].
        draws: Random numbers.
        electrons: Electrons at white; the variance of a count is the count.
        read_noise: Standard deviation of reading, in electrons.
    """
    deviation = (images * electrons + read_noise**2).sqrt_().div_(electrons)
    return deviation.mul_(draws.normal(0, *images.shape[1:])).add_(images)


def striping(images: Tensor, draws: Draws, *, gain: float, offset: float) -> Tensor:
    """Give each column a gain and an offset, and all columns on one side of a border another gain.

    A line detector reads every column with the same pixel, and its halves through two channels.

    Args:
        images: (B, C, H, W) in [0, 1].
        draws: Random numbers.
        gain: Standard deviation of a column's gain, and half the step between channels.
        offset: Standard deviation of a column's offset.
    """
    width = images.shape[-1]
    columns = draws.normal(0, 2, 1, 1, width).to(images.dtype)
    border, sign = draws.uniform(1, 2, 1, 1, 1).to(images.dtype).unbind(1)
    border = _CHANNEL + (1.0 - 2.0 * _CHANNEL) * border
    place = torch.arange(width, device=images.device, dtype=images.dtype) / width
    step = torch.where(place < border, gain, -gain) * torch.where(sign < 0.5, 1.0, -1.0)
    factor = (1.0 + gain * columns[:, 0] + step).clamp_min(0.0)
    return images * factor + offset * columns[:, 1]


def gain(images: Tensor, draws: Draws, *, stops: float) -> Tensor:
    """Make each image brighter or darker by a factor 2^`stops`.

    Args:
        images: (B, C, H, W) in [0, 1].
        draws: Random numbers: brighter and darker are equally likely.
        stops: Binary logarithm of the factor.
    """
    brighter = draws.uniform(0, 1, 1, 1) < 0.5
    return images * torch.where(brighter, 2.0**stops, 2.0**-stops).to(images.dtype)


def bit_depth(images: Tensor, draws: Draws, *, bits: float) -> Tensor:
    """Round to 2^`bits` equally spaced levels from 0 to 1.

    Args:
        images: (B, C, H, W) in [0, 1].
        draws: Unused.
        bits: Number of bits.
    """
    levels: float = 2.0**bits - 1.0
    return (images * levels).round_().div_(levels)


def dead_pixels(images: Tensor, draws: Draws, *, share: float) -> Tensor:
    """Turn pixels black (dead) or white (hot) in all bands.

    Args:
        images: (B, C, H, W) in [0, 1].
        draws: Random numbers.
        share: Share of the pixels; half of them are hot.
    """
    place = draws.uniform(0, 1, *images.shape[-2:])
    hot = place < share / 2
    dead = place > 1.0 - share / 2
    return images.masked_fill(hot, 1.0).masked_fill(dead, 0.0)

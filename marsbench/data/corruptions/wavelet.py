"""Compression by wavelets: the lossy part of JPEG 2000 and of rovers' ICER.

Both decompose an image by wavelets, round the coefficients with a step that fits the number of
bits, and code them without loss. The coding changes no pixel, so only its length is estimated: it
is proportional to the number of coefficients other than zero (He and Mitra 2002, A linear source
model and a unified rate control algorithm for DCT video coding, IEEE Transactions on Circuits and
Systems for Video Technology 12, 970-982). All images of a batch are compressed at once, on their
device, in less time than by a codec, which codes the bits that it then drops.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from marsbench.data.corruptions.randomness import Draws

BITS = 6.0
"""Bits per coefficient other than zero; with 6, errors are those of JPEG 2000 at equal size."""

_LEVELS = 5
_SMALLEST = 8
"""Smallest side that is decomposed further."""

_LIFTING = (-1.586134342, -0.052980118, 0.882911075, 0.443506852)
"""Steps of the 9/7 wavelet of Cohen, Daubechies and Feauveau, as in JPEG 2000 (ISO 15444-1)."""

_LUMINANCE = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
"""Luminance and two colour differences from red, green and blue, as in JPEG 2000."""


def wavelet(images: Tensor, draws: Draws, *, ratio: float) -> Tensor:
    """Keep the largest wavelet coefficients that fit the size, and round them.

    Args:
        images: (B, C, H, W) in [0, 1].
        draws: Unused.
        ratio: Bits of 8-bit pixels over bits kept.
    """
    planes = images.float() - 0.5
    colors = torch.tensor(_LUMINANCE)
    if planes.shape[1] == 3:
        planes = _mixed(planes, colors)
    values = _transformed(planes)
    largest = values.flatten(1).abs()
    count = min(max(1, int(8.0 * largest.shape[1] / ratio / BITS)), largest.shape[1])
    step = largest.topk(count, dim=1).values[:, -1].clamp_min(1e-6).view(-1, 1, 1, 1)
    # Zero reaches from -1 to 1 step; other values stand in the middle of their interval.
    whole = (values.abs() / step).floor_()
    rounded = values.sign() * torch.where(whole > 0, (whole + 0.5) * step, 0.0)
    planes = _transformed(rounded, inverse=True)
    if planes.shape[1] == 3:
        planes = _mixed(planes, torch.linalg.inv(colors))
    return planes + 0.5


def _mixed(planes: Tensor, weights: Tensor) -> Tensor:
    """Mix the bands of planes (B, C, H, W) by a matrix (C, C)."""
    weights = weights.to(planes.device, non_blocking=True)
    return torch.einsum("ij,bjhw->bihw", weights, planes)


def _transformed(planes: Tensor, *, inverse: bool = False) -> Tensor:
    """Decompose planes (B, C, H, W) into wavelet coefficients, or compose them."""
    result = planes.clone()
    sizes = _sizes(planes.shape[-2], planes.shape[-1])
    for height, width in reversed(sizes) if inverse else sizes:
        rows, columns = (
            _matrix(side, inverse).to(planes.device, non_blocking=True) for side in (height, width)
        )
        part = result[..., :height, :width]
        result[..., :height, :width] = rows @ part @ columns.T
    return result


def _sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes of the part that each level decomposes, from the whole image down."""
    sizes: list[tuple[int, int]] = []
    while len(sizes) < _LEVELS and min(height, width) >= _SMALLEST:
        sizes.append((height, width))
        height, width = -(-height // 2), -(-width // 2)
    return sizes


@lru_cache(maxsize=64)
def _matrix(side: int, inverse: bool) -> Tensor:
    """One level of the transform of `side` values as a matrix: low frequencies, then high ones.

    Signals continue mirrored. Both halves are scaled to keep the energy of constants and of
    alternating signals, so that errors of all coefficients count alike.
    """
    signals = torch.eye(side, dtype=torch.float64)
    even, odd = signals[::2].clone(), signals[1::2].clone()
    for step, weight in enumerate(_LIFTING):
        if step % 2 == 0:
            after = torch.cat([even[1:], even[-1:]])[: len(odd)]
            odd += weight * (even[: len(odd)] + after)
        else:
            before = torch.cat([odd[:1], odd])[: len(even)]
            after = torch.cat([odd, odd[-1:]])[: len(even)]
            even += weight * (before + after)
    alternating = 1.0 - 2.0 * (torch.arange(side) % 2).double()
    low = even * (math.sqrt(2.0) / even.sum(dim=1, keepdim=True))
    high = odd * (math.sqrt(2.0) / (odd @ alternating).abs()[:, None])
    matrix = torch.cat([low, high])
    return (torch.linalg.inv(matrix) if inverse else matrix).float()

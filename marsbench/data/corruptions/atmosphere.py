"""Corruptions by air and light: dust and low sun."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from marsbench.data.corruptions.randomness import Draws

SKY_GREY = 0.6
"""Brightness of dust in a grey image: calibrated images put bright ground near white."""

SKY_RGB = (0.72, 0.56, 0.38)
"""Brightness of dust in red, green and blue: it absorbs blue light, so that the sky is yellow-brown
(Tomasko et al. 1999)."""

UNEVEN = 0.35
"""Greatest relative deviation of the optical depth within an image: dust comes in clouds."""

_CLOUDS = 4
"""Side of the grid of optical depths, interpolated to the image."""

INCIDENCE = 45.0
"""Incidence of the images as they are, in degrees from the zenith."""

NEIGHBOURHOODS = 14
"""Number of neighbourhoods along a side of an image, whose mean brightness counts as albedo."""


def dust(images: Tensor, draws: Draws, *, optical_depth: float) -> Tensor:
    """Weaken the ground by exp(-t) and add the light of the dust, 1 - exp(-t) of its brightness.

    Args:
        images: (B, C, H, W) in [0, 1].
        draws: Random numbers: the optical depth is uneven over an image.
        optical_depth: Mean optical depth t of the added dust.
    """
    through = transmission(images, draws, optical_depth)
    brightness = torch.tensor(SKY_RGB if images.shape[1] == 3 else (SKY_GREY,))
    sky = brightness.to(images.device, images.dtype, non_blocking=True).view(-1, 1, 1)
    return sky + (images - sky) * through


def transmission(images: Tensor, draws: Draws, optical_depth: float) -> Tensor:
    """Share of the ground's light that passes the dust, (B, 1, H, W)."""
    clouds = 2.0 * draws.uniform(0, 1, _CLOUDS, _CLOUDS).to(images.dtype) - 1.0
    clouds = functional.interpolate(
        clouds, size=images.shape[-2:], mode="bilinear", align_corners=True
    )
    return torch.exp(-optical_depth * (1.0 + UNEVEN * clouds))


def low_sun(images: Tensor, draws: Draws, *, incidence: float) -> Tensor:
    """Lower the sun from `INCIDENCE`: slopes gain contrast by the tangent of the incidence.

    The brightness of a Lambertian slope s towards the sun is cos(i) (1 + s tan(i)), so shading,
    the deviation from the neighbourhood's mean, grows by the ratio of the tangents. Light falls by
    the ratio of the cosines; exposure makes up for half of that, as a factor. Slopes darker than
    black lie in shadow.

    Args:
        images: (B, C, H, W) in [0, 1].
        draws: Unused; the sun has the same effect on every image.
        incidence: Incidence in degrees from the zenith.
    """
    low, high = math.radians(incidence), math.radians(INCIDENCE)
    contrast = math.tan(low) / math.tan(high)
    light = math.sqrt(math.cos(low) / math.cos(high))
    size = images.shape[-2:]
    coarse = [min(side, NEIGHBOURHOODS) for side in size]
    albedo = functional.interpolate(images, size=coarse, mode="area")
    albedo = functional.interpolate(albedo, size=size, mode="bilinear", align_corners=False)
    return light * (albedo + (images - albedo) * contrast)

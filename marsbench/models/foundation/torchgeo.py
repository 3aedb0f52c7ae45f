"""CROMA, DOFA and Scale-MAE of torchgeo, with the interface of timm's transformers.

Their checkpoints are read by `marsbench.models.tensors`, not by torchgeo.
"""

import importlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from marsbench.base.errors import NotAvailableError
from marsbench.models.encoders.classifier import Backbone
from marsbench.models.foundation.recipes import RECIPES
from marsbench.models.spec import ModelSpec

WAVELENGTHS = (0.665, 0.56, 0.49)
"""Red, green and blue in micrometres, as in DOFA's own example of RGB images."""

_GRIDS = 8
"""Sizes of images whose biases of attention are kept."""


def build(spec: ModelSpec, shape: tuple[int, int] | None) -> Backbone:
    """Build a backbone with random weights.

    Raises:
        NotAvailableError: If torchgeo is not installed.
    """
    recipe = RECIPES[spec.id]
    function = getattr(_library(spec), recipe.architecture)
    net: Any = function(**recipe.options)
    wrap = _WRAPPERS.get(type(net).__name__)
    module = net if wrap is None else wrap(net)
    return Backbone(module, int(module.embed_dim), set())


def _library(spec: ModelSpec) -> Any:
    """Import torchgeo, which takes seconds."""
    try:
        return importlib.import_module("torchgeo.models")
    except ImportError as error:
        raise NotAvailableError(
            f"{spec.name} needs the Python package torchgeo, which is not installed ({error}).",
            "Install it: pip install 'marsbench[eo]'.",
        ) from error


class _Blocks(nn.Module):
    """Feature maps of intermediate blocks, as timm gives them."""

    embed_dim: int
    num_prefix_tokens: int
    feature_info: list[dict[str, Any]]

    def forward_intermediates(
        self,
        image: Tensor,
        indices: Sequence[int] | None = None,
        norm: bool = False,
        intermediates_only: bool = True,
    ) -> list[Tensor]:
        """Encode normalised images (B, C, H, W).

        Args:
            image: The images.
            indices: Blocks; None for all.
            norm: Whether the last normalisation is applied to each.
            intermediates_only: True, as timm returns maps alone.

        Returns:
            Maps (B, F, h, w) of the patches after each of the blocks.
        """
        if not intermediates_only:
            raise ValueError("maps alone are returned")
        patch = self.feature_info[0]["reduction"]
        height, width = (side // patch for side in image.shape[-2:])
        taken = set(range(len(self.feature_info)) if indices is None else indices)
        maps = []
        for i, tokens in enumerate(self._after_blocks(image)):
            if i in taken:
                patches = (self._normalised(tokens) if norm else tokens)[
                    :, self.num_prefix_tokens :
                ]
                maps.append(patches.transpose(1, 2).reshape(len(image), -1, height, width))
        return maps

    def _after_blocks(self, image: Tensor) -> list[Tensor]:
        """Tokens (B, N, F) after each block."""
        raise NotImplementedError

    def _normalised(self, tokens: Tensor) -> Tensor:
        """Apply the last normalisation."""
        raise NotImplementedError


class Croma(_Blocks):
    """Optical encoder of CROMA, for squares of any multiple of 8 pixels.

    Features are its pooled encoding (``optical_GAP``); tokens are its encodings of patches.

    Args:
        net: CROMA of torchgeo with the optical modality.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.s2_encoder, self.s2_GAP_FFN = net.s2_encoder, net.s2_GAP_FFN
        self.fc_norm = nn.Identity()
        self.cls_token = None
        self.embed_dim, self.num_prefix_tokens = net.encoder_dim, 0
        layers = self.s2_encoder.transformer.layers
        self.feature_info = _info(len(layers), self.embed_dim, net.patch_size)

    def forward(self, image: Tensor) -> Tensor:
        """Encode normalised images (B, 12, S, S); returns (B, F)."""
        features: Tensor = self.s2_GAP_FFN(self.forward_features(image).mean(dim=1))
        return features

    def forward_features(self, image: Tensor) -> Tensor:
        """Encode normalised images (B, 12, S, S); returns tokens (B, N, F)."""
        tokens: Tensor = self.s2_encoder(imgs=image, attn_bias=self._bias(image))
        return tokens

    def _after_blocks(self, image: Tensor) -> list[Tensor]:
        encoder, bias = self.s2_encoder, self._bias(image)
        side = encoder.patch_size
        patches = nn.functional.unfold(image, side, stride=side).transpose(1, 2)
        tokens = encoder.linear_input(patches)
        output = []
        for attention, mlp in encoder.transformer.layers:
            tokens = attention(tokens, bias) + tokens
            tokens = mlp(tokens) + tokens
            output.append(tokens)
        return output

    def _normalised(self, tokens: Tensor) -> Tensor:
        normalised: Tensor = self.s2_encoder.transformer.norm_out(tokens)
        return normalised

    def _bias(self, image: Tensor) -> Tensor:
        """Penalties of distances between patches, by head."""
        grid = image.shape[-1] // self.s2_encoder.patch_size
        return _distances(self.s2_encoder.num_heads, grid).to(image)


@lru_cache(_GRIDS)
def _distances(num_heads: int, grid: int) -> Tensor:
    """Distances of the patches of a square grid, by the slope of each head: (1, heads, N, N).

    Attention with linear biases in two dimensions; torchgeo computes it in a loop over all pairs.
    """
    at = torch.cartesian_prod(torch.arange(float(grid)), torch.arange(float(grid)))
    exponents = torch.arange(1, num_heads + 1) * (8 / num_heads)
    return -(2**-exponents)[None, :, None, None] * torch.cdist(at, at)


class Dofa(_Blocks):
    """DOFA for red, green and blue, for squares of any multiple of 16 pixels.

    Args:
        net: DOFA of torchgeo.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.patch_embed, self.blocks, self.fc_norm = net.patch_embed, net.blocks, net.fc_norm
        self.cls_token, self.pos_embed = net.cls_token, net.pos_embed
        self.embed_dim, self.num_prefix_tokens = net.embed_dim, 1
        self.feature_info = _info(len(self.blocks), self.embed_dim, net.patch_size)
        waves = torch.tensor(WAVELENGTHS)
        self.register_buffer("wavelengths", waves, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Encode normalised images (B, 3, S, S); returns (B, F)."""
        features: Tensor = self.fc_norm(self.forward_features(image)[:, 1:].mean(dim=1))
        return features

    def forward_features(self, image: Tensor) -> Tensor:
        """Encode normalised images (B, 3, S, S); returns tokens (B, 1 + N, F), the class first."""
        return self._after_blocks(image)[-1]

    def _after_blocks(self, image: Tensor) -> list[Tensor]:
        patches, _ = self.patch_embed(image, self.wavelengths)
        side = round(patches.shape[1] ** 0.5)
        positions = resample_abs_pos_embed(self.pos_embed, [side, side], num_prefix_tokens=1)
        first = self.cls_token.expand(len(image), -1, -1)
        tokens = torch.cat([first, patches], dim=1) + positions
        output = []
        for block in self.blocks:
            tokens = block(tokens)
            output.append(tokens)
        return output

    def _normalised(self, tokens: Tensor) -> Tensor:
        normalised: Tensor = self.fc_norm(tokens)
        return normalised


def _info(depth: int, width: int, patch: int) -> list[dict[str, Any]]:
    """Blocks in timm's terms."""
    return [{"num_chs": width, "reduction": patch, "module": f"blocks.{i}"} for i in range(depth)]


_WRAPPERS: dict[str, Any] = {"CROMA": Croma, "DOFA": Dofa}
"""Interfaces by torchgeo's class; Scale-MAE is a transformer of timm."""

"""From the tensors of published checkpoints to those of timm's transformers."""

from typing import Any

from timm.layers.pos_embed import resample_abs_pos_embed

from marsbench.models.foundation.recipes import MAE_DECODER
from marsbench.models.spec import ModelSpec
from marsbench.models.tensors import State

_POSITIONS = "pos_embed"
_KERNEL = "patch_embed.proj.weight"


def without_decoder(spec: ModelSpec, module: Any, state: State) -> State:
    """Remove the decoder of a masked autoencoder, for transformers of timm.

    Other checkpoints are returned as they are.

    Args:
        spec: The zoo entry.
        module: The backbone.
        state: Tensors of the checkpoint, without prefixes.
    """
    if not hasattr(module, _POSITIONS) or "decoder_embed.weight" not in state:
        return state
    return at_grid(module, {k: v for k, v in state.items() if not k.startswith(MAE_DECODER)})


def at_grid(module: Any, state: State) -> State:
    """Interpolate learnt positions to the grid of a transformer, where the grids differ.

    Args:
        module: Transformer with timm's names.
        state: Tensors by its names.
    """
    wanted, given = getattr(module, _POSITIONS, None), state.get(_POSITIONS)
    if given is None or wanted is None or given.shape == wanted.shape or given.ndim != 3:
        return state
    prefix = wanted.shape[1] - module.patch_embed.num_patches
    side = round((given.shape[1] - prefix) ** 0.5)
    if given.shape[2] != wanted.shape[2] or side**2 + prefix != given.shape[1]:
        return state  # another model, which loading names
    grid = list(module.patch_embed.grid_size)
    moved = resample_abs_pos_embed(given, grid, [side, side], num_prefix_tokens=prefix)
    return {**state, _POSITIONS: moved}


def of_prithvi(module: Any, state: State) -> State:
    """Turn Prithvi's encoder of image series into a transformer of single images.

    The kernel of a patch (D, C, 1, p, p) is that of an image, and positions depend on the numbers
    of images and patches alone: the module has its own. Version 1.0 has no prefix ``encoder.``.
    """
    state = {k: v for k, v in state.items() if k != _POSITIONS}
    kernel = state.get(_KERNEL)
    if kernel is not None and kernel.ndim == 5 and kernel.shape[2] == 1:
        state[_KERNEL] = kernel.squeeze(2)
    return {**state, _POSITIONS: module.pos_embed.detach()}

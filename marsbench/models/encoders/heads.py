"""Heads of classifiers, from features or tokens to logits."""

from collections.abc import Callable

from timm.layers.attention_pool import AttentionPoolLatent
from torch import nn

from marsbench.config.schema import HeadName

DROPOUT = 0.1
"""Dropout between the layers of `mlp` (Mars-Bench's vision-language models)."""

_WIDTH = 64
"""Features per attention head, as in vision transformers."""


def mlp(num_features: int, num_outputs: int) -> nn.Module:
    """Build two layers, the hidden one half as wide (Mars-Bench: 768-384-classes, dropout 0.1)."""
    hidden = max(1, num_features // 2)
    return nn.Sequential(
        nn.Linear(num_features, hidden),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.Linear(hidden, num_outputs),
    )


def attention(num_features: int, num_outputs: int) -> nn.Module:
    """Build attention pooling of tokens (B, N, num_features) by a learned query, then a layer.

    Pooling as in SigLIP (Zhai et al. 2023): attention, then a residual block of two layers.
    """
    heads = num_features // _WIDTH if num_features % _WIDTH == 0 else 1
    return nn.Sequential(
        AttentionPoolLatent(num_features, num_heads=heads), nn.Linear(num_features, num_outputs)
    )


HEADS: dict[HeadName, Callable[[int, int], nn.Module]] = {
    HeadName.LINEAR: nn.Linear,
    HeadName.MLP: mlp,
    HeadName.ATTENTION: attention,
}
"""Functions from numbers of features and outputs to heads."""


def last_layer(head: nn.Module) -> nn.Linear:
    """Find the layer of a head that gives the logits."""
    *_, last = (module for module in head.modules() if isinstance(module, nn.Linear))
    return last

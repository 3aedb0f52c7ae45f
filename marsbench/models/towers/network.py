"""CLIP and SigLIP by both towers, built with transformers.

CLIP: Radford et al. 2021, https://arxiv.org/abs/2103.00020. SigLIP: Zhai et al. 2023,
https://arxiv.org/abs/2303.15343.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from marsbench.models.adapters import InputAdapter
from marsbench.models.base import Model
from marsbench.models.towers.families import Family
from marsbench.tasks.prompts import Prompts

_BATCH = 64
"""Texts encoded at once."""


class TwoTowers(Model):
    """A model that compares images with sentences about the classes.

    A class is the mean of its sentences' unit vectors, scaled to one. An image's logits are the
    cosines with the classes, by the model's own scale and bias.

    Args:
        adapter: Normalises images in [0, 1].
        network: ``CLIPModel`` or ``SiglipModel`` of transformers.
        tokenizer: Its tokenizer, of the library tokenizers.
        family: Properties of the family.
    """

    frozen_prefix = "network."

    def __init__(
        self, adapter: InputAdapter, network: nn.Module, tokenizer: Any, family: Family
    ) -> None:
        super().__init__()
        self.adapter, self.network, self.tokenizer = adapter, network, tokenizer
        self.family = family
        self._several = False
        self._classes: tuple[Tensor, ...] = ()

    @torch.inference_mode()
    def take(self, prompts: Prompts, *, several: bool) -> None:
        """Encode the sentences about the K classes.

        Args:
            prompts: Words of the classes.
            several: Whether an image may have several classes, or none.
        """
        sets = [prompts.texts()]
        if several and not self.family.has_bias:
            sets.append(prompts.absent_texts())
        self._several = several
        self._classes = tuple(self._encode(texts) for texts in sets)

    @torch.inference_mode()
    def forward(self, image: Tensor) -> Tensor:
        """Probabilities of the classes.

        One class per image: the softmax over the classes. Several: of a model with a bias
        (SigLIP) the sigmoid of each logit, else the softmax over the sentences with and without
        the class.

        Args:
            image: (B, C, H, W) in [0, 1].

        Returns:
            float (B, K).
        """
        vectors = self._unit(self._image(image))
        logits = [self._logits(vectors @ classes.T) for classes in self._classes]
        if not self._several:
            return logits[0].softmax(dim=1)
        if self.family.has_bias:
            return logits[0].sigmoid()
        present, absent = logits
        return (present - absent).sigmoid()

    def _logits(self, cosines: Tensor) -> Tensor:
        network: Any = self.network
        scaled: Tensor = cosines * network.logit_scale.exp()
        return scaled + network.logit_bias if self.family.has_bias else scaled

    def _encode(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """Classes as unit vectors (K, D), from K lists of sentences."""
        flat = [text for row in texts for text in row]
        vectors = self._unit(self._texts(flat))
        parts = torch.split(vectors, [len(row) for row in texts])
        means = [part.mean(dim=0) for part in parts]
        return self._unit(torch.stack(means))

    def _texts(self, texts: Sequence[str]) -> Tensor:
        network: Any = self.network
        device = network.logit_scale.device
        length = network.config.text_config.max_position_embeddings
        ids, mask = self.family.tokens(self.tokenizer, texts, length)
        parts = []
        for start in range(0, len(ids), _BATCH):
            rows = slice(start, start + _BATCH)
            masked = {} if mask is None else {"attention_mask": mask[rows].to(device)}
            tower = network.text_model(input_ids=ids[rows].to(device), **masked)
            parts.append(self._projected("text_projection", tower.pooler_output))
        return torch.cat(parts)

    def _image(self, image: Tensor) -> Tensor:
        network: Any = self.network
        tower = network.vision_model(pixel_values=self.adapter(image).contiguous())
        return self._projected("visual_projection", tower.pooler_output)

    def _projected(self, layer: str, pooled: Tensor) -> Tensor:
        """Vectors in the common space; SigLIP has no layer for it."""
        projection = getattr(self.network, layer, None)
        projected: Tensor = pooled if projection is None else projection(pooled)
        return projected

    @staticmethod
    def _unit(vectors: Tensor) -> Tensor:
        return functional.normalize(vectors, dim=-1)

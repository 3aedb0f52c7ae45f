"""Classifiers: an input adapter, a backbone with feature vectors as output, a head."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from marsbench.base import lazy
from marsbench.base.errors import NotAvailableError
from marsbench.config.schema import HeadName, Pooling
from marsbench.models import weights
from marsbench.models.adapters import InputAdapter, build_adapter
from marsbench.models.base import Model, without_lone_statistics
from marsbench.models.encoders.heads import HEADS
from marsbench.models.libraries import LIBRARIES
from marsbench.models.spec import ModelSpec
from marsbench.models.tensors import State, read_checkpoint


class Backbone(NamedTuple):
    """A model of a library without its classifier.

    Attributes:
        module: From (B, 3, H, W) to features (B, num_features).
        num_features: Length of a feature vector.
        removed: Names of the classifier's tensors in the full model.
    """

    module: nn.Module
    num_features: int
    removed: set[str]


class Classifier(Model):
    """A backbone with a head.

    Args:
        adapter: Normalises images in [0, 1].
        backbone: From (B, 3, H, W) to features (B, num_features).
        head: From features to logits (B, num_classes).
        pooling: Pooling of the backbone's tokens to features; AUTO for its own.
        has_tokens: Whether the head takes tokens (B, N, num_features) instead.
    """

    frozen_prefix = "backbone."

    def __init__(
        self,
        adapter: InputAdapter,
        backbone: nn.Module,
        head: nn.Module,
        pooling: Pooling = Pooling.AUTO,
        *,
        has_tokens: bool = False,
    ) -> None:
        super().__init__()
        self.adapter, self.backbone, self.head = adapter, backbone, head
        self.pooling, self.has_tokens = pooling, has_tokens

    def forward(self, image: Tensor) -> Tensor:
        """Classify a batch of images (B, C, H, W) in [0, 1]; returns logits (B, num_classes)."""
        is_lone = self.training and len(image) == 1
        with without_lone_statistics(self.backbone) if is_lone else nullcontext():
            return self.classify(self.features(image))

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, num_classes) of the result of `features`, in single precision at least.

        Logits of half precision, with three digits, would have ties.
        """
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features.float() if features.itemsize < 4 else features)
        return logits

    def features(self, image: Tensor) -> Tensor:
        """Encode a batch of images (B, C, H, W) in [0, 1]; returns (B, num_features), or tokens."""
        adapted = self.adapter(image)
        features: Tensor
        if self.has_tokens:
            backbone: Any = self.backbone
            features = backbone.forward_features(adapted)
        elif self.pooling is Pooling.AUTO:
            features = self.backbone(adapted)
        else:
            features = pooled(self.backbone, adapted, self.pooling)
        return features


def pooled(backbone: Any, image: Tensor, pooling: Pooling) -> Tensor:
    """Pool the tokens of a transformer of timm.

    Args:
        backbone: The transformer.
        image: Normalised images (B, C, H, W).
        pooling: cls for the class token, mean for the mean of all patches, both for the two in
            this order; each after the normalisation that the transformer applies to pooled tokens.

    Returns:
        Features (B, F), or (B, 2 F) for both.
    """
    tokens: Tensor = backbone.forward_features(image)
    parts = []
    if pooling in (Pooling.CLS, Pooling.BOTH):
        parts.append(tokens[:, 0])
    if pooling in (Pooling.MEAN, Pooling.BOTH):
        parts.append(tokens[:, backbone.num_prefix_tokens :].mean(dim=1))
    return torch.cat([backbone.fc_norm(part) for part in parts], dim=1)


def _check_tokens(spec: ModelSpec, backbone: Any, choice: str, key: str) -> None:
    if not all(hasattr(backbone, n) for n in ("forward_features", "num_prefix_tokens", "fc_norm")):
        raise NotAvailableError(
            f"{choice} is for transformers of timm, which {spec.name} is not.",
            f"Leave {key} out, or choose another model.",
        )


def _check_pooling(spec: ModelSpec, backbone: Any, pooling: Pooling) -> None:
    _check_tokens(spec, backbone, f"pooling={pooling}", "pooling")
    if pooling is not Pooling.MEAN and getattr(backbone, "cls_token", None) is None:
        raise NotAvailableError(
            f"{spec.name} has no class token, which pooling={pooling} takes.", "Set pooling=mean."
        )


def build_classifier(
    spec: ModelSpec,
    num_classes: int,
    *,
    pretrained: bool,
    checkpoint: Path | None = None,
    shape: tuple[int, int] | None = None,
    pooling: Pooling = Pooling.AUTO,
    head: HeadName = HeadName.LINEAR,
) -> Classifier:
    """Build a classifier.

    Args:
        spec: The zoo entry.
        num_classes: Number of outputs.
        pretrained: Whether the backbone starts from weights rather than at random.
        checkpoint: Local weights to use instead of the default ones.
        shape: Rows and columns of rasterised spectra; only networks for spectra need it.
        pooling: Pooling of tokens.
        head: Name of the head.

    Raises:
        WeightsError: If the weights are missing or do not fit.
        NotAvailableError: If the library has no classifiers, or the model no tokens to pool.
    """
    path = LIBRARIES[spec.library].backbone
    if not path:
        raise NotAvailableError(f"{spec.name} is not a classifier.", "Choose another model.")
    built: Backbone = lazy.load(path)(spec, shape)
    backbone, num_features, _ = built
    if checkpoint is not None:
        state = read_checkpoint(checkpoint)
        load_backbone(spec, built, state, f"weights={checkpoint}")
    elif pretrained:
        state = weights.download(spec)
        if spec.weights is not None and spec.weights.package is not None:
            weights.load_in_order(backbone, state, spec.weights.name)
        else:
            load_backbone(spec, built, state, spec.name)
    if pooling is not Pooling.AUTO:
        _check_pooling(spec, backbone, pooling)
    if has_tokens := head is HeadName.ATTENTION:
        _check_tokens(spec, backbone, f"head={head}", "head")
    width = num_features * (2 if pooling is Pooling.BOTH else 1)
    top = HEADS[head](width, num_classes)
    return Classifier(build_adapter(spec), backbone, top, pooling, has_tokens=has_tokens)


def load_backbone(spec: ModelSpec, built: Backbone, state: State, origin: str) -> None:
    """Load a checkpoint of the library, or a published one, into a backbone.

    Args:
        spec: The zoo entry.
        built: Its backbone.
        state: Tensors of the checkpoint.
        origin: The checkpoint, for messages.

    Raises:
        WeightsError: If a tensor is missing, left over or of another shape.
    """
    state = weights.strip_prefix(state, built.module.state_dict())
    if convert := LIBRARIES[spec.library].convert:
        state = lazy.load(convert)(spec, built.module, state)
    weights.load_checkpoint(built.module, state, built.removed, origin)

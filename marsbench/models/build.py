"""From a zoo entry to a module: one function per library.

Every classifier is an input adapter, a backbone that gives one feature vector per image, and a
linear head.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from marsbench.base.errors import ConfigError, NotAvailableError
from marsbench.models import weights
from marsbench.models.norms import without_lone_statistics
from marsbench.models.spec import Library, ModelSpec


class InputAdapter(nn.Module):
    """Replicate grey images to three channels and normalise.

    Args:
        mean: Mean of each channel, of values in [0, 1].
        std: Standard deviation, likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Normalise a batch.

        Args:
            image: float (B, 1 or 3, H, W) in [0, 1].

        Returns:
            float (B, 3, H, W).
        """
        return (image - self.mean) / self.std  # one channel broadcasts to three


class Classifier(nn.Module):
    """A backbone with a linear head.

    Args:
        adapter: Turns images in [0, 1] into the backbone's input.
        backbone: From (B, 3, S, S) to features (B, num_features).
        head: From features to logits (B, num_classes).

    Attributes:
        frozen_prefix: What the names of the backbone's tensors begin with.
    """

    def __init__(self, adapter: InputAdapter, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.frozen_prefix = "backbone."
        self.adapter, self.backbone, self.head = adapter, backbone, head
        self.is_frozen = False

    def forward(self, image: Tensor) -> Tensor:
        """Classify a batch of images (B, C, S, S) in [0, 1]; returns logits (B, num_classes)."""
        if self.training and len(image) == 1:
            with without_lone_statistics(self.backbone):
                alone: Tensor = self.head(self.features(image))
            return alone
        logits: Tensor = self.head(self.features(image))
        return logits

    def features(self, image: Tensor) -> Tensor:
        """Encode a batch of images (B, C, S, S) in [0, 1]; returns (B, num_features)."""
        encoded: Tensor = self.backbone(self.adapter(image))
        return encoded

    def freeze_backbone(self) -> None:
        """Keep every backbone tensor as it is, running statistics included."""
        self.is_frozen = True
        self.backbone.requires_grad_(False)
        self.backbone.eval()

    def train(self, mode: bool = True) -> "Classifier":
        """Switch to training; a frozen backbone stays in evaluation, so nothing in it moves."""
        super().train(mode)
        if self.is_frozen:
            self.backbone.eval()
        return self


class Built(NamedTuple):
    """A library's model without its classifier.

    Attributes:
        backbone: From (B, 3, S, S) to features (B, num_features).
        num_features: Length of a feature vector.
        removed: Names of the full model's tensors that the backbone lacks.
    """

    backbone: nn.Module
    num_features: int
    removed: set[str]


def build_classifier(
    spec: ModelSpec,
    num_classes: int,
    *,
    pretrained: bool,
    checkpoint: Path | None = None,
    shape: tuple[int, int] | None = None,
) -> Classifier:
    """Build a classifier.

    Args:
        spec: The zoo entry.
        num_classes: Number of outputs.
        pretrained: Whether the backbone starts from weights rather than at random.
        checkpoint: Local weights to start from in place of the entry's own.
        shape: Rows and columns of rasterised spectra, which networks made for them ask for.

    Raises:
        WeightsError: If weights are wanted and cannot be had or do not fit.
    """
    if spec.library is Library.SPECTRAL:
        backbone, num_features, removed = _spectral(spec, shape)
    else:
        backbone, num_features, removed = _BUILDERS[spec.library](spec)
    if checkpoint is not None:
        state = weights.read_checkpoint(checkpoint)
        weights.load_checkpoint(backbone, state, removed, f"weights={checkpoint}")
    elif pretrained:
        state = weights.download(spec)
        if spec.weights is not None and spec.weights.package is not None:
            weights.load_in_order(backbone, state, spec.weights.name)
        else:
            weights.load_checkpoint(backbone, state, removed, spec.name)
    return Classifier(
        InputAdapter(spec.mean, spec.std), backbone, nn.Linear(num_features, num_classes)
    )


def _spectral(spec: ModelSpec, shape: tuple[int, int] | None) -> Built:
    from marsbench.models.spectral import build_spectral

    if shape is None:
        raise ConfigError(f"{spec.name} is for spectra alone.", "Choose another model.")
    # Grey rasters are replicated to three channels, as for every classifier.
    model: Any = build_spectral(spec.id, 3, *shape)
    return Built(model, int(model.num_features), set())


def _timm(spec: ModelSpec) -> Built:
    import timm

    model: Any = timm.create_model(spec.id.partition(".")[0], pretrained=False)
    names = set(model.state_dict())
    model.reset_classifier(0)
    num_features = getattr(model, "head_hidden_size", None) or model.num_features
    return Built(model, int(num_features), names - set(model.state_dict()))


def _torchvision(spec: ModelSpec) -> Built:
    from torchvision import models

    with torch.device("meta"):
        # Of the full model only the names of its tensors: checkpoints hold auxiliary
        # classifiers too.
        options = {"init_weights": False} if spec.id in _AUXILIARY else {}
        names = set(models.get_model(spec.id, weights=None, **options).state_dict())
    options = {"aux_logits": False, "init_weights": True} if spec.id in _AUXILIARY else {}
    model: Any = models.get_model(spec.id, weights=None, **options)
    if spec.id.startswith("squeezenet"):
        # Its classifier is a convolution, ReLU and average. Averaging first and a linear head
        # is the same but for the ReLU, which would clip the logits at zero.
        num_features = int(model.classifier[1].in_channels)
        model.classifier = nn.AdaptiveAvgPool2d(1)
        return Built(model, num_features, names - set(model.state_dict()))
    # The classifier of every other one is its last linear layer.
    linear = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise NotAvailableError(
            f"{spec.name} has no linear classifier to replace.", "Choose another model."
        )
    name, layer = linear[-1]
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    return Built(model, layer.in_features, names - set(model.state_dict()))


_AUXILIARY = ("inception_v3", "googlenet")
"""Torchvision's models with auxiliary classifiers, which are left out."""

_BUILDERS: dict[Library, Callable[[ModelSpec], Built]] = {
    Library.TIMM: _timm,
    Library.TORCHVISION: _torchvision,
}

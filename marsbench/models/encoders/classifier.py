"""Classifiers: an input adapter, a backbone with feature vectors as output, a linear head."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from marsbench.base import lazy
from marsbench.base.errors import NotAvailableError
from marsbench.models import weights
from marsbench.models.base import InputAdapter, Model, without_lone_statistics
from marsbench.models.libraries import LIBRARIES
from marsbench.models.spec import ModelSpec
from marsbench.models.tensors import read_checkpoint


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
    """A backbone with a linear head.

    Args:
        adapter: Normalises images in [0, 1].
        backbone: From (B, 3, H, W) to features (B, num_features).
        head: From features to logits (B, num_classes).
    """

    frozen_prefix = "backbone."

    def __init__(self, adapter: InputAdapter, backbone: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.adapter, self.backbone, self.head = adapter, backbone, head

    def forward(self, image: Tensor) -> Tensor:
        """Classify a batch of images (B, C, H, W) in [0, 1]; returns logits (B, num_classes)."""
        logits: Tensor
        if self.training and len(image) == 1:
            with without_lone_statistics(self.backbone):
                logits = self.head(self.features(image))
        else:
            logits = self.head(self.features(image))
        return logits

    def features(self, image: Tensor) -> Tensor:
        """Encode a batch of images (B, C, H, W) in [0, 1]; returns (B, num_features)."""
        features: Tensor = self.backbone(self.adapter(image))
        return features


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
        checkpoint: Local weights to use instead of the default ones.
        shape: Rows and columns of rasterised spectra; only networks for spectra need it.

    Raises:
        WeightsError: If the weights are missing or do not fit.
        NotAvailableError: If the library has no classifiers.
    """
    path = LIBRARIES[spec.library].backbone
    if not path:
        raise NotAvailableError(f"{spec.name} is not a classifier.", "Choose another model.")
    built: Backbone = lazy.load(path)(spec, shape)
    backbone, num_features, removed = built
    if checkpoint is not None:
        state = read_checkpoint(checkpoint)
        weights.load_checkpoint(backbone, state, removed, f"weights={checkpoint}")
    elif pretrained:
        state = weights.download(spec)
        if spec.weights is not None and spec.weights.package is not None:
            weights.load_in_order(backbone, state, spec.weights.name)
        else:
            weights.load_checkpoint(backbone, state, removed, spec.name)
    head = nn.Linear(num_features, num_classes)
    return Classifier(InputAdapter(spec.mean, spec.std), backbone, head)

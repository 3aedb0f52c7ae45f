"""Models ready to predict: from images in [0, 1] to probabilities or boxes."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from marsbench.config.resizing import WHOLE, Resizing
from marsbench.config.schema import Bands, Matmul
from marsbench.metrics.boxes import PredictedBoxes
from marsbench.tasks.spec import TaskSpec
from marsbench.training.loop.objectives.base import LogitObjective, Objective


@dataclass(frozen=True)
class Predictor:
    """A model with the facts for its inputs and outputs.

    Attributes:
        model: The network in evaluation mode.
        task: Its task.
        classes: K class names by id.
        side: Side of the input in pixels.
        origin: Run id or checkpoint, for messages.
        objective: Turns logits into probabilities.
        version: Changes with the weights.
        bands: Bands to use of images with more than three bands.
        resizing: Resizing of images to `side`, as in training.
        matmul: Precision of float32 products, as in training.
        notes: Notes for the user.
    """

    model: nn.Module
    task: TaskSpec
    classes: tuple[str, ...]
    side: int
    origin: str
    objective: Objective
    version: str = ""
    bands: Bands = Bands.RGB
    resizing: Resizing = WHOLE
    matmul: Matmul = Matmul.HIGHEST
    notes: tuple[str, ...] = ()

    def label(self, image: Tensor) -> Tensor:
        """Class probabilities (B, K) of images (B, C, side, side) in [0, 1]."""
        return self._probabilities(self.model(image))

    def segment(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Class probabilities of pixels (B, K, *size) of images (B, C, side, side) in [0, 1]."""
        return self.classify_pixels(self.logits(image), size)

    def logits(self, image: Tensor) -> Tensor:
        """Logits of pixels, float32 (B, K, h, w), of images (B, C, side, side) in [0, 1]."""
        logits: Tensor = self.model(image).float()
        return logits

    def classify_pixels(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Class probabilities of pixels (B, K, *size) from `logits`.

        Logits are resized, not probabilities, as in evaluation.
        """
        if logits.shape[-2:] != size:
            logits = functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return self._probabilities(logits)

    def detect(self, image: Tensor) -> list[PredictedBoxes]:
        """Objects in images (B, C, side, side) in [0, 1], in pixels of the model's input."""
        return [detections.numpy() for detections in self.model(image)]

    def _probabilities(self, logits: Tensor) -> Tensor:
        return cast(LogitObjective, self.objective).probabilities(logits)

"""A model ready to predict: fed with images in [0, 1], read as probabilities or boxes."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from marsbench.config.schema import Bands
from marsbench.metrics.boxes import PredictedBoxes
from marsbench.tasks.spec import TaskSpec
from marsbench.training.loop.objectives.base import LogitObjective, Objective


@dataclass(frozen=True)
class Predictor:
    """A model, and what has to be known to feed it and to read its outputs.

    Attributes:
        model: In evaluation.
        task: The task it was trained on.
        classes: K class names by id.
        side: Side of its input in pixels.
        origin: The run's id, or the checkpoint, for people.
        objective: Turns logits into probabilities.
        version: Changes with the weights.
        bands: Of images of more than three bands, which.
        notes: What a user should know of it.
    """

    model: nn.Module
    task: TaskSpec
    classes: tuple[str, ...]
    side: int
    origin: str
    objective: Objective
    version: str = ""
    bands: Bands = Bands.RGB
    notes: tuple[str, ...] = ()

    def label(self, image: Tensor) -> Tensor:
        """Class probabilities (B, K) of images (B, C, side, side) in [0, 1]."""
        return self._probabilities(self.model(image))

    def segment(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Class probabilities of pixels (B, K, *size) of images (B, C, side, side) in [0, 1].

        Logits are brought to the size, and not probabilities, as in evaluation.
        """
        logits: Tensor = self.model(image).float()
        if logits.shape[-2:] != size:
            logits = functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return self._probabilities(logits)

    def detect(self, image: Tensor) -> list[PredictedBoxes]:
        """Objects in images (B, C, side, side) in [0, 1], in pixels of the model's input."""
        return [detections.numpy() for detections in self.model(image)]

    def _probabilities(self, logits: Tensor) -> Tensor:
        return cast(LogitObjective, self.objective).probabilities(logits)

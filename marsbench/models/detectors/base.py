"""Detector: one batch contract for the detectors of every library.

Libraries differ in the form of a batch, in class ids, in when a loss is returned and in how images
are prepared. A `Detector` takes images as samples hold them, boxes in pixels and class ids from 0,
and returns detections and the loss in training and evaluation alike.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from marsbench.metrics.boxes import PredictedBoxes
from marsbench.models import weights
from marsbench.models.base import InputAdapter, Model, without_lone_statistics

SCORE_THRESHOLD = 0.001
"""Detections that score less are dropped. Average precision wants them low: a threshold cuts the
curve off. The same for every model, so that none is judged on more of its curve than another."""


DETECTIONS_PER_IMAGE = 100
"""How many of an image are kept: as many as COCO's evaluation looks at."""


class Detections(NamedTuple):
    """What was found in one image, the highest score first.

    Attributes:
        boxes: Left, top, right and bottom in pixels of the model's input, float (M, 4).
        scores: Confidence in [0, 1], float (M,).
        labels: Class ids from 0, background not counted, int64 (M,).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def numpy(self) -> PredictedBoxes:
        """Copy to host memory, in double precision."""
        boxes, scores, labels = (values.detach().cpu() for values in self)
        return PredictedBoxes(boxes.double().numpy(), labels.numpy(), scores.double().numpy())


class Detector(Model, ABC):
    """A library's detector as the rest of the package sees it.

    Args:
        adapter: Replicates grey images and normalises.
        model: The library's module.
        frozen_prefix: What the names of the backbone's tensors in `state_dict` begin with, for
            ``name.startswith(frozen_prefix)``. It is the body alone: feature pyramid, proposal
            network and heads train in every mode.
    """

    def __init__(
        self, adapter: InputAdapter, model: nn.Module, frozen_prefix: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.adapter, self.model = adapter, model
        self.frozen_prefix = frozen_prefix

    def forward(self, image: Tensor) -> list[Detections]:
        """Detect objects, also when the module is in training mode.

        Args:
            image: float (B, 1 or 3, S, S) in [0, 1].

        Returns:
            One `Detections` per image, of at most `DETECTIONS_PER_IMAGE` objects.
        """
        with self._switched(False):
            return self._detect(self.adapter(image))

    def losses(self, image: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """Compute the model's own loss, in training and evaluation mode alike.

        Detectors weigh an image's terms by what the whole batch holds, such as its number of
        objects, so there is no loss of one image: **every sample's share is the loss of the
        batch**, and the mean over the samples is what the model's authors minimise.

        In evaluation mode nothing moves: normalisation and dropout stay in evaluation, each
        module's ``training`` is afterwards what it was, and what the model samples at random is
        drawn from a fixed seed, without a trace in the global generators. So the same batch gives
        the same loss.

        Args:
            image: float (B, 1 or 3, S, S) in [0, 1].
            boxes: Of each image, its boxes: float (N, 4), left, top, right and bottom in pixels.
                An image without objects has N = 0.
            labels: Of each image, its boxes' class ids from 0, int64 (N,).

        Returns:
            float (B,), all equal.
        """
        boxes = [b.reshape(-1, 4).float() for b in boxes]
        labels = [ids.reshape(-1).long() for ids in labels]
        chance = contextlib.nullcontext() if self.training else _fixed_seed(image.device)
        lone = without_lone_statistics(self) if len(image) == 1 else contextlib.nullcontext()
        with self._switched(True), chance, lone:
            loss = self._loss(self.adapter(image), boxes, labels)
        return loss.expand(len(image))

    @contextlib.contextmanager
    def _switched(self, training: bool) -> Iterator[None]:
        """Let the model give losses or detections, whatever mode it is in.

        Libraries read that off the ``training`` of a few modules. Setting only theirs, and not
        what is below them, leaves normalisation and dropout alone.
        """
        switches = self._switches()
        before = [module.training for module in switches]
        try:
            for module in switches:
                module.training = training
            yield
        finally:
            for module, flag in zip(switches, before, strict=True):
                module.training = flag

    @abstractmethod
    def _switches(self) -> list[nn.Module]:
        """Modules whose ``training`` says whether losses or detections come out."""

    @abstractmethod
    def _detect(self, image: Tensor) -> list[Detections]:
        """Detect objects in normalised images (B, 3, S, S)."""

    @abstractmethod
    def _loss(self, image: Tensor, boxes: list[Tensor], labels: list[Tensor]) -> Tensor:
        """Loss () of normalised images (B, 3, S, S): the mean over the batch."""


@contextlib.contextmanager
def _fixed_seed(device: torch.device) -> Iterator[None]:
    """Draw from a fixed seed on the CPU and the device, and leave both generators as they were.

    `torch.manual_seed` would also seed every other device, whose states are not kept.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(0)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(0)
        yield


def load_but(
    model: nn.Module,
    state: weights.State,
    is_fresh: Callable[[str], bool],
    origin: str,
    keep_classes: bool,
) -> None:
    """Load every tensor but those that depend on the number of classes.

    Args:
        model: The library's module.
        state: Tensors by name; what training wrappers put before the names is removed.
        is_fresh: Whether the tensor of this name depends on the classes.
        origin: The checkpoint, for messages.
        keep_classes: Whether those are loaded too if all of them fit; else they start at random.

    Raises:
        WeightsError: If another tensor lacks, is left over or has another shape.
    """
    own = model.state_dict()
    state = weights.strip_prefix(state, own)
    fresh = [name for name in own if is_fresh(name)]
    if keep_classes:
        if all(n in state and state[n].shape == own[n].shape for n in fresh):
            fresh = []
        weights.tell_fresh(fresh, origin)
    # A model trained from scratch counts its batches; one with constant statistics does not.
    kept = {
        name: tensor
        for name, tensor in state.items()
        if (not fresh or not is_fresh(name))
        and (name in own or not name.endswith("num_batches_tracked"))
    }
    weights.load_checkpoint(model, kept | {name: own[name] for name in fresh}, (), origin)

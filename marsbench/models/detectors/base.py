"""Base class of detectors: the same batches, class ids and outputs for all libraries.

Libraries differ in the format of a batch, in class ids, in the conditions for returning a loss and
in the preparation of images. A `Detector` takes images of samples, boxes in pixels and class ids
from 0, and
returns detections and the loss in training and evaluation.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from marsbench.metrics.boxes import PredictedBoxes
from marsbench.models import weights
from marsbench.models.adapters import InputAdapter
from marsbench.models.base import Model, without_lone_statistics
from marsbench.models.tensors import State

SCORE_THRESHOLD = 0.001
"""Detections with lower scores are dropped. The threshold is low, as it cuts off the curve of
average precision, and the same for all models, so that their curves are comparable."""

DETECTIONS_PER_IMAGE = 100
"""Largest number of detections per image, as in COCO's evaluation."""


class Detections(NamedTuple):
    """Detections in an image, sorted by decreasing score.

    Attributes:
        boxes: Left, top, right and bottom in pixels of the model's input, float (M, 4).
        scores: Confidence in [0, 1], float (M,).
        labels: Class ids from 0, without a background class, int64 (M,).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def numpy(self) -> PredictedBoxes:
        """Copy to the CPU in double precision."""
        boxes, scores, labels = (values.detach().cpu() for values in self)
        return PredictedBoxes(boxes.double().numpy(), labels.numpy(), scores.double().numpy())


class Detector(Model, ABC):
    """A detector of a library.

    Args:
        adapter: Normalises images in [0, 1].
        model: Module of the library.
        frozen_prefix: Prefixes of the backbone's tensors in `state_dict`. They cover its body;
            feature pyramid, proposal network and heads train in every mode.
    """

    def __init__(
        self, adapter: InputAdapter, model: nn.Module, frozen_prefix: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.adapter, self.model = adapter, model
        self.frozen_prefix = frozen_prefix

    def forward(self, image: Tensor) -> list[Detections]:
        """Detect objects, in training and evaluation mode.

        Args:
            image: float (B, 1 or 3, S, S) in [0, 1].

        Returns:
            `Detections` of each image, at most `DETECTIONS_PER_IMAGE` objects.
        """
        with self._switched(False):
            return self._detect(self.adapter(image))

    def losses(self, image: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """Compute the loss of the library, in training and evaluation mode.

        Detectors weigh the terms of an image by the whole batch, for example by its number of
        objects, so a single image has no loss: **the share of every sample is the loss of the
        batch**, and the mean over samples is the loss that the model's authors minimise.

        Evaluation mode changes no state: normalisation and dropout stay in evaluation, every
        module keeps its ``training`` flag, and random samples of the model come from a fixed seed
        without touching the global generators. Equal batches therefore give equal losses.

        Args:
            image: float (B, 1 or 3, S, S) in [0, 1].
            boxes: Boxes of each image, float (N, 4): left, top, right and bottom in pixels. N is 0
                for images without objects.
            labels: Class ids of the boxes of each image, from 0, int64 (N,).

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

    def observe(
        self, image: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> tuple[list[Detections], Tensor]:
        """Detect objects and compute `lone_losses`, with one encoding; arguments as of `losses`."""
        with self._once() as choose:
            return self(image), self._each(image, boxes, labels, choose)

    def lone_losses(
        self, image: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]
    ) -> Tensor:
        """Compute the loss of every image as a batch of its own, in evaluation mode.

        The images are encoded together.

        Args:
            image: As of `losses`.
            boxes: As of `losses`.
            labels: As of `losses`.

        Returns:
            float (B,).
        """
        with self._once() as choose:
            with self._switched(True):
                self._run_shared(self.adapter(image))
            return self._each(image, boxes, labels, choose)

    def _each(
        self,
        image: Tensor,
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        choose: Callable[[int], None],
    ) -> Tensor:
        losses = []
        for i in range(len(image)):
            choose(i)
            losses.append(self.losses(image[i : i + 1], boxes[i : i + 1], labels[i : i + 1]))
        return torch.cat(losses)

    @contextlib.contextmanager
    def _once(self) -> Iterator[Callable[[int], None]]:
        """Carry out `_shared` modules for the first batch alone; later ones are images of it.

        Yields:
            Function that chooses the image, by its position in the batch.
        """
        if self.training:
            raise RuntimeError("in training mode, images of a batch depend on each other")
        modules = self._shared()
        kept = [_Once(module.forward) for module in modules]
        before = [vars(module).get("forward") for module in modules]

        def choose(image: int) -> None:
            for once in kept:
                once.image = image

        try:
            for module, once in zip(modules, kept, strict=True):
                module.forward = once
            yield choose
        finally:
            for module, forward in zip(modules, before, strict=True):
                if forward is None:
                    del module.forward  # that of its class
                else:
                    module.forward = forward

    @contextlib.contextmanager
    def _switched(self, training: bool) -> Iterator[None]:
        """Make the model return losses or detections in any mode.

        Libraries decide by the ``training`` flag of a few modules. Only these flags are set, not
        those of submodules, so that normalisation and dropout do not change.
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
        """Modules whose ``training`` flag selects losses or detections."""

    @abstractmethod
    def _shared(self) -> list[nn.Module]:
        """Modules with the same outputs in `_detect` and `_loss`, each of a batch (B, ...)."""

    @abstractmethod
    def _run_shared(self, image: Tensor) -> None:
        """Carry out the `_shared` modules, for normalised images (B, 3, S, S)."""

    @abstractmethod
    def _detect(self, image: Tensor) -> list[Detections]:
        """Detect objects in normalised images (B, 3, S, S)."""

    @abstractmethod
    def _loss(self, image: Tensor, boxes: list[Tensor], labels: list[Tensor]) -> Tensor:
        """Mean loss () of a batch of normalised images (B, 3, S, S)."""


class _Once:
    """Forward pass of a batch, and afterwards its outputs for an image.

    Args:
        forward: The forward pass.

    Attributes:
        image: Position of the image.
    """

    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward, self.image = forward, 0
        self._outputs: Any = None

    def __call__(self, *inputs: Any) -> Any:
        if self._outputs is None:
            self._outputs = self.forward(*inputs)
            return self._outputs
        return tree_map(lambda batch: batch[self.image : self.image + 1], self._outputs)


@contextlib.contextmanager
def _fixed_seed(device: torch.device) -> Iterator[None]:
    """Use a fixed seed on the CPU and the device, and restore both generators afterwards.

    `torch.manual_seed` would also seed all other devices, whose states are not saved.
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
    state: State,
    is_fresh: Callable[[str], bool],
    origin: str,
    keep_classes: bool,
) -> None:
    """Load all tensors except for the layers of the classes.

    Args:
        model: Module of the library.
        state: Tensors by name; prefixes of training wrappers are removed.
        is_fresh: Whether the tensor of a name depends on the classes.
        origin: The checkpoint, for messages.
        keep_classes: Whether to load the layers of the classes too if all of them fit. Otherwise
            they start at random.

    Raises:
        WeightsError: If another tensor is missing, unexpected or of another shape.
    """
    own = model.state_dict()
    state = weights.strip_prefix(state, own)
    fresh = [name for name in own if is_fresh(name)]
    if keep_classes:
        if all(n in state and state[n].shape == own[n].shape for n in fresh):
            fresh = []
        weights.tell_fresh(fresh, origin)
    # Only models trained from scratch count batches; constant statistics do not.
    kept = {
        name: tensor
        for name, tensor in state.items()
        if (not fresh or not is_fresh(name))
        and (name in own or not name.endswith("num_batches_tracked"))
    }
    weights.load_checkpoint(model, kept | {name: own[name] for name in fresh}, (), origin)

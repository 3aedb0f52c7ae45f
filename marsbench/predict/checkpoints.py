"""Models from checkpoint files of this package, of Lightning, or of a library."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from marsbench.base.errors import WeightsError
from marsbench.base.files import file_digest
from marsbench.config.schema import Bands, Decoder, LossName, Mode
from marsbench.data.rows import class_order
from marsbench.data.samples import colors_of
from marsbench.data.sources.annotations import (
    MAPPING,
    read_classes,
)
from marsbench.models import weights
from marsbench.models.base import Model
from marsbench.models.detectors.torchvision import present_name
from marsbench.models.encoders.classifier import build_classifier
from marsbench.models.modes import build_for_mode
from marsbench.models.spec import Library, ModelSpec
from marsbench.models.tensors import State, read_checkpoint
from marsbench.plan.derived import DECODERS, image_side
from marsbench.predict.places import CheckpointPlace, checkpoint_place
from marsbench.predict.predictor import Predictor
from marsbench.tasks.kinds import BOXES, KINDS, LABELS, MASKS, Kind
from marsbench.tasks.spec import TaskSpec
from marsbench.training.loop.objectives.build import objective_of


def of_checkpoint(path: Path, task: str, model: str, origin: str | None = None) -> Predictor:
    """Load a checkpoint; the arguments are those of `checkpoint_place`.

    Raises:
        MarsbenchError: If a name is unknown, or the checkpoint is of another model or task.
    """
    return load_checkpoint(checkpoint_place(path, task, model, origin))


def load_checkpoint(place: CheckpointPlace) -> Predictor:
    """Load a checkpoint of this package, of Lightning, or of the model's library.

    Args:
        place: The file. A ``mapping.json`` in its folder gives the class of each output; by default
            classes are in the order of the task.

    Raises:
        MarsbenchError: If the checkpoint is of another model or task.
    """
    path, spec, entry, origin = place.path, place.task, place.model, place.origin
    classes, notes = _classes(path.parent / MAPPING, spec)
    state = read_checkpoint(path)
    # The first filters have as many bands as the images; the task may have more.
    bands = Bands.RGB
    if spec.channels > 3 and any(
        v.ndim == 4 and v.shape[1] == spec.channels and k.endswith(".weight")
        for k, v in list(state.items())[:3]
    ):
        bands = Bands.ALL
    num_outputs, loss = len(classes), LossName(KINDS[spec.kind].loss)
    if spec.kind is Kind.BINARY and _head(state, 1):
        num_outputs, loss = 1, LossName.BINARY_CROSS_ENTROPY
    side = image_side(spec, entry, lambda: max(spec.image_size or (entry.input_size,)))
    given = _Checkpoint(entry, spec, num_outputs, side, bands, state, path, origin)
    built = _LOADERS[spec.kind](given)
    return Predictor(
        model=built.eval(),
        task=spec,
        classes=classes,
        side=side,
        origin=origin,
        version=file_digest(path),
        bands=bands,
        objective=objective_of(spec.kind, loss, len(classes), num_outputs),
        notes=notes,
    )


def _classes(mapping: Path, spec: TaskSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names by id, and notes on their order."""
    if not mapping.exists():
        note = (
            f"No {MAPPING} was found in the folder of the checkpoint: classes are assumed in the "
            f"order of the task, {', '.join(spec.class_names)}."
        )
        return spec.class_names, (note,)
    return tuple(class_order(spec, read_classes(spec, mapping), str(mapping))[0]), ()


def _head(state: Mapping[str, Tensor], num_outputs: int, features: int | None = None) -> str:
    """Name, without ``.weight``, of the last layer with this number of outputs, or ""."""
    last = ""
    for name, tensor in state.items():
        stem = name.removesuffix(".weight")
        bias = state.get(f"{stem}.bias")
        # Convolutions of a single pixel are linear layers too.
        is_layer = tensor.ndim == 2 or (tensor.ndim == 4 and tensor.shape[2:] == (1, 1))
        fits = is_layer and tensor.shape[0] == num_outputs and features in (None, tensor.shape[1])
        if stem != name and fits and bias is not None and bias.shape == (num_outputs,):
            last = stem
    return last


@dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint with its model and task.

    Attributes:
        entry: The model.
        spec: The task.
        num_outputs: Outputs of the model.
        side: Side of the input in pixels.
        bands: Bands of the input.
        state: Its tensors.
        path: The file.
        origin: Its name for messages.
    """

    entry: ModelSpec
    spec: TaskSpec
    num_outputs: int
    side: int
    bands: Bands
    state: State
    path: Path
    origin: str

    def build(self, mode: Mode, path: Path | None = None) -> Any:
        """Build the model of a dense task, not loaded."""
        return build_for_mode(
            self.entry,
            self.spec.kind,
            self.num_outputs,
            mode,
            side=self.side,
            colors=colors_of(self.spec, self.bands),
            checkpoint=path,
            decoder=self._decoder,
        )

    @property
    def _decoder(self) -> Decoder | None:
        """Decoder of an encoder, by the names of its tensors."""
        if not self.entry.is_encoder:
            return None
        first, *others = DECODERS[self.spec.kind]
        is_linear = Decoder.LINEAR in others and any(
            "decoder.layers." in name for name in self.state
        )
        return Decoder.LINEAR if is_linear else first


def _load_classifier(given: _Checkpoint) -> Model:
    """Load the backbone by the library's names, and the last layer by any name."""
    model: Any = build_classifier(given.entry, given.num_outputs, pretrained=False)
    num_features = model.head.in_features
    head = _head(given.state, given.num_outputs, num_features)
    if not head:
        raise WeightsError(
            f"The checkpoint {given.origin} has no last layer from {num_features} features to "
            f"{given.num_outputs} classes.",
            "Give a checkpoint of the model in --model and the task in --task.",
        )
    last = f"{head}.weight", f"{head}.bias"
    model.head.load_state_dict(
        {"weight": given.state[last[0]].flatten(1), "bias": given.state[last[1]]}
    )
    others = {name: value for name, value in given.state.items() if name not in last}
    weights.load_checkpoint(model.backbone, others, (), given.origin)
    classifier: Model = model
    return classifier


def _load_segmenter(given: _Checkpoint) -> Model:
    """Load a segmenter by the library's names."""
    model = given.build(Mode.SCRATCH)
    weights.load_checkpoint(model.model, given.state, (), str(given.path))
    segmenter: Model = model
    return segmenter


def _load_detector(given: _Checkpoint) -> Model:
    """Load a detector by the library's names."""
    state = given.state
    if given.entry.library is Library.TORCHVISION:
        state = {present_name(name): value for name, value in state.items()}
    # Detectors that start from weights have constant normalisation, which counts no batches.
    is_constant = not any(name.endswith("num_batches_tracked") for name in state)
    if given.entry.is_encoder:
        model = given.build(Mode.SCRATCH)
    else:
        model = given.build(Mode.FINETUNE if is_constant else Mode.SCRATCH, given.path)
    weights.load_checkpoint(model.model, state, (), str(given.path))
    detector: Model = model
    return detector


_LOADERS: dict[Kind, Callable[[_Checkpoint], Model]] = {
    **dict.fromkeys(LABELS, _load_classifier),
    **dict.fromkeys(MASKS, _load_segmenter),
    **dict.fromkeys(BOXES, _load_detector),
}
"""Loaders of checkpoints by kind of task."""

"""Models of checkpoint files: of this package, of Lightning, of a library, or from a hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from marsbench.base.errors import NotAvailableError, WeightsError
from marsbench.base.files import file_digest
from marsbench.config.schema import Bands, LossName, Mode
from marsbench.data.rows import class_order
from marsbench.data.samples import colors_of
from marsbench.data.sources.annotations import (
    MAPPING,
    check_background,
    read_mapping,
    without_background,
)
from marsbench.models import weights
from marsbench.models.base import Model
from marsbench.models.detectors.torchvision import present_name
from marsbench.models.encoders.classifier import build_classifier
from marsbench.models.modes import build_for_mode
from marsbench.models.spec import Library, ModelSpec
from marsbench.models.zoo.catalog import get_model
from marsbench.predict.predictor import Predictor
from marsbench.results.store import MODEL
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import KINDS, Kind
from marsbench.tasks.spec import Decode, TaskSpec
from marsbench.training.loop.objectives.build import objective_of

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")

_HUB_FILES = (MODEL, "pytorch_model.bin", "model.pt", "model.pth", "model.ckpt")
"""What a repository calls its checkpoint, the likeliest first."""


def of_checkpoint(path: Path, task: str, model: str, origin: str | None = None) -> Predictor:
    """Load a checkpoint: of this package, of Lightning, or of the model's library.

    Args:
        path: The file. A ``mapping.json`` beside it says which class each output is; without it
            they are in the order of the task's documentation.
        task: The task it was trained on.
        model: The model it is of.
        origin: What to call it.

    Raises:
        MarsbenchError: If a name is unknown, or the checkpoint is of another model or task.
    """
    spec, entry = get_task(task), get_model(model)
    if spec.decode is Decode.SPECTRUM:
        raise NotAvailableError(
            f"{spec.name} takes spectra, not images.",
            "`marsbench spectra submission` predicts new measurements with a finished run.",
        )
    if spec.kind not in entry.kinds:
        raise NotAvailableError(
            f"Model {entry.name} does not serve {spec.kind} tasks such as {spec.name}.",
            "`marsbench list models` shows what each model serves.",
        )
    origin = origin or str(path)
    classes, notes = _classes(path.parent / MAPPING, spec)
    state = weights.read_checkpoint(path)
    # The bands of an image are as many as the first filters have; those of a task may be more.
    bands = Bands.RGB
    if spec.channels > 3 and any(
        v.ndim == 4 and v.shape[1] == spec.channels and k.endswith(".weight")
        for k, v in list(state.items())[:3]
    ):
        bands = Bands.ALL
    num_outputs, loss = len(classes), LossName(KINDS[spec.kind].loss)
    built: Model
    if spec.kind.is_classification:
        if spec.kind is Kind.BINARY and _head(state, 1):
            num_outputs, loss = 1, LossName.BINARY_CROSS_ENTROPY
        built = build_classifier(entry, num_outputs, pretrained=False)
        _load_classifier(built, state, num_outputs, origin)
    else:
        built = _load_dense(entry, spec, len(classes), state, path, bands)
    return Predictor(
        model=built.eval(),
        task=spec,
        classes=classes,
        side=entry.input_size if not spec.image_size else _side(entry, spec),
        origin=origin,
        version=file_digest(path),
        bands=bands,
        objective=objective_of(spec.kind, loss, len(classes), num_outputs),
        notes=notes,
    )


def _side(entry: ModelSpec, spec: TaskSpec) -> int:
    """Side of the input, as the plan of a run chooses it."""
    if spec.kind is not Kind.SEGMENTATION or entry.fixed_size or spec.image_size is None:
        return entry.input_size
    return min(entry.input_size, -(-max(spec.image_size) // 32) * 32)


def _classes(mapping: Path, spec: TaskSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names by id, and what a user should know of their order."""
    if not mapping.exists():
        note = (
            f"There is no {MAPPING} beside the checkpoint: classes are taken in the order of the "
            f"task, {', '.join(spec.class_names)}."
        )
        return spec.class_names, (note,)
    names = read_mapping(mapping)
    if spec.kind is Kind.DETECTION:
        names = without_background(names)
    elif spec.kind is Kind.SEGMENTATION:
        check_background(names, mapping)
    return tuple(class_order(spec, names, str(mapping))[0]), ()


def _head(state: Mapping[str, Tensor], num_outputs: int, features: int | None = None) -> str:
    """Name, without ``.weight``, of the last layer of so many outputs; empty if there is none."""
    last = ""
    for name, tensor in state.items():
        stem = name.removesuffix(".weight")
        bias = state.get(f"{stem}.bias")
        # A convolution of one pixel is a linear layer too.
        is_layer = tensor.ndim == 2 or (tensor.ndim == 4 and tensor.shape[2:] == (1, 1))
        fits = is_layer and tensor.shape[0] == num_outputs and features in (None, tensor.shape[1])
        if stem != name and fits and bias is not None and bias.shape == (num_outputs,):
            last = stem
    return last


def _load_classifier(model: Any, state: weights.State, num_outputs: int, origin: str) -> None:
    """Load the backbone by the library's names, and the last layer wherever it stands."""
    num_features = model.head.in_features
    head = _head(state, num_outputs, num_features)
    if not head:
        raise WeightsError(
            f"{origin} has no last layer from {num_features} features to {num_outputs} classes.",
            "Is it a checkpoint of the model named by --model and the task named by --task?",
        )
    model.head.load_state_dict(
        {"weight": state[f"{head}.weight"].flatten(1), "bias": state[f"{head}.bias"]}
    )
    others = {k: v for k, v in state.items() if k not in (f"{head}.weight", f"{head}.bias")}
    weights.load_checkpoint(model.backbone, others, (), origin)


def _load_dense(
    entry: ModelSpec,
    spec: TaskSpec,
    num_classes: int,
    state: weights.State,
    path: Path,
    bands: Bands,
) -> Model:
    """Load a whole segmenter or detector by the library's names."""
    if entry.library is Library.TORCHVISION:
        state = {present_name(name): value for name, value in state.items()}
    # Constant statistics of normalisation, of detectors that start from weights, count no batches.
    is_constant = not any(name.endswith("num_batches_tracked") for name in state)
    from_weights = spec.kind is Kind.DETECTION and is_constant
    built: Any = build_for_mode(
        entry,
        spec.kind,
        num_classes,
        Mode.FINETUNE if from_weights else Mode.SCRATCH,
        side=_side(entry, spec),
        colors=colors_of(spec, bands),
        checkpoint=path if spec.kind is Kind.DETECTION else None,
    )
    weights.load_checkpoint(built.model, state, (), str(path))
    model: Model = built
    return model


def from_hub(repo: str) -> Path:
    """Download the checkpoint of a repository of a hub, and its class names.

    Raises:
        WeightsError: If it cannot be had.
    """
    from huggingface_hub import constants, hf_hub_download, list_repo_files, try_to_load_from_cache

    for name in _HUB_FILES:
        cached = try_to_load_from_cache(repo, name)
        if isinstance(cached, str):
            return Path(cached)
    try:
        weights.check_reachable(constants.ENDPOINT)
        files = list_repo_files(repo)
        known = [name for name in _HUB_FILES if name in files]
        known += sorted(name for name in files if name.endswith(SUFFIXES))
        if not known:
            raise WeightsError(
                f"{repo} on {constants.ENDPOINT} holds no checkpoint.",
                f"It would end in {', '.join(SUFFIXES)}.",
            )
        if MAPPING in files:
            hf_hub_download(repo, MAPPING)
        return Path(hf_hub_download(repo, known[0]))
    except WeightsError:
        raise
    except Exception as error:  # the hub's client raises types of several libraries
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"The checkpoint {repo} cannot be had: it is neither in the cache "
            f"{constants.HF_HUB_CACHE}, nor did downloading it from {constants.ENDPOINT} succeed "
            f"({lines[0][:160]}).",
            "Check the name; or download it where there is a network and name the file.",
        ) from error

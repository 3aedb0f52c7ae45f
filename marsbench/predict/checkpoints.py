"""Models from checkpoint files of this package, of Lightning, of a library, or of a hub."""

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
"""Names of checkpoints in repositories, most likely first."""


def of_checkpoint(path: Path, task: str, model: str, origin: str | None = None) -> Predictor:
    """Load a checkpoint of this package, of Lightning, or of the model's library.

    Args:
        path: The file. A ``mapping.json`` in its folder gives the class of each output; by default
            classes are in the order of the task.
        task: Its task.
        model: Its model.
        origin: Its name for messages; by default the path.

    Raises:
        MarsbenchError: If a name is unknown, or the checkpoint is of another model or task.
    """
    spec, entry = get_task(task), get_model(model)
    if spec.decode is Decode.SPECTRUM:
        raise NotAvailableError(
            f"The samples of {spec.name} are spectra, not images.",
            "`marsbench spectra submission` predicts new measurements with a finished run.",
        )
    if spec.kind not in entry.kinds:
        raise NotAvailableError(
            f"Model {entry.name} does not support {spec.kind} tasks such as {spec.name}.",
            "`marsbench list models` shows the kinds of tasks of each model.",
        )
    origin = origin or str(path)
    classes, notes = _classes(path.parent / MAPPING, spec)
    state = weights.read_checkpoint(path)
    # The first filters have as many bands as the images; the task may have more.
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
    """Side of the input, as in the plan of a run."""
    if spec.kind is not Kind.SEGMENTATION or entry.fixed_size or spec.image_size is None:
        return entry.input_size
    return min(entry.input_size, -(-max(spec.image_size) // 32) * 32)


def _classes(mapping: Path, spec: TaskSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names by id, and notes on their order."""
    if not mapping.exists():
        note = (
            f"No {MAPPING} was found in the folder of the checkpoint: classes are assumed in the "
            f"order of the task, {', '.join(spec.class_names)}."
        )
        return spec.class_names, (note,)
    names = read_mapping(mapping)
    if spec.kind is Kind.DETECTION:
        names = without_background(names)
    elif spec.kind is Kind.SEGMENTATION:
        check_background(names, mapping)
    return tuple(class_order(spec, names, str(mapping))[0]), ()


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


def _load_classifier(model: Any, state: weights.State, num_outputs: int, origin: str) -> None:
    """Load the backbone by the library's names, and the last layer by any name."""
    num_features = model.head.in_features
    head = _head(state, num_outputs, num_features)
    if not head:
        raise WeightsError(
            f"The checkpoint {origin} has no last layer from {num_features} features to "
            f"{num_outputs} classes.",
            "Give a checkpoint of the model in --model and the task in --task.",
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
    # Detectors that start from weights have constant normalisation, which counts no batches.
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
        WeightsError: If the repository has no checkpoint or the download fails.
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
                f"No checkpoint was found in {repo} on {constants.ENDPOINT}.",
                f"Give a repository with a file ending in {', '.join(SUFFIXES)}.",
            )
        if MAPPING in files:
            hf_hub_download(repo, MAPPING)
        return Path(hf_hub_download(repo, known[0]))
    except WeightsError:
        raise
    except Exception as error:  # the hub's client raises types of several libraries
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"The checkpoint {repo} is not in the cache {constants.HF_HUB_CACHE}, and downloading "
            f"it from {constants.ENDPOINT} failed ({lines[0][:160]}).",
            "Check the name; or download it on a machine with a network and give the file.",
        ) from error

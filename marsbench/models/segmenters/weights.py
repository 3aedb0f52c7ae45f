"""Weights of segmentation models, and the names of their tensors.

Checkpoints name the tensors of an encoder in three ways: as a classifier of timm or torchvision,
as an encoder of segmentation-models-pytorch (smp), and as a part of a whole segmentation model.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from marsbench.base import network
from marsbench.base.errors import WeightsError
from marsbench.models import weights
from marsbench.models.encoders import timm
from marsbench.models.spec import Library, ModelSpec
from marsbench.models.tensors import State, read_checkpoint


def encoder_name(spec: ModelSpec) -> str:
    """Name of the encoder; every entry of smp has an encoder."""
    return spec.encoder or ""


def load(model: Any, state: State, spec: ModelSpec, origin: str, *, is_default: bool) -> None:
    """Load all weights of the encoder or of the whole model.

    Args:
        model: smp's model.
        state: Tensors by name. The last layer of a whole model of other classes is skipped.
        spec: The zoo entry.
        origin: The checkpoint, for messages.
        is_default: Whether they are the default weights, as `download` returns them.

    Raises:
        WeightsError: If a tensor is missing, unexpected or of another shape.
    """
    encoder = model.encoder
    if is_default and spec.weights is not None and spec.weights.package is not None:
        weights.load_in_order(encoder, state, spec.weights.name)
    elif is_default and not encoder_name(spec).startswith("tu-"):
        try:
            # As in smp: some encoders rename the tensors of their files.
            encoder.load_state_dict(dict(state))
        except RuntimeError as error:
            raise WeightsError(
                f"The weights of {origin} do not fit the installed version of smp: "
                f"{' '.join(str(error).split())[:200]}",
                "Install the versions in constraints.txt.",
            ) from error
    elif _is_whole(state):
        state = _own_last_layer(_whole_names(model, state), model.state_dict(), origin)
        removed = {f"encoder.model.{name}" for name in _full_names(spec)}
        weights.load_checkpoint(model, state, removed, origin)
    else:
        state = _encoder_names(encoder, state)
        removed = _full_names(spec) | {k for k in state if k.split(".")[0] in _CLASSIFIERS}
        weights.load_checkpoint(encoder, state, removed, origin)


_CLASSIFIERS = ("_fc", "classifier", "fc", "head", "last_linear", "linear")
"""Names of the classifiers in checkpoints of smp's own encoders."""


def _is_whole(state: State) -> bool:
    return any("segmentation_head." in name for name in state)


def _whole_names(model: nn.Module, state: State) -> State:
    return weights.strip_prefix(state, model.state_dict())


def _own_last_layer(state: State, own: State, origin: str) -> State:
    """Replace the last layer of a checkpoint with other classes by the model's own."""
    last = [k for k in own if k.startswith("segmentation_head.")][-2:]  # weight and bias
    if all(k in state and state[k].shape[1:] == own[k].shape[1:] for k in last):
        fresh = [k for k in last if state[k].shape != own[k].shape]
        weights.tell_fresh(fresh, origin)
        return state | {k: own[k] for k in fresh}
    return state


def _encoder_names(encoder: nn.Module, state: State) -> State:
    """Rename the tensors of a classification checkpoint as in the encoder.

    smp wraps timm's models (``model.``, once or twice), and timm flattens some of them for feature
    extraction (``stages_0`` for ``stages.0``). Prefixes of training wrappers are removed too.
    """
    wanted = {_plain(name): name for name in encoder.state_dict()}
    longest = weights.longest_name(wanted)
    ends = f".{longest}"
    prefix = next((k[: 1 - len(ends)] for k in state if _dotted(k).endswith(ends)), "")
    bare = {k.removeprefix(prefix): v for k, v in state.items()}
    return {wanted.get(_plain(k), k): v for k, v in bare.items()}


def _dotted(name: str) -> str:
    return name.replace("_", ".")


def _plain(name: str) -> str:
    while name.startswith("model."):
        name = name.removeprefix("model.")
    return _dotted(name)


def _full_names(spec: ModelSpec) -> set[str]:
    """Names of all tensors of a timm encoder's full model, with its classifier."""
    library, name = encoder_name(spec)[:3], encoder_name(spec)[3:]
    return set(timm.without_memory(name).state_dict()) if library == "tu-" else set()


def fetch(spec: ModelSpec) -> State:
    """Get the default weights of an entry's encoder from the cache or the hub.

    Raises:
        WeightsError: If they are in no cache and the download fails.
    """
    from huggingface_hub import constants, hf_hub_download

    if encoder_name(spec).startswith("tu-"):
        return timm.fetch(_as_timm(spec))
    repo, revision = _place(spec)
    try:
        path = cached_file(spec)
        if path is None:
            network.check_reachable(constants.ENDPOINT)
            path = Path(hf_hub_download(repo, _FILE, revision=revision))
    except Exception as error:  # the hub's client raises types of several libraries
        origin = f"the Hugging Face hub ({repo})"
        raise weights.unavailable(spec, origin, constants.HF_HUB_CACHE, error) from error
    return read_checkpoint(path)


_FILE = "model.safetensors"


def cached_file(spec: ModelSpec) -> Path | None:
    """File of the default weights of an entry's encoder in the cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    if encoder_name(spec).startswith("tu-"):
        return timm.cached_file(_as_timm(spec))
    repo, revision = _place(spec)
    path = try_to_load_from_cache(repo, _FILE, revision=revision)
    return Path(path) if isinstance(path, str) else None


def _as_timm(spec: ModelSpec) -> ModelSpec:
    """Entry of a timm encoder as a classifier."""
    return replace(spec, library=Library.TIMM, id=encoder_name(spec).removeprefix("tu-"))


def _place(spec: ModelSpec) -> tuple[str, str]:
    """Repository and revision of the weights of one of smp's own encoders."""
    from segmentation_models_pytorch.encoders import encoders

    encoder = encoder_name(spec)
    chosen = spec.weights.name.removeprefix(f"smp/{encoder}.") if spec.weights else ""
    place = encoders[encoder]["pretrained_settings"][chosen]
    return place["repo_id"], place["revision"]


def has_bands(model: Any, state: State, first: str, num_bands: int) -> bool:
    """Whether the first convolution of a checkpoint already has this number of bands.

    Args:
        model: smp's model.
        state: Tensors by name, of its encoder or of the whole model.
        first: Name of the first convolution in the encoder.
        num_bands: Number of bands.
    """
    is_whole = _is_whole(state)
    if is_whole:
        state = _whole_names(model, state)
        filters = state.get(f"encoder.{first}.weight")
    else:
        filters = _encoder_names(model.encoder, state).get(f"{first}.weight")
    if filters is None or filters.ndim != 4 or filters.shape[1] != num_bands:
        return False
    # Three channels are red, green and blue in an encoder, and the bands in a whole model.
    return is_whole or num_bands != 3

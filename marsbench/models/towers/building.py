"""Build models of two towers from the files of their repository."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from marsbench.base import hub
from marsbench.base.errors import NotAvailableError, WeightsError
from marsbench.models import weights
from marsbench.models.adapters import build_adapter
from marsbench.models.inputs import DEFAULT, Inputs
from marsbench.models.spec import ModelSpec
from marsbench.models.tensors import State, read_checkpoint
from marsbench.models.towers.families import network_of
from marsbench.models.towers.network import TwoTowers

CONFIG, TOKENIZER = "config.json", "tokenizer.json"

_BUFFERS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")
"""Counters of positions, which earlier versions of transformers saved."""


def build(
    spec: ModelSpec, *, checkpoint: Path | None = None, inputs: Inputs = DEFAULT
) -> TwoTowers:
    """Build a model with its weights; `TwoTowers.take` gives it the classes.

    Args:
        spec: The zoo entry, as `ModelSpec.for_mode` of the mode zero_shot.
        checkpoint: Local weights of both towers instead of the published ones.
        inputs: Bands and normalisation of the images.

    Raises:
        NotAvailableError: If transformers is not installed.
        WeightsError: If a file of the repository is missing or invalid, or weights do not fit.
    """
    try:
        import transformers
        from tokenizers import Tokenizer
    except ImportError as error:
        raise NotAvailableError(
            f"{spec.name} with mode=zero_shot needs transformers, which is not installed.",
            "pip install 'marsbench[vlm]'",
        ) from error
    address = address_of(spec)
    config, tokens = (hub.fetch(replace(address, path=name)) for name in (CONFIG, TOKENIZER))
    try:
        family, network = network_of(config.read_text(encoding="utf-8"), transformers)
        tokenizer = Tokenizer.from_file(str(tokens))
        _check_size(network, spec.input_size)
    except Exception as error:  # the two libraries raise errors of many types
        raise WeightsError(
            f"The files of {address.repository} are invalid: {error}",
            f"Remove {config.parent}, and run again to download them.",
        ) from error
    given = f"weights={checkpoint}" if checkpoint is not None else spec.name
    state = fetch(spec) if checkpoint is None else read_checkpoint(checkpoint)
    weights.load_checkpoint(network, state, _BUFFERS, given)
    model = TwoTowers(build_adapter(spec, inputs), network, tokenizer, family)
    model.freeze_backbone()
    return model.eval()


def address_of(spec: ModelSpec) -> hub.HubAddress:
    """Address of the file with the weights of both towers."""
    return hub.parse_address("" if spec.weights is None else spec.weights.name)


def fetch(spec: ModelSpec) -> State:
    """Get the published tensors of both towers from the cache or the hub.

    Raises:
        WeightsError: If they are in no cache and the download fails, or the file is damaged.
    """
    path = hub.fetch(address_of(spec))
    weights.check_cached(path)
    return read_checkpoint(path)


def cached_file(spec: ModelSpec) -> Path | None:
    """File of the published tensors in the cache of the hub, or None."""
    from huggingface_hub import try_to_load_from_cache

    address = address_of(spec)
    path = try_to_load_from_cache(address.repo, address.path, revision=address.revision)
    return Path(path) if isinstance(path, str) else None


def _check_size(network: nn.Module, side: int) -> None:
    described: Any = network.config
    if (own := described.vision_config.image_size) != side:
        raise ValueError(f"image_size is {own}; expected {side}")

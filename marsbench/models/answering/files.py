"""Files of vision-language models on the hub."""

from pathlib import Path

from marsbench.base.hub import HubAddress
from marsbench.base.hub import fetch as download
from marsbench.models.spec import ModelSpec
from marsbench.models.tensors import State, read_checkpoint

CONFIG, TOKENIZER, TENSORS = "config.json", "tokenizer.json", "model.safetensors"


def file_of(spec: ModelSpec, name: str) -> Path:
    """Get a file of a model's repository from the cache or the hub.

    Raises:
        WeightsError: If it is in no cache and the download fails.
    """
    return download(HubAddress(spec.id, path=name))


def fetch(spec: ModelSpec) -> State:
    """Get the published tensors."""
    return read_checkpoint(file_of(spec, TENSORS))


def cached_file(spec: ModelSpec) -> Path | None:
    """File of the published tensors in the cache of the hub, or None."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(spec.id, TENSORS)
    return Path(cached) if isinstance(cached, str) else None

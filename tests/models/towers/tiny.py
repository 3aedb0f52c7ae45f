"""Tiny CLIP and SigLIP of random weights, as repositories of a hub."""

import dataclasses
import io
import json
from functools import cache
from typing import Any

import pytest
import torch
from safetensors.torch import save
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from marsbench.models.zoo.catalog import MODELS
from tests.server import Server
from tests.services.hub import Repo

SIDE = 32
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:()-'/"
_TOWER = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
_IMAGES = {**_TOWER, "image_size": SIDE, "patch_size": 16}
CLIP, SIGLIP = "openai/clip-vit-base-patch16", "google/siglip-base-patch16-224"


def tokenizer(special: tuple[str, ...], *, lower: bool) -> Tokenizer:
    """Tokenizer of single letters; special tokens come last, as CLIP's."""
    words = [*dict.fromkeys(LETTERS.lower() if lower else LETTERS), *special]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=" "))
    made.add_special_tokens(list(special))
    if lower:
        made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.decoder = decoders.Fuse()
    return made


def spread(network: Any) -> Any:
    """Draw weights so large that classes differ."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        if parameter.ndim > 0 and parameter.numel() > 1:
            torch.nn.init.normal_(parameter, std=0.6)
    return network.eval()


@cache
def clip() -> tuple[Any, Tokenizer]:
    """A tiny CLIP with its tokenizer."""
    letters = tokenizer(("<|startoftext|>", "<|endoftext|>"), lower=True)
    end: Any = letters.token_to_id("<|endoftext|>")
    text: dict[str, Any] = {
        **_TOWER,
        "vocab_size": letters.get_vocab_size(),
        "max_position_embeddings": 200,
    }
    text |= {"eos_token_id": end, "bos_token_id": end - 1, "projection_dim": 8}
    config = CLIPConfig(
        text_config=text, vision_config={**_IMAGES, "projection_dim": 8}, projection_dim=8
    )
    return spread(CLIPModel(config)), letters


@cache
def siglip() -> tuple[Any, Tokenizer]:
    """A tiny SigLIP with its tokenizer."""
    letters = tokenizer(("<pad>", "</s>"), lower=False)
    text: dict[str, Any] = {**_TOWER, "vocab_size": letters.get_vocab_size()}
    text |= {
        "max_position_embeddings": 200,
        "eos_token_id": letters.token_to_id("</s>"),
        "bos_token_id": None,
    }
    network = spread(SiglipModel(SiglipConfig(text_config=text, vision_config=_IMAGES)))
    with torch.no_grad():
        network.logit_scale.fill_(3.0)
        network.logit_bias.fill_(-0.5)
    return network, letters


def repositories() -> dict[str, Repo]:
    """Both repositories, at the commits of the zoo: a pickle of tensors, and safetensors."""
    files: dict[str, dict[str, bytes]] = {}
    for name, (network, letters) in ((CLIP, clip()), (SIGLIP, siglip())):
        files[name] = {
            "config.json": json.dumps(network.config.to_dict()).encode(),
            "tokenizer.json": letters.to_str().encode(),
        }
    state = clip()[0].state_dict()
    # Earlier versions of transformers saved the positions.
    state["text_model.embeddings.position_ids"] = torch.arange(200)[None]
    pickled = io.BytesIO()
    torch.save(state, pickled)
    files[CLIP]["pytorch_model.bin"] = pickled.getvalue()
    tensors = {k: v.contiguous() for k, v in siglip()[0].state_dict().items()}
    files[SIGLIP]["model.safetensors"] = save(tensors)
    return {
        CLIP: Repo(files[CLIP], commit="57c216476eefef5ab752ec549e440a49ae4ae5f3"),
        SIGLIP: Repo(files[SIGLIP], commit="7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed"),
    }


def serve(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Put both on a hub, and shrink the inputs of their entries."""
    server.models.update(repositories())
    for name in ("clip_b_16", "siglip_b_16"):
        small = dataclasses.replace(MODELS[name], input_size=SIDE)
        monkeypatch.setitem(MODELS, name, small)
    return server

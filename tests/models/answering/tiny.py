"""A tiny SmolVLM of random weights, as a repository of a hub."""

import json
from functools import cache

import torch
from safetensors.torch import save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import Idefics3Config, Idefics3ForConditionalGeneration

from marsbench.models.answering.prompt import QUESTION

SPECIAL = (
    "<|im_start|>",
    "<end_of_utterance>",
    "<fake_token_around_image>",
    "<global-img>",
    "<image>",
)
SIDE, PATCH, SCALE = 64, 16, 2


def tokenizer(text: str) -> Tokenizer:
    """Tokenizer of single characters."""
    letters = sorted(set(text + QUESTION + 'System:User:Assistant: \n{}[]"`,'))
    words = [*SPECIAL, *letters]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=" "))
    made.add_special_tokens(list(SPECIAL))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.decoder = decoders.Fuse()
    return made


@cache
def repository(text: str) -> dict[str, bytes]:
    """Files of the repository, with the letters of a text."""
    letters = tokenizer(text)
    torch.manual_seed(0)
    config = Idefics3Config(
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": PATCH,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "vocab_size": letters.get_vocab_size(),
            "max_position_embeddings": 8192,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 1,
        },
        scale_factor=SCALE,
        image_token_id=SPECIAL.index("<image>"),
        tie_word_embeddings=False,
    )
    network = Idefics3ForConditionalGeneration(config)
    return {
        "config.json": json.dumps(config.to_dict()).encode(),
        "tokenizer.json": letters.to_str().encode(),
        "model.safetensors": save({k: v.contiguous() for k, v in network.state_dict().items()}),
    }

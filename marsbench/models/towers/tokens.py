"""Texts as token ids, as the text towers were trained."""

import re
import string
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from marsbench.base.progress import tell


class Tokens(NamedTuple):
    """Token ids of n texts.

    Attributes:
        ids: int64 (n, L).
        mask: int64 (n, L), 1 for tokens of the text; None if all positions count.
    """

    ids: Tensor
    mask: Tensor | None


def of_clip(tokenizer: Any, texts: Sequence[str], length: int) -> Tokens:
    """Tokens between start and end, padded to the longest text.

    Args:
        tokenizer: Tokenizer of the library tokenizers.
        texts: The n texts.
        length: Largest number of tokens; longer texts lose their end.

    Raises:
        ValueError: If a special token is missing.

    See Radford et al. 2021, https://arxiv.org/abs/2103.00020.
    """
    start, end = (_special(tokenizer, t) for t in ("<|startoftext|>", "<|endoftext|>"))
    encoded = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    rows = [[start, *ids, end] for ids in _cut(encoded, length - 2)]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [end] * (longest - len(row)) for row in rows])
    mask = torch.arange(longest) < torch.tensor([[len(row)] for row in rows])
    return Tokens(ids, mask.long())


def of_siglip(tokenizer: Any, texts: Sequence[str], length: int) -> Tokens:
    """Tokens of lower-case texts without punctuation, padded to `length` by the end of a text.

    Args:
        tokenizer: As `of_clip`.
        texts: The n texts.
        length: Number of tokens; the padding takes part in the attention.

    Raises:
        ValueError: If a special token is missing.

    See Zhai et al. 2023, https://arxiv.org/abs/2303.15343, and the evaluators of
    https://github.com/google-research/big_vision.
    """
    end = _special(tokenizer, "</s>")
    encoded = [tokenizer.encode(_plain(text), add_special_tokens=False).ids for text in texts]
    rows = _cut(encoded, length - 1)
    return Tokens(torch.tensor([ids + [end] * (length - len(ids)) for ids in rows]), None)


def _plain(text: str) -> str:
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\s+", " ", bare).strip()


def _special(tokenizer: Any, token: str) -> int:
    token_id: int | None = tokenizer.token_to_id(token)
    if token_id is None:
        raise ValueError(f"the tokenizer has no token {token}")
    return token_id


def _cut(encoded: Sequence[list[int]], length: int) -> list[list[int]]:
    if longer := sum(len(ids) > length for ids in encoded):
        tell(f"{longer} prompt(s) are cut after {length} tokens, the most that the model reads.")
    return [ids[:length] for ids in encoded]

"""The key of an endpoint: from the environment alone, and out of every text."""

import os
import re
from urllib.parse import urlsplit

from marsbench.base.errors import ConfigError

_OPENAI = "api.openai.com"


def variables(base_url: str) -> tuple[str, ...]:
    """Environment variables of the key of an endpoint, the first one first.

    OpenAI's own key goes to OpenAI alone: an address may come from a suite of somebody else.
    """
    is_openai = urlsplit(base_url).scheme == "https" and urlsplit(base_url).hostname == _OPENAI
    return ("MARSBENCH_API_KEY", "OPENAI_API_KEY") if is_openai else ("MARSBENCH_API_KEY",)


HIDDEN = "[key]"

_NO_KEY = "no-key"
"""Sent to endpoints that ask for none; the client does not send an empty one."""

_SHORTEST = 8
"""Shortest part of a key, from either end, that is hidden where a server shortens the key.

Shorter keys are words for servers that need none, such as ``none``, which is also an answer."""


def read_key(base_url: str) -> str:
    """Key of an endpoint; a placeholder if no variable is set.

    Raises:
        ConfigError: If it holds characters that cannot be sent; the message does not show it.
    """
    for name in variables(base_url):
        if key := os.environ.get(name, "").strip():
            if re.fullmatch(r"[\x21-\x7e]+", key) is None:
                raise ConfigError(
                    f"The environment variable {name} holds spaces or other characters that no key "
                    "has.",
                    f"Set {name} to the key alone.",
                )
            return key
    return _NO_KEY


def has_key(base_url: str) -> bool:
    """Whether a variable of the environment holds a key of an endpoint."""
    return read_key(base_url) != _NO_KEY


def without_key(text: str, key: str) -> str:
    """Text of a server with the key, and long parts of it, hidden."""
    if key == _NO_KEY or len(key) < _SHORTEST:
        return text
    text = text.replace(key, HIDDEN)
    for length in range(len(key) - 1, _SHORTEST - 1, -1):
        text = text.replace(key[:length], HIDDEN).replace(key[-length:], HIDDEN)
    return text

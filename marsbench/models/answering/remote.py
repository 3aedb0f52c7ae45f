"""Generative models behind an OpenAI-compatible endpoint, by the name of the model there."""

import re

from marsbench.base.errors import ConfigError
from marsbench.config.schema import Mode
from marsbench.models.spec import CLASSIFICATION, Library, ModelSpec

_NAME = re.compile(r"[\w.:@+-]+(/[\w.:@+-]+)*", re.ASCII)
"""Names of endpoints: ``gpt-4o-mini``, ``models/gemini-2.5-flash``, ``org/model:tag``."""

LONGEST = 120
"""Longest name in characters; the name is part of a run id."""


def describe(name: str) -> ModelSpec:
    """Describe the model ``api:NAME``; no request is made.

    Args:
        name: Name of the model at the endpoint.

    Raises:
        ConfigError: If the name has another form.
    """
    if _NAME.fullmatch(name) is None or len(name) > LONGEST:
        raise ConfigError(
            f"api:{name[:LONGEST]} is not the name of a model at an endpoint; expected letters, "
            f"digits and ./:@+-_, up to {LONGEST} characters.",
            "For example: model=api:gpt-4o-mini, or as the endpoint lists it at /models.",
        )
    return ModelSpec(
        name=f"{Library.API}:{name}",
        library=Library.API,
        id=name,
        kinds=CLASSIFICATION,
        modes=frozenset({Mode.ZERO_SHOT}),
    )

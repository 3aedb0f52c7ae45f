"""All zoo entries, and their lookup by name."""

from marsbench.base import lazy
from marsbench.base.errors import unknown_name
from marsbench.models.libraries import LIBRARIES
from marsbench.models.own.calling import PREFIX, describe, place_of, refuse
from marsbench.models.spec import ModelSpec
from marsbench.models.zoo import (
    answering,
    classification,
    detection,
    foundation,
    segmentation,
    spectra,
)

_ENTRIES = (
    *classification.ENTRIES,
    *foundation.ENTRIES,
    *segmentation.ENTRIES,
    *detection.ENTRIES,
    *spectra.ENTRIES,
    *answering.ENTRIES,
)

MODELS: dict[str, ModelSpec] = {entry.name: entry for entry in _ENTRIES}
"""Zoo entries by name."""

ALIASES: dict[str, str] = {alias: entry.name for entry in _ENTRIES for alias in entry.aliases}
"""Entry names by alias."""


def get_model(name: str) -> ModelSpec:
    """Find a model by name, alias, ``timm:NAME``, ``torchvision:NAME`` or ``smp:ARCH/ENCODER``.

    The name may come from a record: it executes nothing.

    Raises:
        UnknownNameError: If no model has this name; suggests close matches.
        NotAvailableError: If it is the name of an own encoder, whose file a record does not name.
    """
    if name in MODELS:
        return MODELS[name]
    if name in ALIASES:
        return MODELS[ALIASES[name]]
    if name.startswith(PREFIX):
        raise refuse(name)
    library, separator, model_id = name.partition(":")
    if separator:
        describers = {str(key): info.spec for key, info in LIBRARIES.items() if info.spec}
        if library not in describers:
            raise unknown_name("library", library, describers)
        # The only place that imports the library, and torch with it.
        spec: ModelSpec = lazy.load(describers[library])(model_id)
        return spec
    raise unknown_name(
        "model",
        name,
        [*MODELS, *ALIASES],
        "`marsbench list models` shows all; then timm:NAME, torchvision:NAME, smp:ARCH/ENCODER, "
        "./my_encoder.py.",
    )


def find_model(word: str) -> ModelSpec:
    """Find the model that a caller names, as `get_model`, or an own encoder, which is executed.

    Args:
        word: A name for `get_model`, ``./my_encoder.py``, ``package.module:function``, or the name
            of an entry point of an installed package. Never a name from a file of others.

    Raises:
        MarsbenchError: As `get_model`.
        ConfigError: If an own encoder is invalid.
    """
    is_known = word in MODELS or word in ALIASES
    place = None if is_known else place_of(word)
    return get_model(word) if place is None else describe(place)

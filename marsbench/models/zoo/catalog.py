"""All zoo entries, and their lookup by name."""

from marsbench.base import lazy
from marsbench.base.errors import unknown_name
from marsbench.models.libraries import LIBRARIES
from marsbench.models.own.calling import PREFIX, describe, place_of, refuse
from marsbench.models.spec import ModelSpec
from marsbench.models.zoo import classification, detection, segmentation, spectra

_ENTRIES = (
    *classification.ENTRIES,
    *segmentation.ENTRIES,
    *detection.ENTRIES,
    *spectra.ENTRIES,
)

MODELS: dict[str, ModelSpec] = {entry.name: entry for entry in _ENTRIES}
"""Zoo entries by name."""

ALIASES: dict[str, str] = {alias: entry.name for entry in _ENTRIES for alias in entry.aliases}
"""Entry names by alias."""


def get_model(name: str) -> ModelSpec:
    """Find a model by name, alias, ``timm:NAME``, ``torchvision:NAME`` or ``smp:ARCH/ENCODER``.

    The file or function of an own encoder is executed: ``./my_encoder.py``,
    ``package.module:function``, or the name of an entry point of an installed package.

    Raises:
        UnknownNameError: If no model has this name; suggests close matches.
        NotAvailableError: If it is the name of an own encoder in a record, which names no file.
        ConfigError: If an own encoder is invalid.
    """
    if name in MODELS:
        return MODELS[name]
    if name in ALIASES:
        return MODELS[ALIASES[name]]
    if name.startswith(PREFIX):
        raise refuse(name)
    if (place := place_of(name)) is not None:
        return describe(place)
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

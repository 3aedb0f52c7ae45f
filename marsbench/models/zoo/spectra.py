"""Zoo entries for mass spectra: the benchmark of the challenges and models like the winners'.

They have no pre-trained weights.
"""

from marsbench.models.spec import Library, ModelSpec
from marsbench.tasks.kinds import Kind

VERSION = 1
"""Version in run ids; raise it when a setting of these models changes."""

_MULTILABEL = frozenset({Kind.MULTILABEL})
_ZERO = (0.0, 0.0, 0.0)
_ONE = (1.0, 1.0, 1.0)


def _network(
    name: str, aliases: tuple[str, ...], rasters: tuple[str, ...], parameters: float
) -> ModelSpec:
    return ModelSpec(
        name=name,
        aliases=aliases,
        library=Library.SPECTRAL,
        id=name,
        mean=_ZERO,
        std=_ONE,
        kinds=_MULTILABEL,
        rasters=rasters,
        spectra_only=True,
        parameters=parameters,
    )


def _tabular(name: str, aliases: tuple[str, ...], rasters: tuple[str, ...] = ()) -> ModelSpec:
    return ModelSpec(
        name=name,
        aliases=aliases,
        library=Library.TABULAR,
        id=name,
        kinds=_MULTILABEL,
        rasters=rasters,
        spectra_only=True,
    )


ENTRIES: tuple[ModelSpec, ...] = (
    _network("conv1d_net", ("conv1d",), ("ega_second_place",), 2.05),
    _network("gru_net", ("gru",), ("ega_second_place",), 0.11),
    _network("patch_vit", (), ("ega_second_place",), 0.67),
    _tabular("logistic_regression", ("logistic",), rasters=("ega_benchmark", "gcms_benchmark")),
    _tabular("kernel_logistic", ()),
    _tabular("lightgbm", ()),
    _tabular("boosted_stack", ()),
)
"""Models of spectra; numbers of parameters are for the rasters of EGA-MS."""

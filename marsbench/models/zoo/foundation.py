"""Zoo entries of foundation models.

Facts are from the models' public repositories, cards and papers, named beside each family. How the
tensors of a checkpoint become those of the architecture is in `marsbench.models.foundation`.
"""

from typing import Any

from marsbench.base.hub import PREFIX as HUB
from marsbench.config.resizing import Interpolation, Resizing
from marsbench.config.schema import Normalisation
from marsbench.models.spec import NO_MARS, Library, ModelSpec, WeightSpec
from marsbench.tasks.catalog import TASKS


def _entry(name: str, weights: WeightSpec, patch: int, parameters: float, **more: Any) -> ModelSpec:
    return ModelSpec(
        name=name,
        library=Library.FOUNDATION,
        id=name,
        weights=weights,
        patch=patch,
        fixed_size=True,
        parameters=parameters,
        **more,
    )


# MOMO: Purohit et al. 2026, https://github.com/kerner-lab/MOMO; the hub's card states licence and
# images ("approximately 12 million samples, 4M per sensor").

_SENSORS = ("HiRISE", "CTX", "THEMIS")
_IMAGES_PER_SENSOR = 4_000_000
_MOMO_FILES = {
    "momo": _SENSORS,
    "hirise": ("HiRISE",),
    "ctx": ("CTX",),
    "themis": ("THEMIS",),
    "hirise_ctx_themis": _SENSORS,
}
"""Sensors behind each checkpoint; `momo` merges models of single sensors."""


def _momo_weights(folder: str, file: str) -> WeightSpec:
    sensors = _MOMO_FILES[file]
    return WeightSpec(
        name=f"{HUB}Mirali33/MOMO/{folder}/{file}.pth",
        data=f"MOMO pre-training data ({', '.join(sensors)})",
        images=_IMAGES_PER_SENSOR * len(sensors),
        licence="CC-BY-4.0",
        # Images of these sensors from all over Mars; those of the tasks were not left out.
        overlaps=tuple(n for n, t in TASKS.items() if t.sensor.partition(",")[0] in sensors),
    )


def _momo(size: str, parameters: float) -> ModelSpec:
    published, *others = (_momo_weights(f"vit-{size}-16", file) for file in _MOMO_FILES)
    return _entry(
        f"momo_{size}",
        published,
        16,
        parameters,
        variants=tuple(others),
        # Each image by its own extremes, then ImageNet's statistics.
        normalisation=Normalisation.MINMAX,
    )


_FMOW: dict[str, Any] = {
    "data": "fMoW-RGB",
    "images": 363_571,
    "licence": "CC-BY-NC-4.0",
    "overlaps": NO_MARS,
}
"""Training images of Functional Map of the World, Cong et al. 2022, section 5."""

# Prithvi: bands, statistics (of reflectance times 10,000) and licence are those of the cards and
# configurations at https://huggingface.co/ibm-nasa-geospatial.

_HLS_BANDS = ("blue", "green", "red", "nir_narrow", "swir_1", "swir_2")
_REFLECTANCE = 10_000


def _prithvi(
    name: str,
    file: str,
    data: str,
    images: int | None,
    patch: int,
    parameters: float,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> ModelSpec:
    weights = WeightSpec(
        name=f"{HUB}ibm-nasa-geospatial/{file}",
        data=data,
        images=images,
        licence="Apache-2.0",
        overlaps=NO_MARS,
    )
    return _entry(
        name,
        weights,
        patch,
        parameters,
        bands=_HLS_BANDS,
        mean=tuple(value / _REFLECTANCE for value in mean),
        std=tuple(value / _REFLECTANCE for value in std),
    )


_GLOBAL_MEAN = (1087.0, 1342.0, 1433.0, 2734.0, 1958.0, 1363.0)
_GLOBAL_STD = (2248.0, 2179.0, 2178.0, 1850.0, 1242.0, 1049.0)
_GLOBAL = ("Harmonized Landsat and Sentinel-2, global", 4_200_000)
"""Training data of version 2.0, in series of four images."""

ENTRIES: tuple[ModelSpec, ...] = (
    _momo("s", 21.7),
    _momo("b", 85.8),
    _momo("l", 303.3),
    # SatMAE, non-temporal: Cong et al. 2022, https://github.com/sustainlab-group/SatMAE.
    _entry(
        "satmae",
        WeightSpec(
            name=f"{HUB}MVRL/satmae-vitlarge-fmow-pretrain-800/model.safetensors",
            **_FMOW,
        ),
        16,
        303.3,
        mean=(0.4182007312774658, 0.4214799106121063, 0.3991275727748871),
        std=(0.28774282336235046, 0.27541765570640564, 0.2764017581939697),
        resizing=Resizing(Interpolation.BICUBIC, 256),
    ),
    _prithvi(
        "prithvi_100m",
        "Prithvi-EO-1.0-100M/Prithvi_EO_V1_100M.pt",
        "Harmonized Landsat and Sentinel-2, contiguous United States",
        None,
        16,
        86.4,
        (
            775.2290211032589,
            1080.992780391705,
            1228.5855250417867,
            2497.2022620507532,
            2204.2139147975554,
            1610.8324823273745,
        ),
        (
            1281.526139861424,
            1270.0297974547493,
            1399.4802505642526,
            1368.3446143747644,
            1291.6764008585435,
            1154.505683480695,
        ),
    ),
    _prithvi(
        "prithvi_300m",
        "Prithvi-EO-2.0-300M/Prithvi_EO_V2_300M.pt",
        *_GLOBAL,
        16,
        304.1,
        _GLOBAL_MEAN,
        _GLOBAL_STD,
    ),
    _prithvi(
        "prithvi_600m",
        "Prithvi-EO-2.0-600M/Prithvi_EO_V2_600M.pt",
        *_GLOBAL,
        14,
        631.5,
        _GLOBAL_MEAN,
        _GLOBAL_STD,
    ),
)
"""Foundation models."""

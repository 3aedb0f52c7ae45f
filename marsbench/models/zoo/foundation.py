"""Zoo entries of foundation models.

Facts are from the models' public repositories, cards and papers, named beside each family. How the
tensors of a checkpoint become those of the architecture is in `marsbench.models.foundation`.
"""

from typing import Any

from marsbench.base.hub import PREFIX as HUB
from marsbench.config.resizing import Interpolation, Resizing
from marsbench.config.schema import Normalisation
from marsbench.models.foundation.recipes import RECIPES
from marsbench.models.spec import (
    EVERY_MODE,
    HALF,
    NO_MARS,
    Library,
    ModelSpec,
    WeightSpec,
)
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
    **more: Any,
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
        **more,
    )


_GLOBAL_MEAN = (1087.0, 1342.0, 1433.0, 2734.0, 1958.0, 1363.0)
_GLOBAL_STD = (2248.0, 2179.0, 2178.0, 1850.0, 1242.0, 1049.0)
_GLOBAL = ("Harmonized Landsat and Sentinel-2, global", 4_200_000)
"""Training data of version 2.0, in series of four images."""

# Transformers of timm, with its statistics, resizing and licences.


def _of_timm(
    name: str,
    data: str,
    images: int | None,
    parameters: float,
    *,
    licence: str = "Apache-2.0",
    overlaps: tuple[str, ...] | None = None,
    patch: int = 16,
    **more: Any,
) -> ModelSpec:
    weights = WeightSpec(
        name=f"timm/{RECIPES[name].architecture}",
        data=data,
        images=images,
        licence=licence,
        overlaps=overlaps,
    )
    return _entry(name, weights, patch, parameters, **more)


def _dinov2(size: str, parameters: float) -> ModelSpec:
    # Oquab et al. 2023, https://arxiv.org/abs/2304.07193, table 15; evaluated at 224 pixels, and
    # trained at 518 in the end.
    return _of_timm(
        f"dinov2_{size}",
        "LVD-142M",
        142_109_386,
        parameters,
        patch=14,
        resizing=Resizing(Interpolation.BICUBIC, 256),
    )


def _dinov3(name: str, data: str, images: int, parameters: float, **more: Any) -> ModelSpec:
    # Simeoni et al. 2025, https://arxiv.org/abs/2508.10104.
    return _of_timm(
        name,
        data,
        images,
        parameters,
        licence="dinov3-license",
        input_size=256,
        resizing=Resizing(Interpolation.BICUBIC, 256),
        **more,
    )


# torchgeo's copies of the published checkpoints, with its commits.


def _of_torchgeo(
    name: str, file: str, parameters: float, patch: int | None = 16, **more: Any
) -> ModelSpec:
    facts = {key: more.pop(key) for key in ("data", "images", "licence", "overlaps")}
    return ModelSpec(
        name=name,
        library=Library.TORCHGEO,
        id=name,
        weights=WeightSpec(name=f"{HUB}{file}", **facts),
        patch=patch,
        fixed_size=True,
        parameters=parameters,
        **more,
    )


# DOFA: Xiong et al. 2024, https://github.com/zhu-xlab/DOFA; for RGB with ImageNet's statistics.
_DOFA: dict[str, Any] = {
    "data": "SatlasPretrain, Five-Billion-Pixels, HySpecNet-11k",
    "images": None,
    "licence": "CC-BY-4.0",
    "overlaps": NO_MARS,
}
_DOFA_REPOSITORY = "torchgeo/dofa@b8db318b64a90b9e085ec04ba8851233c5893666"
_SENTINEL_2 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")

_LVD = ("LVD-1689M", 1_689_000_000)

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
        "prithvi",
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
        aliases=("prithvi_100m",),
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
    _dinov2("s", 22.1),
    _dinov2("b", 86.6),
    _dinov2("l", 304.4),
    _dinov3("dinov3_s", *_LVD, 21.6),
    _dinov3("dinov3_b", *_LVD, 85.6),
    _dinov3("dinov3_l", *_LVD, 303.1),
    _dinov3(
        "dinov3_l_sat",
        "SAT-493M",
        493_000_000,
        303.1,
        overlaps=NO_MARS,
        mean=(0.43, 0.411, 0.296),
        std=(0.213, 0.156, 0.143),
    ),
    _of_timm(
        "clip_b_16",
        "WIT-400M",
        400_000_000,
        85.8,
        towers=WeightSpec(
            name=f"{HUB}openai/clip-vit-base-patch16@57c216476eefef5ab752ec549e440a49ae4ae5f3"
            "/pytorch_model.bin",
            data="WIT-400M",
            images=400_000_000,
            licence="MIT",
        ),
        modes=EVERY_MODE,
        aliases=("clip",),
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        resizing=Resizing(Interpolation.BICUBIC, 248),
    ),
    _of_timm(
        "siglip_b_16",
        "WebLI",
        None,
        92.9,
        towers=WeightSpec(
            name=f"{HUB}google/siglip-base-patch16-224@7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed"
            "/model.safetensors",
            data="WebLI",
            images=None,
            licence="Apache-2.0",
        ),
        modes=EVERY_MODE,
        aliases=("siglip",),
        mean=HALF,
        std=HALF,
        resizing=Resizing(Interpolation.BICUBIC, 248),
    ),
    # CROMA: Fuller et al. 2023, https://arxiv.org/abs/2311.00566.
    _of_torchgeo(
        "croma",
        "torchgeo/croma@92cb1a0f4e34c6c01558baf070197c01255382f6/CROMA_large-921e69ad.pt",
        311.4,
        8,
        aliases=("croma_l",),
        data="SSL4EO-S12",
        images=1_004_316,
        licence="CC-BY-4.0",
        overlaps=NO_MARS,
        bands=_SENTINEL_2,
        mean=(0.0,) * 12,
        std=(1.0,) * 12,
        normalisation=Normalisation.SIGMA2,
        input_size=120,
        # Its attention holds a penalty for every pair of patches: 2.6 GB a layer and image at 640.
        dense_side=320,
    ),
    _of_torchgeo(
        "dofa_b", f"{_DOFA_REPOSITORY}/dofa_base_patch16_224-a0275954.pth", 111.3, **_DOFA
    ),
    _of_torchgeo(
        "dofa_l", f"{_DOFA_REPOSITORY}/dofa_large_patch16_224-0ff904d3.pth", 337.1, **_DOFA
    ),
    # Scale-MAE: Reed et al. 2023, https://arxiv.org/abs/2212.14532; positions in units of a patch
    # at a ground resolution of 1 m.
    _of_torchgeo(
        "scalemae_l",
        "isaaccorley/vit_large_patch16_224_fmow_rgb_scalemae"
        "@9dc7f569424baeb780698352cf6e87638c882123"
        "/vit_large_patch16_224_fmow_rgb_scalemae-98ed9821.pth",
        303.3,
        None,
        **_FMOW,
    ),
)
"""Foundation models."""

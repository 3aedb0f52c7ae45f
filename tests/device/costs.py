"""Costs of a training step and of a validation step, a batch of four images, by run."""

from tests.device.watching import Cost

COSTS: dict[str, tuple[Cost, Cost]] = {
    "resnet": (Cost(175, 0), Cost(60, 0)),
    "mixed": (Cost(172, 0), Cost(60, 0)),
    "vit": (Cost(547, 0), Cost(156, 0)),
    "mlp": (Cost(187, 0), Cost(158, 0)),
    "attention": (Cost(224, 0), Cost(172, 0)),
    "fpn": (Cost(663, 0), Cost(521, 8)),
    "unet": (Cost(317, 0), Cost(309, 8)),
    "deeplabv3plus": (Cost(471, 0), Cost(400, 8)),
    "segformer": (Cost(591, 0), Cost(479, 8)),
    "linear": (Cost(750, 0), Cost(555, 8)),
    "cached": (Cost(356, 0), Cost(397, 8)),
    "ssdlite": (Cost(1185, 41), Cost(2027, 85)),
    "retinanet": (Cost(1287, 45), Cost(2877, 142)),
    "faster_rcnn": (Cost(1324, 76), Cost(2695, 154)),
    "encoder": (Cost(1057, 78), Cost(2260, 164)),
    "yolo": (Cost(1819, 19), Cost(2792, 106)),
}


def most(cost: Cost) -> Cost:
    """Largest accepted costs: other versions of torch have a few more operators."""
    return Cost(round(cost.launches * 1.1) + 5, round(cost.waits * 1.1))

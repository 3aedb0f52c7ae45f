"""Zoo entries of detectors: SSD, RetinaNet, Faster R-CNN and YOLO11.

The four families are those of the Mars-Bench paper (section 4), all with COCO weights. Names and
figures are from https://docs.pytorch.org/vision/stable/models.html#object-detection and
https://docs.ultralytics.com/models/yolo11.
"""

from typing import Any

from marsbench.config.schema import Mode
from marsbench.models.spec import (
    ALWAYS,
    DETECTION,
    HALF,
    NEVER,
    NO_MARS,
    Library,
    ModelSpec,
    WeightSpec,
)

_COCO = "COCO 2017"
_COCO_IMAGES = 118_287

# With COCO weights the statistics of the backbone are constants.
_FROM_SCRATCH = frozenset({Mode.SCRATCH})


def _torchvision(
    name: str,
    model_id: str,
    parameters: float,
    input_size: int,
    batch_statistics: frozenset[Mode] = _FROM_SCRATCH,
    **more: Any,
) -> ModelSpec:
    weights = WeightSpec(
        name=f"torchvision/{model_id}.COCO_V1",
        data=_COCO,
        images=_COCO_IMAGES,
        licence="BSD-3-Clause",
        overlaps=NO_MARS,
    )
    return ModelSpec(
        name=name,
        library=Library.TORCHVISION,
        id=model_id,
        weights=weights,
        input_size=input_size,
        kinds=DETECTION,
        batch_statistics=batch_statistics,
        parameters=parameters,
        **more,
    )


def _yolo(name: str, parameters: float, aliases: tuple[str, ...] = ()) -> ModelSpec:
    weights = WeightSpec(
        name=f"ultralytics/{name}.pt",
        data=_COCO,
        images=_COCO_IMAGES,
        licence="AGPL-3.0",
        overlaps=NO_MARS,
    )
    return ModelSpec(
        name=name,
        aliases=aliases,
        library=Library.ULTRALYTICS,
        id=name,
        weights=weights,
        # YOLO takes values in [0, 1] without normalisation.
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        input_size=640,
        kinds=DETECTION,
        batch_statistics=ALWAYS,
        parameters=parameters,
    )


ENTRIES: tuple[ModelSpec, ...] = (
    _torchvision("faster_rcnn", "fasterrcnn_resnet50_fpn", 41.8, 640),
    _torchvision("retinanet", "retinanet_resnet50_fpn", 34.0, 640),
    _torchvision(
        "ssd",
        "ssd300_vgg16",
        35.6,
        300,
        NEVER,
        # Its VGG was trained in Caffe, on values up to 255 minus their mean.
        mean=(0.48235, 0.45882, 0.40784),
        std=(1 / 255, 1 / 255, 1 / 255),
        # With smaller inputs the last feature map would be empty.
        smallest=268,
    ),
    _yolo("yolo11n", 2.6, ("yolo11", "yolo")),
    _yolo("yolo11s", 9.5),
    _yolo("yolo11m", 20.1),
    # Small models, for laptops and tests.
    _torchvision("faster_rcnn_mobilenet", "fasterrcnn_mobilenet_v3_large_320_fpn", 19.4, 320),
    _torchvision("ssdlite", "ssdlite320_mobilenet_v3_large", 3.4, 320, ALWAYS, mean=HALF, std=HALF),
)
"""Detectors."""

"""Zoo entries of detectors: SSD, RetinaNet, Faster R-CNN and YOLO11.

The four families are those of the Mars-Bench paper (section 4), all with COCO weights. Names and
figures are from https://docs.pytorch.org/vision/stable/models.html#object-detection and
https://docs.ultralytics.com/models/yolo11.
"""

from marsbench.models.spec import DETECTION, HALF, Library, ModelSpec, WeightSpec

_COCO = "COCO 2017"
_COCO_IMAGES = 118_287
_ZERO = (0.0, 0.0, 0.0)
_ONE = (1.0, 1.0, 1.0)


def _torchvision_weights(name: str) -> WeightSpec:
    return WeightSpec(
        name=f"torchvision/{name}.COCO_V1", data=_COCO, images=_COCO_IMAGES, licence="BSD-3-Clause"
    )


def _yolo(name: str, parameters: float, aliases: tuple[str, ...] = ()) -> ModelSpec:
    return ModelSpec(
        name=name,
        aliases=aliases,
        library=Library.ULTRALYTICS,
        id=name,
        weights=WeightSpec(
            name=f"ultralytics/{name}.pt", data=_COCO, images=_COCO_IMAGES, licence="AGPL-3.0"
        ),
        # YOLO takes values in [0, 1] without normalisation.
        mean=_ZERO,
        std=_ONE,
        input_size=640,
        kinds=DETECTION,
        parameters=parameters,
    )


ENTRIES: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="faster_rcnn",
        library=Library.TORCHVISION,
        id="fasterrcnn_resnet50_fpn",
        weights=_torchvision_weights("fasterrcnn_resnet50_fpn"),
        input_size=640,
        kinds=DETECTION,
        parameters=41.8,
    ),
    ModelSpec(
        name="retinanet",
        library=Library.TORCHVISION,
        id="retinanet_resnet50_fpn",
        weights=_torchvision_weights("retinanet_resnet50_fpn"),
        input_size=640,
        kinds=DETECTION,
        parameters=34.0,
    ),
    ModelSpec(
        name="ssd",
        library=Library.TORCHVISION,
        id="ssd300_vgg16",
        weights=_torchvision_weights("ssd300_vgg16"),
        # Its VGG was trained in Caffe, on values up to 255 minus their mean.
        mean=(0.48235, 0.45882, 0.40784),
        std=(1 / 255, 1 / 255, 1 / 255),
        input_size=300,
        # With smaller inputs the last feature map would be empty.
        smallest=268,
        kinds=DETECTION,
        parameters=35.6,
    ),
    _yolo("yolo11n", 2.6, ("yolo11", "yolo")),
    _yolo("yolo11s", 9.5),
    _yolo("yolo11m", 20.1),
    # Small models, for laptops and tests.
    ModelSpec(
        name="faster_rcnn_mobilenet",
        library=Library.TORCHVISION,
        id="fasterrcnn_mobilenet_v3_large_320_fpn",
        weights=_torchvision_weights("fasterrcnn_mobilenet_v3_large_320_fpn"),
        input_size=320,
        kinds=DETECTION,
        parameters=19.4,
    ),
    ModelSpec(
        name="ssdlite",
        library=Library.TORCHVISION,
        id="ssdlite320_mobilenet_v3_large",
        weights=_torchvision_weights("ssdlite320_mobilenet_v3_large"),
        mean=HALF,
        std=HALF,
        input_size=320,
        kinds=DETECTION,
        parameters=3.4,
    ),
)
"""Detectors."""

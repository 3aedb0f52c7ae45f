"""The built-in demo data with masks and boxes: which tasks have them, and how a sample is drawn.

Sample ``index`` of a split depends on the recipe, the split and the index alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from marsbench.base import lazy
from marsbench.base.errors import unknown_name
from marsbench.demo.art.scene import Scene
from marsbench.tasks.spec import SPLITS


@dataclass(frozen=True, kw_only=True)
class SceneRecipe:
    """How the demo data of one segmentation or detection task are made.

    Attributes:
        task: Name of the task.
        version: Raised with every change that moves a pixel or a box.
        image_size: Side of the images in pixels.
        sizes: Samples per split at size 1.
        draw: ``"module:function"`` of the function ``(rng, side) -> Scene`` that draws one
            sample; a string, so that listing recipes imports nothing heavy.
    """

    task: str
    version: int
    image_size: int
    sizes: Mapping[str, int]
    draw: str


def _recipe(task: str, draw: str, train: int, image_size: int = 128) -> SceneRecipe:
    sizes = {"train": train, "val": train // 4, "test": train // 3}
    path = f"marsbench.demo.{draw}"
    return SceneRecipe(task=task, version=1, image_size=image_size, sizes=sizes, draw=path)


SCENES: dict[str, SceneRecipe] = {
    recipe.task: recipe
    for recipe in (
        _recipe("boulder_seg", "orbit.boulders:draw_seg", 240),
        _recipe("conequest_seg", "orbit.cones:draw_seg", 240),
        _recipe("crater_binary_seg", "orbit.crater_masks:draw_binary", 240),
        _recipe("crater_multi_seg", "orbit.crater_masks:draw_multi", 600),
        _recipe("mars_seg_mer", "rover.seg.scenes:draw_mer", 360),
        _recipe("mars_seg_msl", "rover.seg.scenes:draw_msl", 360),
        _recipe("mmls", "orbit.landslides:draw", 240),
        _recipe("s5mars", "rover.seg.scenes:draw_s5mars", 480),
        _recipe("boulder_det", "orbit.boulders:draw_det", 300),
        _recipe("conequest_det", "orbit.cones:draw_det", 300),
        _recipe("dust_devil_det", "orbit.dust_devils:draw", 300),
    )
}
"""Every recipe by the name of its task."""


def draw_scene(recipe: SceneRecipe, split: str, index: int) -> Scene:
    """Draw one sample; each has a random stream of its own.

    Raises:
        UnknownNameError: If there is no such split.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    entropy = (crc32(recipe.task.encode()), recipe.version, SPLITS.index(split))
    rng = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(1, index)))
    scene: Scene = lazy.load(recipe.draw)(rng, recipe.image_size)
    return scene

"""Bands of a task's images as the bands that a model was trained on."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from marsbench.base.errors import ConfigError
from marsbench.config.schema import Bands, RunConfig
from marsbench.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey: luma of ITU-R BT.601."""


class Change(StrEnum):
    """Change of bands."""

    NONE = "none"
    LUMINANCE = "luminance"
    REPLICATION = "replication"


@dataclass(frozen=True)
class Reading:
    """Bands to read of the target, and their change.

    Attributes:
        bands: Bands to read of images with more than three.
        change: Change to the bands of the model.
    """

    bands: Bands
    change: Change


def match_bands(config: RunConfig, trained_on: TaskSpec, task: TaskSpec) -> Reading:
    """Match the bands of a target with those of a model's training images.

    Args:
        config: The model's run.
        trained_on: Its task.
        task: The target.

    Raises:
        ConfigError: If the bands do not match.
    """
    if task.is_spectra:
        return Reading(config.bands, Change.NONE)
    if task.is_pairs != trained_on.is_pairs:
        kinds = [("pairs of images" if s.is_pairs else "single images") for s in (task, trained_on)]
        raise ConfigError(
            f"Samples of {task.name} are {kinds[0]}; the run of {trained_on.name} expects "
            f"{kinds[1]}.",
            "Choose another task.",
        )
    trained = _seen(config.bands, trained_on)
    if trained > 3 or trained == 2:
        if task.channels != trained_on.channels or _names(task) != _names(trained_on):
            raise ConfigError(
                f"Images of {task.name} have {task.channels} bands; the run of {trained_on.name} "
                f"expects its {trained} bands, {', '.join(_names(trained_on)) or 'without names'}.",
                "Choose a run with bands=rgb, or a task of the same bands.",
            )
        return Reading(config.bands, Change.NONE)
    given = _seen(Bands.RGB, task)
    changes = {(3, 1): Change.LUMINANCE, (1, 3): Change.REPLICATION}
    if given != trained and (given, trained) not in changes:
        raise ConfigError(
            f"Images of {task.name} have {given} bands; the run of {trained_on.name} expects "
            f"{trained}.",
            "Name red, green and blue in a custom task's rgb_bands, or choose another task.",
        )
    return Reading(Bands.RGB, changes.get((given, trained), Change.NONE))


def _seen(bands: Bands, task: TaskSpec) -> int:
    """Number of bands of a task's images that a dataset gives."""
    if task.is_pairs:
        return 3
    is_rgb = task.channels > 3 and bands is Bands.RGB and task.rgb_bands is not None
    return 3 if is_rgb else task.channels


def _names(task: TaskSpec) -> list[str]:
    return [band.name for band in task.bands]


def change_bands(images: "Tensor", change: Change) -> "Tensor":
    """Change the bands of images (B, C, H, W) in [0, 1].

    Returns:
        (B, 1, H, W), the luminance of colour images; (B, 3, H, W), grey images replicated; or the
        images themselves.
    """
    if change is Change.LUMINANCE:
        weights = images.new_tensor(LUMINANCE).view(1, 3, 1, 1)
        return (images * weights).sum(dim=1, keepdim=True)
    return images.expand(-1, 3, -1, -1) if change is Change.REPLICATION else images

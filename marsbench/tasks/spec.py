"""What a task is: plain data, importable without torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from marsbench.base.values import Limit
from marsbench.tasks.kinds import KINDS, Kind, Technique

SPLITS = ("train", "val", "test")


class Decode(StrEnum):
    """How the raw files of one sample become arrays; the functions are in `data.decode`."""

    IMAGE_LABEL = "image_label"
    PAIR_LABEL = "pair_label"
    IMAGE_MASK = "image_mask"
    IMAGE_BOXES = "image_boxes"
    SPECTRUM = "spectrum"


_LABELS = (Decode.IMAGE_LABEL, Decode.PAIR_LABEL, Decode.SPECTRUM)

DECODERS: dict[Kind, tuple[Decode, ...]] = {
    Kind.BINARY: _LABELS,
    Kind.MULTICLASS: _LABELS,
    Kind.MULTILABEL: _LABELS,
    Kind.SEGMENTATION: (Decode.IMAGE_MASK,),
    Kind.DETECTION: (Decode.IMAGE_BOXES,),
}
"""Decoders that fit a kind; the first is the default."""


class Platform(StrEnum):
    """Where the instrument was; orbital images have no up, rover images do."""

    ORBITER = "orbiter"
    ROVER = "rover"
    LABORATORY = "laboratory"


@dataclass(frozen=True)
class ClassInfo:
    """One class of a task.

    Attributes:
        name: The class's name as published.
        description: What a geologist looks for, in a sentence.
        aliases: Other spellings under which published mappings may name it, acronyms included.
    """

    name: str
    description: str = ""
    aliases: tuple[str, ...] = ()


Side = Annotated[int, Limit(low=1)]
Band = Annotated[int, Limit(low=0)]


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One task: a data set with its target and headline metric.

    The set of class names is a fact of the spec; which id each has is a fact of the data
    (its ``mapping.json`` or features), checked against this set when the data are opened.

    Attributes:
        name: The one name, in commands, files and plots.
        collection: Data sets published together, such as mars_bench; custom for a user's own.
        title: One line for people.
        kind: What is asked for.
        decode: How raw files become arrays.
        classes: The classes, in the order of the source's documentation.
        sizes: Samples per split as published; empty if unknown (custom tasks).
        channels: Bands of an image.
        rgb_bands: Which bands are red, green and blue, of an image of more than three.
        technique: How spectra were measured: ega or gc; None where samples are images.
        image_size: (height, width) in pixels where every image has the same, else None.
        platform: Where the instrument was.
        mission: Spacecraft, or campaign of a laboratory.
        sensor: Instruments.
        folder: Name of the task's folder in the published layout.
        hub_id: Repository on the Hugging Face hub, or None.
        zenodo_title: Title of the Zenodo record, or None.
        headline: Metric the task is judged by; None takes the kind's.
        min_partition: Smallest partition published: where the paper's suites begin.
        few_shot: Whether few-shot subsets are published: whether the paper's suites have them.
        citation: Paper to cite for the data.
        licence: Licence of the data.
        notes: Oddities a user should know.
        path: File a custom task was read from; None for the catalogue's own.
    """

    name: str
    collection: str = "custom"
    title: str = ""
    kind: Kind
    classes: tuple[ClassInfo, ...]
    decode: Decode = Decode.IMAGE_LABEL
    sizes: Mapping[str, Annotated[int, Limit(low=0)]] = field(default_factory=dict)
    channels: Annotated[int, Limit(low=1)] = 1
    rgb_bands: tuple[Band, Band, Band] | None = None
    technique: Technique | None = None
    image_size: tuple[Side, Side] | None = None
    platform: Platform = Platform.ORBITER
    mission: str = ""
    sensor: str = ""
    folder: str = ""
    hub_id: str | None = None
    zenodo_title: str | None = None
    headline: str | None = None
    min_partition: Annotated[float, Limit(above=0, high=1)] = 0.01
    few_shot: bool = True
    citation: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def headline_metric(self) -> str:
        """Name of the metric the task is judged by."""
        return self.headline or KINDS[self.kind].headline

    @property
    def word(self) -> str:
        """What names the task on a command line."""
        return self.name if self.path is None else str(self.path)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in documentation order (not by id)."""
        return tuple(c.name for c in self.classes)


TASK_FILE = "task.yaml"
"""Name of the file that makes a data folder a custom task."""


BACKGROUND = "background"
"""What every task calls the pixels of no object: class 0 of masks, and of no box."""


def normalise(name: str) -> str:
    """Fold case and punctuation: ``Non Frost`` and ``non_frost`` are one name."""
    return re.sub(r"[\W_]+", " ", name).strip().casefold()
